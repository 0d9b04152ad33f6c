"""A trained run as a network in evaluation mode, and as an engine for `unetq.runtime.evaluate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.nets.unet import UNet, build
from unetq.runtime.evaluate import Predictor
from unetq.spec import from_mapping
from unetq.train.checkpoint import load_checkpoint
from unetq.train.config import TrainConfig

__all__ = ["load_run", "torch_predictor"]


def load_run(run: Path | str) -> tuple[UNet, TrainConfig]:
    """The checkpoint that validation chose, in evaluation mode, on the CPU.

    Raises:
        UserError: no run, no checkpoint in it, or a damaged one.
    """
    run = Path(run)
    if not run.is_dir():
        raise UserError(f"There is no run {run}: train one with `unetq train`.")
    saved = load_checkpoint(run / "best.pt")
    try:
        config = from_mapping(TrainConfig, saved["config"], f"{run / 'best.pt'}")
        model = build(config.net)
        model.load_state_dict(saved["model"])
    except (KeyError, RuntimeError, TypeError):
        raise UserError(
            f"{run / 'best.pt'} is not a checkpoint of this version of unetq: train the run again."
        ) from None
    return model.eval(), config


def torch_predictor(model: UNet) -> Predictor:
    """The network as an engine: float32 image (C, h, w) -> float32 logits (K, h, w).

    Always in evaluation mode (batch norm by its running statistics, hard quantizers) and in float32, whatever mode the
    network is in between the calls.
    """
    where = next(model.parameters()).device

    def predict(image: NDArray[np.float32]) -> NDArray[np.float32]:
        model.eval()
        with torch.no_grad():
            logits: torch.Tensor = model(torch.from_numpy(np.ascontiguousarray(image))[None].to(where))[0]
        return logits.float().cpu().numpy()

    return predict
