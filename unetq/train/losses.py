"""The training loss: soft Dice plus cross-entropy, on logits."""

from __future__ import annotations

import torch
from monai.losses.dice import DiceCELoss
from torch import nn

__all__ = ["SegmentationLoss"]


class SegmentationLoss(nn.Module):
    """Dice + cross-entropy of logits.

    The network puts out logits and the loss alone applies the sigmoid (one channel) or softmax (several). A sigmoid in
    front of it, as in the code of arXiv 1908.01073, would keep the loss above 0.3 however good the network is.
    With a softmax the background takes no part in the Dice.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        one = classes == 1
        # Dice over the whole batch: a crop without foreground would else swing between 0 and 1.
        self.loss = DiceCELoss(sigmoid=one, softmax=not one, to_onehot_y=not one, include_background=one, batch=True)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scalar loss of logits (N, K, H, W) and labels (N, 1, H, W) with values 0..K-1 (0, 1 if K = 1)."""
        value: torch.Tensor = self.loss(logits.float(), labels.float())
        return value
