"""Checkpoints: written whole or not at all, read without running any code that is in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unetq.errors import UserError
from unetq.files import atomic

__all__ = ["MeanWeights", "load_checkpoint", "save_checkpoint"]


def save_checkpoint(payload: dict[str, Any], path: Path) -> None:
    """Writes tensors and plain values; a kill at any moment leaves the former file."""
    with atomic(path) as temporary:
        torch.save(payload, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what `save_checkpoint` wrote, tensors on the CPU.

    Raises:
        UserError: no such file, or not a checkpoint.
    """
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no checkpoint {path.name}: train it, or name another run.") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        payload = None
    if not isinstance(payload, dict):
        raise UserError(f"{path} is damaged or no checkpoint of unetq: train the run again.")
    return payload


class MeanWeights:
    """Exponential moving average of a model's parameters; its buffers (batch norm, quantizers) are taken as they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.mean = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """mean = decay * mean + (1 - decay) * parameter."""
        for name, value in model.named_parameters():
            self.mean[name].lerp_(value, 1.0 - self.decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchanges the model's parameters for the mean ones; a second call changes them back."""
        for name, value in model.named_parameters():
            kept = value.detach().clone()
            value.copy_(self.mean[name])
            self.mean[name] = kept

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The mean of each parameter."""
        return dict(self.mean)

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Takes back what `state_dict` gave."""
        for name, value in state.items():
            self.mean[name].copy_(value)
