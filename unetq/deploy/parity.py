"""Whether three engines agree: native runtime, numpy reference, torch in evaluation mode (promises A and B of DESIGN 3.6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unetq.image.measures import dice
from unetq.image.tiles import logits_to_mask
from unetq.nets import UNet, codes
from unetq.runtime.model import Model
from unetq.runtime.reference import run_reference

__all__ = ["Agreement", "Parity", "compare"]

# Of all codes; the rest may lie at ties that two ways of rounding decide differently.
PROMISE_B = 0.9999


@dataclass(frozen=True)
class Agreement:
    """How far two engines agree on some images.

    Attributes:
        tensors: share of equal values by tensor; "head" are the float32 logits.
        codes: share of equal codes over all tensors but the logits.
        logits: largest difference of a logit.
        dice: lowest Dice of the two masks over images and labels.
    """

    tensors: Mapping[str, float]
    codes: float
    logits: float
    dice: float

    @property
    def exact(self) -> bool:
        """Every value of every tensor is equal."""
        return min(self.tensors.values()) == 1.0


@dataclass(frozen=True)
class Parity:
    """The native runtime and torch, each against the reference."""

    native: Agreement
    torch: Agreement

    @property
    def kept(self) -> bool:
        """Both promises: native equal bit for bit, torch in at least 99.99 % of the codes."""
        return self.native.exact and self.torch.codes >= PROMISE_B


Tensors = Mapping[str, NDArray[np.generic]]


class _Tally:
    """Collects an `Agreement` image by image."""

    def __init__(self) -> None:
        self.equal: dict[str, int] = {}
        self.total: dict[str, int] = {}
        self.logits, self.dice = 0.0, 1.0

    def add(self, got: Tensors, want: Tensors) -> None:
        for name, wanted in want.items():
            self.equal[name] = self.equal.get(name, 0) + int((got[name] == wanted).sum())
            self.total[name] = self.total.get(name, 0) + wanted.size
        logits = [np.asarray(tensors["head"], np.float32) for tensors in (got, want)]
        self.logits = max(self.logits, float(np.abs(logits[0] - logits[1]).max()))
        masks = [logits_to_mask(each)[None] for each in logits]
        labels = range(1, max(2, len(logits[0])))
        self.dice = min(self.dice, *(dice(masks[0], masks[1], label) for label in labels))

    def agreement(self) -> Agreement:
        inner = [name for name in self.total if name != "head"]
        return Agreement(
            {name: self.equal[name] / self.total[name] for name in self.total},
            sum(self.equal[name] for name in inner) / sum(self.total[name] for name in inner),
            self.logits,
            self.dice,
        )


def compare(network: UNet, model: Model, images: Iterable[NDArray[np.float32]]) -> Parity:
    """Runs images through a network, the model file exported from it, and the reference.

    Args:
        network: in evaluation mode, on the CPU.
        model: its exported file, opened.
        images: prepared images float32 (C, H, W), at least one.
    """
    native, in_torch = _Tally(), _Tally()
    for image in images:
        want = run_reference(model.graph, image)
        native.add(model.dump(image), want)
        in_torch.add({k: v[0].numpy() for k, v in codes(network, torch.from_numpy(image)[None]).items()}, want)
    return Parity(native.agreement(), in_torch.agreement())
