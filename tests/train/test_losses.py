from __future__ import annotations

import math

import pytest
import torch

from unetq.train.losses import SegmentationLoss

LABELS = (torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.6).to(torch.uint8)


def test_a_certain_and_right_network_has_no_loss() -> None:
    """With a sigmoid before the loss (the double sigmoid of REFERENCES 1) it could not fall below 0.3."""
    logits = (LABELS.float() * 2 - 1) * 50
    assert float(SegmentationLoss(1)(logits, LABELS)) < 1e-4
    assert float(SegmentationLoss(1)(logits.sigmoid(), LABELS)) > 0.3


def test_one_channel_is_dice_plus_binary_cross_entropy_of_the_logits() -> None:
    logits = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    p, y = logits.sigmoid(), LABELS.float()
    dice = 1 - (2 * (p * y).sum() + 1e-5) / (p.sum() + y.sum() + 1e-5)
    entropy = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    assert float(SegmentationLoss(1)(logits, LABELS)) == pytest.approx(float(dice + entropy), rel=1e-5)


def test_several_channels_are_softmax_without_background_in_the_dice() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 3, 16, 16, generator=generator)
    labels = torch.randint(0, 3, (2, 1, 16, 16), generator=generator).to(torch.uint8)
    p, y = logits.softmax(1)[:, 1:], torch.stack([(labels[:, 0] == k).float() for k in (1, 2)], 1)
    dice = 1 - ((2 * (p * y).sum((0, 2, 3)) + 1e-5) / (p.sum((0, 2, 3)) + y.sum((0, 2, 3)) + 1e-5)).mean()
    entropy = -logits.log_softmax(1).gather(1, labels.long()).mean()
    assert float(SegmentationLoss(3)(logits, labels)) == pytest.approx(float(dice + entropy), rel=1e-5)


def test_a_crop_without_foreground_and_bfloat16_logits_are_fine() -> None:
    loss = SegmentationLoss(1)(
        torch.full((2, 1, 8, 8), -3.0, dtype=torch.bfloat16), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    )
    assert loss.dtype == torch.float32 and math.isfinite(float(loss))


@pytest.mark.parametrize("classes", [1, 3])
def test_the_distance_to_a_teacher_is_least_at_its_own_probabilities(classes: int) -> None:
    """A Dice without squares would pull a probability of 0.7 on to 1."""
    generator = torch.Generator().manual_seed(3)
    teacher = torch.randn(2, classes, 8, 8, generator=generator)
    labels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    loss = SegmentationLoss(classes, distill=0.999999)
    logits = teacher.clone().requires_grad_()
    at_teacher = loss(logits, labels, teacher)
    at_teacher.backward()
    assert logits.grad is not None and float(logits.grad.abs().max()) < 1e-5
    for scale in (0.5, 2.0, 20.0):
        assert float(loss(teacher * scale, labels, teacher)) > float(at_teacher.detach())


def test_shares_of_labels_and_teacher() -> None:
    generator = torch.Generator().manual_seed(4)
    logits, teacher = (torch.randn(2, 1, 16, 16, generator=generator) for _ in range(2))
    labels, distance = (float(SegmentationLoss(1, share)(logits, LABELS, teacher)) for share in (0.0, 1.0))
    assert labels == pytest.approx(float(SegmentationLoss(1)(logits, LABELS)))
    assert float(SegmentationLoss(1, 0.25)(logits, LABELS, teacher)) == pytest.approx(0.75 * labels + 0.25 * distance)
