"""A float run in the viewer: torch in a process of its own gives the mask that torch gives here; faults are sentences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.app.made import Made, add_float, make
from tests.app.test_viewer import opened, panel, segmented, words
from unetq.app import floating
from unetq.app.card import card_of
from unetq.app.floating import ENGINE, find_float_runs, segment_float, uncertainty_float
from unetq.app.inference import Results
from unetq.app.jobs import CancelledError
from unetq.app.study import find_models, model_name, open_study
from unetq.cost import net_cost
from unetq.errors import UserError
from unetq.graph import layout
from unetq.image.segment import segment
from unetq.image.sure import sure_maps
from unetq.spec import PrepSpec, QuantSpec
from unetq.train.evaluate import load_run, torch_predictor


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("floating"))


@pytest.fixture(scope="module")
def run(made: Made) -> Path:
    """A float run beside the models of `made`, of random weights, and a quantized one."""
    add_float(made, "W4A4", QuantSpec.of("fixed", 4, 4))
    return add_float(made)


def test_the_mask_is_that_of_torch(made: Made, run: Path) -> None:
    study, asked = open_study(made.nifti), []
    result = segment_float(run / "best.pt", study, Results(), lambda done, total: asked.append((done, total)))
    network, config = load_run(run)
    want = segment([study.volume], config.prep, torch_predictor(network))
    assert 0 < want.mean() < 1 and np.array_equal(result.mask, want)
    assert result.isa == ENGINE and result.memory_bytes > 50e6 and 0 < result.seconds < 60
    assert result.bytes_file == (run / "best.pt").stat().st_size
    assert asked[0] == (0, 1) and set(asked) <= {(0, 1), *((k, 12) for k in range(1, 13))}
    assert asked == sorted(asked), "asked while it works, so that it can be cancelled"


def test_the_process_says_how_far_it_is() -> None:
    script = """import sys, time
for k in (1, 2, 3):
    print(f"{k}/4", file=sys.stderr, flush=True)
    time.sleep(0.5)
print("x" * 300000, file=sys.stderr)
print('{"a": "' + "y" * 300000 + '"}')"""
    seen: list[tuple[int, int]] = []
    said = floating._finished([sys.executable, "-c", script], lambda done, total: seen.append((done, total)))
    assert len(said["a"]) == 300_000 and list(dict.fromkeys(seen)) == [(0, 1), (1, 4), (2, 4), (3, 4)]
    for script, sentence in (("import sys; sys.exit('unetq: No.')", "^No\\.$"), ("import sys; sys.exit(3)", "stopped")):
        with pytest.raises(UserError, match=sentence):
            floating._finished([sys.executable, "-c", script], None)


@pytest.mark.parametrize("verb", ["predict", "uncertainty"])
def test_the_verbs_write_lines_of_progress_where_asked(
    verb: str, made: Made, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNETQ_PROGRESS", "lines")
    out = tmp_path / "mask.png" if verb == "predict" else tmp_path
    words_ = [verb, str(run), str(made.png), "--out", str(out), "--engine", "torch", "--json"]
    done = subprocess.run([sys.executable, "-m", "unetq.cli", *words_], capture_output=True, text=True, check=True)
    assert done.stderr.split() == [f"{k}/4" for k in range(1, 5)]


@pytest.mark.parametrize("flips", [False, True])
def test_the_maps_are_those_of_torch(made: Made, run: Path, flips: bool) -> None:
    study = open_study(made.nifti)
    network, config = load_run(run)
    want = sure_maps([study.volume], config.prep, torch_predictor(network), flips)
    found = uncertainty_float(run / "best.pt", study, flips)
    assert set(found) == {"Probability", "Entropy"} and found["Probability"].std() > 1
    for name, values in want.items():
        assert np.array_equal(found[name], values), name


def test_only_float_runs_are_offered_and_only_with_torch(
    made: Made, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_float_runs([made.runs, made.runs / "gone"]) == [run / "best.pt"]
    assert model_name(run / "best.pt", find_models([made.runs])) == "float"
    monkeypatch.setattr(floating, "find_spec", lambda name: None)
    assert find_float_runs([made.runs]) == []


def test_it_stops_when_it_is_asked_to(made: Made, run: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise CancelledError

    results, study = Results(), open_study(made.nifti)
    with pytest.raises(CancelledError):
        segment_float(run / "best.pt", study, results, stop)
    assert results.get(study, run / "best.pt") is None


def test_memory_is_looked_at_before(made: Made, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 96 x 96 pixels: too little for a tile of 64; enough for that, but not for the run's own of 128, which holds all."""
    study, checkpoint, net = open_study(made.nifti), tmp_path / "best.pt", load_run(run)[1].net
    checkpoint.write_bytes((run / "best.pt").read_bytes())
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text().replace("tile: 64", "tile: 128"))
    free = floating.TORCH_BYTES + floating.HELD * net_cost(layout(net), (64, 64)).peak_activation_bytes
    monkeypatch.setattr(floating, "available_bytes", lambda: free)
    result = segment_float(checkpoint, study, Results())
    assert result.warning.endswith("MiB are free: tiles of 64 pixels were used instead.")
    want = segment([study.volume], PrepSpec(tile=64), torch_predictor(load_run(run)[0]))
    assert np.array_equal(result.mask, want)
    with pytest.raises(UserError, match="free: close other programs, or ask a quantized model how sure it is"):
        uncertainty_float(checkpoint, study, flips=False)
    free -= 1
    with pytest.raises(
        UserError, match=r"in float may need \d+ MiB .* free: close other programs, or take a quantized"
    ):
        segment_float(checkpoint, study, Results())


def test_a_damaged_checkpoint_is_a_sentence(made: Made, run: Path, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes((run / "best.pt").read_bytes()[:-100])
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    with pytest.raises(UserError, match=r"best\.pt is damaged"):
        segment_float(tmp_path / "best.pt", open_study(made.nifti), Results())
    (tmp_path / "config.yaml").write_text("net: [")
    assert find_float_runs([tmp_path]) == []


def test_it_stands_beside_the_native_ones(
    made: Made, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(monkeypatch, "--models", made.runs, "--root", made.nifti.parent, "--store", tmp_path / "store")
    segmented(page, made.nifti, made.truth, ("W4A6", "float"))
    assert not page.exception and not page.error
    for text in ("Difference: W4A6 and float", "Overlay: float"):
        assert text in next(box for box in page.selectbox if box.label == "View").options
    assert "memory of its whole process" in words(page) and "Native runtime" in words(page)
    assert next(box for box in page.selectbox if box.label == "Model").options == ["W4A6", "float"]
    panel(page, "Save")
    page.switch_page("page_models.py").run()
    page.selectbox(key="card").set_value("float").run()
    assert not page.exception and "not quantized" in words(page)
    assert card_of(run / "best.pt")["Hash"] in words(page)
