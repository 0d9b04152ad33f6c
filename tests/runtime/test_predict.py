"""From an image file to a mask file of the same kind and geometry; refusals come before the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from tests.models import random_graph
from unetq.deploy.container import write_model
from unetq.errors import UserError
from unetq.image.prep import prepare_slice
from unetq.image.read import read
from unetq.image.tiles import tile_count
from unetq.runtime import predict as module
from unetq.runtime.meta import Label, ModelMeta
from unetq.runtime.model import Model, open_model
from unetq.runtime.predict import PredictOptions, predict, predict_file
from unetq.runtime.reference import run_reference
from unetq.spec import NetSpec, PrepSpec

PREP = PrepSpec(tile=32, overlap=0.25)


def model_file(folder: Path, net: NetSpec, prep: PrepSpec = PREP) -> Path:
    labels = tuple(Label(f"label {i}") for i in range(max(1, net.out_channels - 1)))
    return write_model(random_graph(net, 0), ModelMeta(prep, labels), folder / "model.gguf")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_file(tmp_path_factory.mktemp("model"), NetSpec(base=4, depth=2))


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return open_model(path)


def picture(depth: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(depth).integers(0, 256, (depth, height, width)).astype(np.uint8)


def oblique() -> NDArray[np.float64]:
    affine = np.diag([0.5, -0.7, 3.0, 1.0])
    affine[:3, 3] = (10, -20, 30)
    affine[0, 1] = 0.1
    return affine


def as_tiff(array: NDArray[np.uint8], folder: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / "study.tif"))
    return folder / "study.tif"


def as_png(array: NDArray[np.uint8], folder: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array[0]), str(folder / "study.png"))
    return folder / "study.png"


def as_nifti(array: NDArray[np.uint8], folder: Path) -> Path:
    image = nib.Nifti1Image(array.T, oblique())
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "study.nii.gz")
    return folder / "study.nii.gz"


@pytest.mark.parametrize(
    ("write", "depth", "suffix"), [(as_tiff, 3, ".tif"), (as_png, 1, ".png"), (as_nifti, 3, ".nii.gz")]
)
def test_a_file_becomes_a_mask_of_its_geometry(
    write: Callable[[NDArray[np.uint8], Path], Path], depth: int, suffix: str, path: Path, model: Model, tmp_path: Path
) -> None:
    array = picture(depth, 29, 23)
    source, out = write(array, tmp_path), tmp_path / f"mask{suffix}"
    seen: list[tuple[int, int]] = []
    result = predict_file(
        path, source, out, PredictOptions(threads=2), on_progress=lambda done, total: seen.append((done, total))
    )
    want = [run_reference(model.graph, prepare_slice(each, PREP)[None])["head"][0] > 0 for each in array]
    mask = read(out)
    np.testing.assert_array_equal(mask.array, np.stack(want))
    study = read(source)
    assert mask.spacing == study.spacing and mask.format == study.format
    np.testing.assert_array_equal(mask.affine, study.affine)
    assert seen == [(i + 1, depth) for i in range(depth)]
    assert (result["input"], result["output"]) == (str(source), str(out))
    keys = ["input", "output", "seconds", "inference_seconds", "peak_rss_bytes", "voxels_per_label"]
    assert list(result) == keys
    assert result["voxels_per_label"] == {"1": int(np.sum(want))}
    assert result["seconds"] > 0 and result["peak_rss_bytes"] > 2**20
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([source.name, out.name])


def test_the_same_mask_whatever_the_file(path: Path, tmp_path: Path) -> None:
    array = picture(2, 40, 50)
    predict_file(path, as_tiff(array, tmp_path), tmp_path / "mask.tif")
    predict_file(path, as_nifti(array, tmp_path), tmp_path / "mask.nii")
    np.testing.assert_array_equal(read(tmp_path / "mask.tif").array, read(tmp_path / "mask.nii").array)


def test_several_labels(tmp_path: Path) -> None:
    path = model_file(tmp_path, NetSpec(base=4, depth=1, out_channels=4))
    source = as_tiff(picture(2, 30, 30), tmp_path)
    counts = predict_file(path, source, tmp_path / "mask.tif")["voxels_per_label"]
    mask = read(tmp_path / "mask.tif").array
    assert counts == {str(label): int((mask == label).sum()) for label in (1, 2, 3)}
    assert mask.max() > 1


def test_large_slices_go_tile_by_tile(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = read(as_tiff(picture(2, 70, 45), tmp_path))
    sizes, run = [], model.run

    def spy(image: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(image.shape)
        return run(image)

    monkeypatch.setattr(model, "run", spy)
    progress: list[tuple[int, int]] = []
    mask = predict(model, volume, on_progress=lambda done, total: progress.append((done, total)))
    tiles = 2 * tile_count((70, 45), PREP)
    assert set(sizes) == {(1, 32, 32)} and len(sizes) == tiles and progress[-1] == (tiles, tiles)
    assert mask.shape == (2, 70, 45) and mask.dtype == np.uint8
    # Each slice stands for itself.
    alone = predict(model, replace(volume, array=volume.array[1:]))
    np.testing.assert_array_equal(mask[1:], alone)


def test_threads_and_other_engines_do_not_change_the_mask(path: Path, model: Model, tmp_path: Path) -> None:
    volume = read(as_tiff(picture(1, 50, 41), tmp_path))
    masks = [predict(open_model(path, threads), volume) for threads in (1, 3)]
    np.testing.assert_array_equal(masks[0], masks[1])


def test_a_tile_of_ones_own(path: Path, tmp_path: Path) -> None:
    source = as_tiff(picture(1, 64, 64), tmp_path)
    seen: list[int] = []
    predict_file(
        path, source, tmp_path / "mask.tif", PredictOptions(tile=64), on_progress=lambda _, total: seen.append(total)
    )
    assert seen == [1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"options": PredictOptions(tile=30)}, "tile of 30 pixels does not fit this network: use a multiple of 4"),
        ({"options": PredictOptions(tile=4)}, "tile of 4 pixels"),
        ({"out": "mask.nii"}, "mask.nii"),
        ({"out": "mask"}, "suffix"),
        ({"out": "none/mask.tif"}, "There is no folder"),
        ({"out": "study.tif"}, "is the input itself"),
        ({"source": "none.tif"}, "no image file"),
        ({"source": "study.dcm"}, ".dcm"),
        ({"model_path": "none.gguf"}, "none.gguf"),
        ({"model_path": "study.tif"}, "study.tif"),
    ],
)
def test_refusals_leave_nothing(changes: dict[str, object], sentence: str, path: Path, tmp_path: Path) -> None:
    as_tiff(picture(1, 20, 20), tmp_path)
    call = {"model_path": path, "source": tmp_path / "study.tif", "out": tmp_path / "mask.tif"}
    call |= {key: tmp_path / value if isinstance(value, str) else value for key, value in changes.items()}
    before = (tmp_path / "study.tif").read_bytes()
    with pytest.raises(UserError, match=sentence):
        predict_file(**call)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["study.tif"]
    assert (tmp_path / "study.tif").read_bytes() == before


def test_too_little_memory_is_refused_before_the_work(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_tiff(picture(3, 50, 50), tmp_path)
    monkeypatch.setattr(module, "available_bytes", lambda: 100_000)
    monkeypatch.setattr(Model, "run", lambda *_: pytest.fail("the work began"))
    with pytest.raises(UserError, match=r"50 x 50 pixels in tiles of 32 needs \d+ MiB of memory, but 0 MiB are free"):
        predict_file(path, source, tmp_path / "mask.tif")
    assert not (tmp_path / "mask.tif").exists()


def test_a_network_of_several_channels_is_refused(tmp_path: Path) -> None:
    model = open_model(model_file(tmp_path, NetSpec(base=3, depth=1, in_channels=2)))
    with pytest.raises(UserError, match="wants 2 channels"):
        predict(model, read(as_png(picture(1, 9, 9), tmp_path)))


@pytest.mark.realdata
def test_real_slices(path: Path, realdata: Path, tmp_path: Path) -> None:
    source = realdata / "em" / "train-volume.tif"
    result = predict_file(path, source, tmp_path / "mask.tif", PredictOptions(tile=512))
    assert read(tmp_path / "mask.tif").array.shape == read(source).array.shape
    assert result["peak_rss_bytes"] < 2**30
