"""The loop as a whole: run folder, stop and resume, choice of the checkpoint, the one look at the test split."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.made import config, dataset, disc, write_case
from unetq.errors import UserError
from unetq.runtime.dataset import Dataset
from unetq.spec import QuantSpec
from unetq.train import trainer as trainer_module
from unetq.train.config import TrainConfig, load_config
from unetq.train.data import Crops
from unetq.train.evaluate import load_run
from unetq.train.loop import TrainOptions, resume, train
from unetq.train.runlog import record_test_opening
from unetq.train.trainer import Trainer
from unetq.train.world import TrainingStopped

QUIET = TrainOptions(progress=False)
W4A6 = QuantSpec.of("fixed", 4, 6)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("data"))


def weights(run: Path, file: str = "last.pt") -> dict[str, torch.Tensor]:
    saved: dict[str, torch.Tensor] = torch.load(run / file, weights_only=True)["model"]
    return saved


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def at_step(monkeypatch: pytest.MonkeyPatch, wanted: int, event: Any) -> None:
    """Lets `event` happen within a step of every training, once the step has been worked."""
    real = Trainer._step

    def step(self: Trainer, number: int, batch: Any) -> float:
        loss = real(self, number, batch)
        if number == wanted:
            event()
        return loss

    monkeypatch.setattr(Trainer, "_step", step)


def test_a_quantized_run_and_its_float_twin(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "W4A6"
    result = train(config(W4A6), data, run, QUIET)
    for folder in (run, run / "float"):
        names = {path.name for path in folder.iterdir()} - {"float"}
        assert names == {
            "config.yaml", "environment.json", "metrics.jsonl", "tb", "last.pt", "best.pt", "val.json", "test.json",
            "test_masks", "test_opened.jsonl",
        }  # fmt: skip
        assert {path.name for path in (folder / "test_masks").iterdir()} == {"c7.nii.gz", "c8.nii.gz"}
    assert load_config(run / "config.yaml") == config(W4A6)
    assert load_config(run / "float/config.yaml") == config(W4A6).twin()
    record = json.loads((run / "test.json").read_text())
    assert (record["dataset"], record["split"], record["engine"], record["n_cases"]) == ("discs", "test", "torch", 2)
    assert record["opened"] == 1
    val = json.loads((run / "val.json").read_text())
    assert result.best_val_dice == val["dice"]["mean"]
    shown = result.to_json()
    assert list(shown) == ["run", "best_val_dice", "test", "seconds"] and json.dumps(shown)
    assert shown["test"] == {"dice": record["dice"]} and set(record["dice"]["per_case"]) == {"c7", "c8"}
    assert [entry["step"] for entry in metrics(run) if "loss" in entry] == list(range(1, 7))
    assert [entry["step"] for entry in metrics(run) if "val_dice" in entry] == [0, 4, 6]
    first = json.loads((run / "environment.json").read_text())
    assert {"python", "packages", "cpu", "threads", "data", "command", "commit"} <= set(first)
    assert first["data"]["name"] == "discs" and len(first["data"]["hash"]) == 64
    model, loaded = load_run(run)
    assert loaded == config(W4A6) and not model.training


def test_a_finished_run_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    result = train(config(), data, tmp_path / "a", QUIET)
    before = (tmp_path / "a/last.pt").read_bytes()
    with pytest.raises(UserError, match="is finished; choose another folder"):
        train(config(), data, tmp_path / "a", QUIET)
    assert resume(tmp_path / "a", QUIET).to_json() == result.to_json()
    assert (tmp_path / "a/last.pt").read_bytes() == before
    assert len((tmp_path / "a/test_opened.jsonl").read_text().splitlines()) == 1


def test_the_same_seed_trains_the_same_weights(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(seed=seed, iterations=3), data, tmp_path / name, QUIET)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize(
    "made", [config(ema=0.9), config(W4A6, init="scratch"), config(QuantSpec.of("ternarynet"), init="scratch")]
)
def test_ctrl_c_and_resume_end_in_the_weights_of_an_unbroken_run(
    made: TrainConfig, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(made, data, whole, QUIET)
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(TrainingStopped, match=r"Stopped and saved at step 5 of 8; go on with `--resume .*broken`"):
            train(made, data, broken, QUIET)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(UserError, match="is unfinished"):
        train(made, data, broken, QUIET)
    resume(broken, QUIET)
    for file in ("last.pt", "best.pt"):
        assert equal(weights(whole, file), weights(broken, file))
    assert metrics(whole) == metrics(broken)
    assert (
        json.loads((broken / "test.json").read_text())["dice"] == json.loads((whole / "test.json").read_text())["dice"]
    )
    assert len(json.loads((broken / "environment.json").read_text())["resumed"]) == 1


def test_a_kill_loses_the_steps_since_the_last_save_only(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(), data, tmp_path / "whole", QUIET)

    class Killed(BaseException):
        """Nothing that the loop could catch or save at."""

    def kill() -> None:
        raise Killed

    with monkeypatch.context() as patch:
        at_step(patch, 4, kill)
        with pytest.raises(Killed):
            train(config(), data, tmp_path / "killed", QUIET)
    assert torch.load(tmp_path / "killed/last.pt", weights_only=True)["state"]["step"] == 3  # save_every
    with (tmp_path / "killed/metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # a line cut short
    resume(tmp_path / "killed", QUIET)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "killed")


def test_a_stop_within_the_float_twin(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(config(W4A6), data, tmp_path / "whole", QUIET)
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(TrainingStopped, match=r"--resume .*broken`"):
            train(config(W4A6), data, tmp_path / "broken", QUIET)
    assert not (tmp_path / "broken/last.pt").exists()
    resume(tmp_path / "broken", QUIET)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))


def test_the_test_split_takes_no_part_in_the_training(tmp_path: Path) -> None:
    """All code of REFERENCES 1 picks the best epoch on the set it reports."""
    a, b = dataset(tmp_path / "a"), dataset(tmp_path / "b")
    for index, name in ((7, "c7"), (8, "c8")):
        write_case(b, name, disc(index + 50)[0], 1 - disc(index)[1])
    runs = [tmp_path / "run_a", tmp_path / "run_b"]
    tests = [train(config(), data, run, QUIET).test for data, run in zip((a, b), runs)]
    assert tests[0]["dice"] != tests[1]["dice"]
    assert equal(weights(runs[0], "best.pt"), weights(runs[1], "best.pt"))


@pytest.mark.parametrize(
    ("dices", "chosen"), [([0.5, 0.9, 0.7, 0.6], 4), ([0.5, 0.9, 0.9, 0.6], 6), ([0.0, 0.0, 0.0, 0.0], 8)]
)
def test_the_checkpoint_is_the_best_on_validation_ties_the_later(
    dices: list[float], chosen: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter(dices)
    monkeypatch.setattr(trainer_module, "summary", lambda *_: {"dice": {"mean": next(coming)}})
    result = train(config(validate_every=2), data, tmp_path / "run", QUIET)
    assert torch.load(tmp_path / "run/best.pt", weights_only=True)["step"] == chosen
    assert result.best_val_dice == max(dices)


@pytest.mark.parametrize(("dices", "chosen"), [([0.9, 0.8, 0.7], 0), ([0.8, 0.8, 0.7], 4)])
def test_the_calibrated_twin_is_the_first_candidate_of_a_quantized_run(
    dices: list[float], chosen: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter([0.5, 0.6, *dices])  # the float twin's at steps 4 and 8 come first
    monkeypatch.setattr(trainer_module, "summary", lambda *_: {"dice": {"mean": next(coming)}})
    result = train(config(W4A6), data, tmp_path / "run", QUIET)
    best = torch.load(tmp_path / "run/best.pt", weights_only=True)
    assert best["step"] == chosen and result.best_val_dice == max(dices)
    twin = torch.load(tmp_path / "run/float/best.pt", weights_only=True)["model"]
    weights = [name for name in twin if name.endswith(".weight") and twin[name].ndim == 4]
    same = [torch.equal(twin[name], best["model"][name]) for name in weights]
    assert weights and (all(same) if chosen == 0 else not any(same))


def test_every_look_at_the_test_split_is_recorded(data: Path, tmp_path: Path) -> None:
    train(config(iterations=1), data, tmp_path, QUIET)
    assert record_test_opening(tmp_path, "native") == 2
    lines = [json.loads(line) for line in (tmp_path / "test_opened.jsonl").read_text().splitlines()]
    assert [line["engine"] for line in lines] == ["torch", "native"] and all(line["time"] for line in lines)


def test_changed_data_or_options_are_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tmp_path / "data")
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(TrainingStopped):
            train(config(), data, tmp_path / "run", QUIET)
    with pytest.raises(UserError, match="another configuration"):
        train(config(lr=0.5), data, tmp_path / "run", replace(QUIET, resume=True))
    write_case(data, "c0", *disc(55))
    with pytest.raises(UserError, match="is not the data that the run"):
        resume(tmp_path / "run", QUIET)
    with pytest.raises(UserError, match=r"There is no run in .* to resume"):
        resume(tmp_path / "absent", QUIET)


def test_init_from(data: Path, tmp_path: Path) -> None:
    train(config(), data, tmp_path / "float", QUIET)
    made = config(W4A6, finetune_iterations=2)
    train(made, data, tmp_path / "run", replace(QUIET, init_from=tmp_path / "float"))
    assert not (tmp_path / "run/float").exists()
    with pytest.raises(UserError, match="is not the float twin of this network"):
        train(made, data, tmp_path / "other", replace(QUIET, init_from=tmp_path / "run"))


def test_a_training_that_diverges_is_one_sentence(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def infinite(self: Any, logits: torch.Tensor, *_: torch.Tensor | None) -> torch.Tensor:
        return logits.sum() * np.inf

    monkeypatch.setattr(trainer_module.SegmentationLoss, "forward", infinite)
    with pytest.raises(UserError, match="diverged at step 1: try a smaller learning rate"):
        train(config(), data, tmp_path / "run", QUIET)


def test_batch_norm_stands_still_for_the_last_share_of_a_quantized_training(data: Path, tmp_path: Path) -> None:
    for name, share in (("moving", 0.0), ("still", 0.9), ("kept", 1.0)):
        made = config(W4A6, init="scratch", iterations=8, freeze_bn=share)
        train(made, data, tmp_path / name, QUIET)
    counts = [
        [int(v) for k, v in weights(tmp_path / name).items() if k.endswith("num_batches_tracked")]
        for name in ("moving", "still", "kept")
    ]
    calibration = 1
    assert counts[0] and set(counts[0]) == {8 + calibration} and set(counts[1]) == {1 + calibration}
    assert set(counts[2]) == {0}


def test_the_bar_shows_only_if_asked(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(config(iterations=1), data, tmp_path / "quiet", QUIET)
    silent = capfd.readouterr()
    assert silent.out == silent.err == ""
    train(config(iterations=1), data, tmp_path / "shown")
    shown = capfd.readouterr()
    assert shown.out == "" and "val Dice" in shown.err and "1/1" in shown.err


def test_two_processes(data: Path, tmp_path: Path) -> None:
    """torchrun with gloo: the loss falls, and both processes end with equal weights."""
    import subprocess
    import sys

    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(script.parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(script), str(data), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    trained = {name for name in ranks[0] if "running" not in name and "num_batches" not in name}
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in trained)
    losses = [entry["loss"] for entry in metrics(tmp_path / "run") if "loss" in entry]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert (tmp_path / "run/test.json").is_file()


def test_a_quantized_training_comes_near_to_its_float_twin(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher is the twin as validation chose it, stands still, and is there again after a resume."""
    train(config(), data, tmp_path / "float", QUIET)
    twin, _ = load_run(tmp_path / "float")
    crops = Crops(list(Dataset.open(data, 0).read_split("train")), config(W4A6))
    seen: list[torch.Tensor | None] = []
    forward = trainer_module.SegmentationLoss.forward

    def spy(self: Any, logits: torch.Tensor, labels: torch.Tensor, teacher: torch.Tensor | None) -> torch.Tensor:
        seen.append(teacher)
        return forward(self, logits, labels, teacher)

    monkeypatch.setattr(trainer_module.SegmentationLoss, "forward", spy)
    options = replace(QUIET, init_from=tmp_path / "float")
    made = config(W4A6, distill=0.5, finetune_iterations=4, precision="float32")
    train(made, data, tmp_path / "whole", options)
    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(TrainingStopped):
            train(made, data, tmp_path / "broken", options)
    resume(tmp_path / "broken", QUIET)
    with torch.no_grad():
        wanted = [twin(crops.batch(step)[0]) for step in range(4)] * 2
    assert len(seen) == 8
    for teacher, logits in zip(seen, wanted, strict=True):
        assert teacher is not None and torch.allclose(teacher, logits, atol=1e-5)
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
