"""Progress, cancelling between tiles, memory that is short, and how sure a model is."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.app.made import Made, make
from unetq.app.inference import Results, fitting, segment, uncertainty
from unetq.app.jobs import Job
from unetq.app.study import open_study
from unetq.errors import UserError
from unetq.image import sure
from unetq.runtime import predict as predicting
from unetq.runtime.model import open_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("jobs"))


def test_cancelled_between_two_tiles(made: Made) -> None:
    study, results, seen, go = open_study(made.nifti), Results(), [], threading.Event()

    def work(report):
        def slow(done: int, total: int) -> None:
            seen.append(done)
            go.set()
            assert asked.wait(10)
            report(done, total)

        return segment(made.models[0], study, results, slow)

    asked = threading.Event()
    job = Job("Segmenting", work)
    assert go.wait(10) and job.running and "Segmenting" in job.words
    job.cancel()
    asked.set()
    assert job.wait(10)
    assert seen == [1] and job.cancelled and job.result is None and not job.error
    assert results.get(study, made.models[0]) is None


def test_a_second_job_waits_and_errors_are_sentences() -> None:
    hold, began = threading.Event(), threading.Event()

    def first(report):
        began.set()
        hold.wait(10)
        report(1, 2)
        return 7

    def second(report):
        raise UserError("This cannot be.")

    one = Job("First", first)
    assert began.wait(10)
    two = Job("Second", second)
    assert "waiting" in two.words
    hold.set()
    assert one.wait(10) and two.wait(10)
    assert (one.result, one.done) == (7, 0.5) and two.error == "This cannot be."


def test_short_memory_makes_the_tile_smaller(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    study, model = open_study(made.nifti), open_model(made.models[0])
    size = study.volume.array.shape[1:]
    assert fitting(model, study) == (model.meta.prep, "")

    def needs(tile: int) -> int:
        for free in range(0, 1 << 24, 1 << 12):
            monkeypatch.setattr(predicting, "available_bytes", lambda free=free: free)
            try:
                predicting.check_memory(model, size, tile, study.volume.array.size)
            except UserError:
                continue
            return free
        raise AssertionError

    assert needs(64) < needs(96)
    enough = needs(64)
    monkeypatch.setattr(predicting, "available_bytes", lambda: enough)
    prep, warning = fitting(model, study)
    assert prep.tile == 64 and "tiles of 64 pixels" in warning and "MiB are free" in warning
    result = segment(made.models[0], study, Results())
    assert result.warning == warning and result.mask.shape == study.volume.array.shape
    monkeypatch.setattr(predicting, "available_bytes", lambda: 1000)
    with pytest.raises(UserError, match="MiB are free"):
        segment(made.models[0], study, Results())


def test_probability_is_above_half_where_the_mask_is(made: Made) -> None:
    study, done = open_study(made.nifti), []
    mask = segment(made.models[0], study, Results()).mask
    maps = uncertainty(made.models[0], study, False, lambda k, n: done.append((k, n)))
    sure, entropy = maps["Probability"].astype(int), maps["Entropy"]
    assert np.array_equal(mask[sure != 128], (sure[sure != 128] > 127).astype(np.uint8))
    assert done[-1] == (3, 3)
    assert (entropy[np.abs(sure - 127.5) > 125] < 60).all() and (entropy[np.abs(sure - 127.5) < 10] > 250).all()


def test_flips_average_the_mirror_images(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(made.nifti)
    seen: list[np.ndarray] = []
    real = sure.sliding_logits

    def spy(image, prep, net, count):
        seen.append(np.array(image))
        return real(image, prep, net, count)

    monkeypatch.setattr(sure, "sliding_logits", spy)
    maps = uncertainty(made.models[0], study, True)
    first = seen[:4]
    assert len(seen) == 12
    for image, axes in zip(first, ((), (1,), (2,), (1, 2))):
        assert np.array_equal(np.flip(image, axes), first[0])
    logits = [
        np.flip(real(i, open_model(made.models[0]).meta.prep, open_model(made.models[0]).run), a)
        for i, a in zip(first, ((), (1,), (2,), (1, 2)))
    ]
    mean = np.mean([1 / (1 + np.exp(-one[0].astype(np.float64))) for one in logits], axis=0)
    assert np.abs(maps["Probability"][0] - 255 * mean).max() <= 0.51


def test_the_maps_come_back_in_the_study_s_own_geometry(tmp_path: Path) -> None:
    import nibabel as nib

    from tests.models import random_graph
    from unetq.deploy.container import write_model
    from unetq.runtime.meta import Label, ModelMeta
    from unetq.spec import NetSpec, PrepSpec

    image = np.random.default_rng(0).normal(size=(24, 4, 20)).astype(np.float32)
    nib.save(
        nib.Nifti1Image(image, np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -3, 0, 0], [0, 0, 0, 1.0]])),
        tmp_path / "a.nii",
    )
    meta = ModelMeta(PrepSpec(orientation="LPS", spacing=0.7, tile=64), (Label("one"), Label("two")))
    path = write_model(random_graph(NetSpec(base=4, depth=2, out_channels=3), 0), meta, tmp_path / "m.gguf")
    study = open_study(tmp_path / "a.nii")
    maps = uncertainty(path, study, False)
    mask = segment(path, study, Results()).mask
    assert maps["Probability"].shape == mask.shape == study.volume.array.shape
    assert maps["Probability"][mask > 0].mean() > maps["Probability"][mask == 0].mean() + 50
