"""The steps of one training: crops in, best checkpoint out."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from unetq.errors import UserError
from unetq.nets.unet import UNet, set_slope
from unetq.runtime.dataset import Dataset
from unetq.runtime.evaluate import predictions
from unetq.runtime.scores import score_dice, summary
from unetq.spec import to_mapping
from unetq.train.checkpoint import MeanWeights, load_checkpoint, save_checkpoint
from unetq.train.config import TrainConfig
from unetq.train.data import Batch, Crops, prefetch
from unetq.train.evaluate import torch_predictor
from unetq.train.losses import SegmentationLoss
from unetq.train.progress import Bar
from unetq.train.runlog import RunFolder
from unetq.train.schedule import freezes_bn, learning_rate, slope
from unetq.train.world import Stop, TrainingStopped, autocast, device

__all__ = ["Networks", "State", "Trainer"]


@dataclass
class State:
    """How far a run is: steps done, best validation so far, seconds worked."""

    step: int = 0
    best_dice: float = -1.0
    best_step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Networks:
    """What is trained, and the float twin that it is to come near to (`TrainConfig.distill`), or None."""

    model: UNet
    teacher: UNet | None = None


class Trainer:
    """Trains a network in `folder`; `fit` may be stopped and taken up again at any step, with the same result."""

    def __init__(self, folder: RunFolder, config: TrainConfig, networks: Networks, crops: Crops, data: Dataset) -> None:
        self.folder, self.config, self.crops, self.data = folder, config, crops, data
        self.val = list(data.read_split("val"))
        self.share = crops.share
        self.device = device()
        # Channels last: a quarter off the time of a step on a CPU, and what a GPU's tensor cores want.
        self.model = networks.model.to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = networks.teacher
        if self.teacher is not None:
            self.teacher.eval().to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = SegmentationLoss(config.net.out_channels, config.distill)
        self.optimizer = _optimizer(self.model, config)
        self.mean = MeanWeights(self.model, config.ema) if config.ema else None
        self.state = State()
        self.network: nn.Module = self.model
        if self.share.world > 1:
            self.network = DistributedDataParallel(self.model)

    @property
    def leads(self) -> bool:
        """True in the one process that validates and writes."""
        return self.share.rank == 0

    def load(self) -> None:
        """Takes up the state of `last.pt`."""
        saved = load_checkpoint(self.folder.last)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.mean:
            self.mean.load_state_dict(saved["mean"])
        self.state = State(**saved["state"])
        if self.leads:
            self.folder.rewind(self.state.step)

    def save(self) -> None:
        """Writes `last.pt`."""
        if self.leads:
            mean = self.mean.state_dict() if self.mean else {}
            parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "mean": mean}
            save_checkpoint({**parts, "state": asdict(self.state)}, self.folder.last)

    def fit(self, progress: bool) -> State:
        """Runs the steps that are left.

        Raises:
            TrainingStopped: ctrl-C; the run is saved.
            UserError: the loss is not finite any more.
        """
        config, state = self.config, self.state
        bar = Bar(f"{config.name} {config.net.quant.label}", config.steps, state.step, progress and self.leads)
        batches = prefetch(self.crops, range(state.step, config.steps), ahead=self.device.type != "cpu")
        with self._tensorboard() as board, bar, Stop(self.share) as stop, closing(batches):
            if state.step == 0 and config.needs_twin:
                # The calibrated twin takes part: with many bits, or few subjects, training may only take it further away.
                bar.validated(self._validate(board))
            for batch in batches:
                start = time.perf_counter()
                loss = self._step(state.step, batch)
                state.step += 1
                bar.step(state.step, loss)
                self._log(board, loss=loss, lr=learning_rate(config, state.step - 1))
                if state.step % config.validate_every == 0 or state.step == config.steps:
                    bar.validated(self._validate(board))
                state.seconds += time.perf_counter() - start
                stopping = stop.agreed() and state.step < config.steps
                if stopping or state.step % config.save_every == 0 or state.step == config.steps:
                    self.save()
                if stopping:
                    raise TrainingStopped(f"Stopped and saved at step {state.step} of {config.steps}")
        return state

    def _step(self, step: int, batch: Batch) -> float:
        config = self.config
        torch.manual_seed((config.seed << 32) + step)  # whatever draws a number draws the same after a resume
        self._set_modes(step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        images = batch[0].to(self.device, non_blocking=True, memory_format=torch.channels_last)
        labels = batch[1].to(self.device, non_blocking=True)
        with autocast(self.device, config.precision):
            logits = self.network(images)
            with torch.no_grad():
                wanted = self.teacher(images) if self.teacher is not None else None
        loss = self.loss(logits, labels, wanted)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(
                f"The training of {self.folder.path} diverged at step {step + 1}: try a smaller learning rate."
            )
        self.optimizer.step()
        if self.mean:
            self.mean.update(self.model)
        return value

    def _set_modes(self, step: int) -> None:
        self.network.train()
        if freezes_bn(self.config, step):
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        set_slope(self.model, slope(self.config, step))

    def _validate(self, board: Any) -> float:
        """Dice of the whole validation cases in evaluation mode; keeps the weights if none were better (or as good)."""
        if not self.leads:
            return 0.0
        config, state = self.config, self.state
        if self.mean:
            self.mean.swap(self.model)
        pairs = predictions(torch_predictor(self.model), config.prep, self.val)
        labels = self.data.labels
        cases = [score_dice(case.name, predicted, case.truth, labels) for case, predicted in pairs]
        scores = summary(cases, self.data.subjects)
        dice = float(scores["dice"]["mean"])
        if dice >= state.best_dice:
            state.best_dice, state.best_step = dice, state.step
            about = {"config": to_mapping(config), "step": state.step, "val_dice": dice}
            save_checkpoint({"model": self.model.state_dict(), **about}, self.folder.best)
            record = {
                "dataset": config.dataset,
                "split": "val",
                "fold": config.fold,
                "engine": "torch",
                "step": state.step,
                **scores,
            }
            self.folder.write_json(self.folder.val, record)
        if self.mean:
            self.mean.swap(self.model)
        self._log(board, val_dice=dice)
        return dice

    def _log(self, board: Any, **values: float) -> None:
        if self.leads:
            self.folder.log(step=self.state.step, **values)
            for name, value in values.items():
                board.add_scalar(name, value, self.state.step)

    def _tensorboard(self) -> AbstractContextManager[Any]:
        if not self.leads:
            return nullcontext()
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        return SummaryWriter(str(self.folder.tensorboard), purge_step=self.state.step + 1)


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; decay on convolution weights only, for batch norms and quantizer steps have a scale of their own."""
    parameters = [value for value in model.parameters() if value.requires_grad]
    weights = {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay}
    others = {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}
    return torch.optim.AdamW([weights, others], lr=config.peak_lr, fused=True)
