"""What changes over the steps, as pure functions of the step, so that a resumed run needs no memory of it."""

from __future__ import annotations

import math

from unetq.quant.acts import THT_SLOPES
from unetq.train.config import TrainConfig

__all__ = ["freezes_bn", "learning_rate", "slope"]


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rises linearly over the warm-up, then falls along half a cosine to `lr_floor` of the peak."""
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.peak_lr * (step + 1) / warm
    done = (step - warm) / max(1, config.steps - 1 - warm)
    fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return config.peak_lr * (config.lr_floor + (1.0 - config.lr_floor) * fall)


def slope(config: TrainConfig, step: int) -> float:
    """Slope of the ternary tanh: linear from 3 to 8."""
    low, high = THT_SLOPES
    return low + (high - low) * step / max(1, config.steps - 1)


def freezes_bn(config: TrainConfig, step: int) -> bool:
    """Whether batch norm's statistics stand still at this step: the last share of a quantized training."""
    return step >= round((1.0 - config.frozen_share) * config.steps)
