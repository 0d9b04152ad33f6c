"""The training loss: soft Dice plus cross-entropy, on logits, against labels and against a teacher's probabilities."""

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

    Args:
        classes: channels of the logits.
        distill: share of the distance to a teacher in the loss, 0 to 1.
    """

    def __init__(self, classes: int, distill: float = 0.0) -> None:
        super().__init__()
        one = classes == 1
        self.one, self.distill = one, distill
        # Dice over the whole batch: a crop without foreground would else swing between 0 and 1.
        self.loss = DiceCELoss(sigmoid=one, softmax=not one, to_onehot_y=not one, include_background=one, batch=True)
        # Squares in the denominator: only then a soft target p is reached best by p itself, not by its rounding to 0 or 1.
        self.distance = DiceCELoss(sigmoid=one, softmax=not one, include_background=one, batch=True, squared_pred=True)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, teacher: torch.Tensor | None = None) -> torch.Tensor:
        """Scalar loss.

        Args:
            logits: (N, K, H, W).
            labels: (N, 1, H, W), values 0..K-1 (0, 1 if K = 1).
            teacher: the teacher's logits (N, K, H, W), or None.
        """
        value: torch.Tensor = self.loss(logits.float(), labels.float())
        if teacher is None:
            return value
        wanted = teacher.float().sigmoid() if self.one else teacher.float().softmax(1)
        distance: torch.Tensor = self.distance(logits.float(), wanted)
        return (1.0 - self.distill) * value + self.distill * distance
