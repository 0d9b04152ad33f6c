"""`train`: from a configuration and a prepared data set to a finished run folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from unetq.errors import UserError
from unetq.nets.unet import UNet, build, calibrate, load_float_weights
from unetq.runtime.dataset import Dataset
from unetq.runtime.evaluate import evaluate
from unetq.train.config import TrainConfig, load_config
from unetq.train.data import Crops, Share, check_fits, fitted
from unetq.train.evaluate import load_run, torch_predictor
from unetq.train.runlog import RunFolder, environment, read_json, record_test_opening
from unetq.train.trainer import Networks, Trainer
from unetq.train.world import TrainingStopped, device, keep_freed_memory, world

__all__ = ["TrainOptions", "TrainResult", "resume", "train"]


@dataclass(frozen=True)
class TrainOptions:
    """What does not change the result.

    Attributes:
        init_from: a float run to start a quantized one from, in place of training the float twin in `<run>/float`.
        resume: go on with an unfinished run.
        progress: show the bar.
    """

    init_from: Path | None = None
    resume: bool = False
    progress: bool = True


@dataclass(frozen=True)
class TrainResult:
    """A finished run: best validation Dice, the test record (`test.json`), and seconds of work, the float twin's included."""

    run: Path
    best_val_dice: float
    test: dict[str, Any]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """{run, best_val_dice, test: {dice: {mean, std, per_case}}, seconds}."""
        test = {"dice": self.test["dice"]}
        return {
            "run": str(self.run),
            "best_val_dice": self.best_val_dice,
            "test": test,
            "seconds": round(self.seconds, 1),
        }


def train(config: TrainConfig, data: Path, run: Path, options: TrainOptions | None = None) -> TrainResult:
    """Trains, picks the checkpoint by validation Dice, and scores the test split once with it.

    A quantized network that starts from a twin (`TrainConfig.init`) is trained from a float checkpoint: `options.init_from`,
    or a twin that is trained first, as a run of its own, in `<run>/float`. Under `torchrun` the processes share every batch.

    Args:
        config: what to train.
        data: prepared data set (nnU-Net raw format).
        run: folder of the run.
        options: how to go about it.

    Raises:
        UserError: the folder holds a run, or data and network do not fit.
        TrainingStopped: ctrl-C; the run is saved and can be resumed.
    """
    options = options or TrainOptions()
    keep_freed_memory()
    with world() as share:
        try:
            opened = Dataset.open(data, config.fold)
            return _train(fitted(config, opened), opened, RunFolder(run), options, share)
        except KeyboardInterrupt as stop:  # the run that the user named, even if its float twin was stopped
            raise TrainingStopped(f"{str(stop) or 'Stopped'}; go on with `--resume {run}`.") from None


def resume(run: Path, options: TrainOptions | None = None) -> TrainResult:
    """Goes on with an unfinished run, with its own configuration and data, to the same weights as without the break.

    Raises:
        UserError: no run there, or its data is gone or changed.
    """
    folder = RunFolder(run)
    if not folder.config.is_file():
        raise UserError(f"There is no run in {run} to resume: it has no config.yaml.")
    first = read_json(folder.environment)
    init_from = first.get("init_from")
    options = replace(options or TrainOptions(), resume=True, init_from=Path(init_from) if init_from else None)
    return train(load_config(folder.config), Path(first["data"]["folder"]), folder.path, options)


def _train(config: TrainConfig, data: Dataset, folder: RunFolder, options: TrainOptions, share: Share) -> TrainResult:
    check_fits(config.net, data)
    for split in ("train", "val", "test"):
        data.cases(split)
    if share.rank == 0:
        folder.check(config, options.resume)
        if not folder.finished:
            folder.claim(config, _environment(data, options, share))
    _wait(share)
    if folder.finished:
        return _result(folder)
    start, seconds = options.init_from, 0.0
    if config.needs_twin and start is None:
        again = replace(options, resume=folder.twin.config.is_file())
        first = _train(config.twin(), data, folder.twin, again, share)
        start, seconds = first.run, first.seconds
    # A sum over another number of threads rounds otherwise: a resumed run keeps the number it started with.
    torch.set_num_threads(int(read_json(folder.environment)["threads"]))
    crops = Crops(list(data.read_split("train")), config, share)
    taken_up = folder.last.is_file()
    twin = _load_twin(start, config) if config.needs_twin and start is not None else None
    model = build(config.net, config.dropout) if taken_up else _fresh_model(config, twin, crops)
    trainer = Trainer(folder, config, Networks(model, twin if config.distill else None), crops, data)
    if taken_up:
        trainer.load()
    seconds += trainer.fit(options.progress).seconds
    if share.rank == 0:
        _score_test(folder, data, seconds)
    _wait(share)
    return _result(folder)


def _environment(data: Dataset, options: TrainOptions, share: Share) -> dict[str, Any]:
    where = {"folder": str(data.folder.resolve()), "name": data.name, "hash": data.fingerprint()}
    more = {"device": str(device()), "threads": torch.get_num_threads(), "processes": share.world}
    init_from = str(options.init_from.resolve()) if options.init_from else None
    return environment(where, **more, init_from=init_from)


def _load_twin(start: Path, config: TrainConfig) -> UNet:
    """The float network that a quantized training starts from."""
    twin, trained = load_run(start)
    if not trained.is_float or trained.twin().net != config.twin().net:
        raise UserError(f"The run in {start} is not the float twin of this network: train it with the same `net`.")
    return twin


def _fresh_model(config: TrainConfig, twin: UNet | None, crops: Crops) -> UNet:
    """Random weights, or the twin's; activation quantizers set on the first batches."""
    torch.manual_seed(config.seed)
    model = build(config.net, config.dropout)
    if twin is not None:
        load_float_weights(model, twin.state_dict())
    if not config.is_float:
        batches = [crops.batch(step)[0] for step in range(config.calibrate)]
        calibrate(model, batches, statistics=not config.keeps_statistics)
    return model


def _score_test(folder: RunFolder, data: Dataset, seconds: float) -> None:
    """The one look at the test split; its record is written last and marks the run as finished."""
    model, config = load_run(folder.path)
    opened = record_test_opening(folder.path, "torch")
    scores = evaluate(torch_predictor(model.to(device())), config.prep, data, "test", "torch", folder.masks)
    folder.write_json(folder.test, {**scores, "opened": opened, "train_seconds": round(seconds, 3)})


def _result(folder: RunFolder) -> TrainResult:
    test, val = read_json(folder.test), read_json(folder.val)
    return TrainResult(folder.path, float(val["dice"]["mean"]), test, test["train_seconds"] + test["seconds"])


def _wait(share: Share) -> None:
    if share.world > 1:
        dist.barrier()
