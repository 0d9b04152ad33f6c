"""What each of two torchrun processes does in `test_two_processes`: trains, and leaves its own weights."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from tests.train.made import config
from unetq.spec import QuantSpec
from unetq.train import loop
from unetq.train.trainer import State, Trainer

if __name__ == "__main__":
    data, out = map(Path, sys.argv[1:])
    real = Trainer.fit

    def fit(self: Trainer, progress: bool) -> State:
        state = real(self, progress)
        torch.save(self.model.state_dict(), out / f"rank{os.environ['RANK']}.pt")
        return state

    Trainer.fit = fit  # type: ignore[method-assign]
    loop.train(
        config(QuantSpec.of("fixed", 4, 6), init="scratch", iterations=24, batch=4, validate_every=12),
        data,
        out / "run",
        loop.TrainOptions(progress=False),
    )
