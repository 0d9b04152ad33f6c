"""Training data in memory.

Crop j of step i is a pure function of (seed, i, j): no loader, number of processes or resume changes it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.runtime.dataset import Case, Dataset, training_slices
from unetq.spec import NetSpec, PrepSpec
from unetq.train.augment import Augment
from unetq.train.config import TrainConfig

__all__ = ["Crops", "Share", "check_fits", "fitted", "prefetch", "within"]

Slice = tuple[NDArray[np.float32], NDArray[np.uint8]]  # image (C, Y, X) as the network sees it, labels (R, Y, X)
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Share:
    """Which part of every batch a process makes: process `rank` of `world`."""

    rank: int = 0
    world: int = 1


class Crops:
    """Random crops of the training slices; a share of them, `TrainConfig.foreground`, holds a pixel of a label."""

    def __init__(self, cases: list[Case], config: TrainConfig, share: Share | None = None) -> None:
        share = share or Share()
        if config.batch % share.world:
            raise UserError(
                f"A batch of {config.batch} cannot be shared by {share.world} processes; set batch to a multiple."
            )
        each = config.batch // share.world
        self.config, self.share = config, share
        self.slots = range(share.rank * each, (share.rank + 1) * each)
        self.slices = [piece for case in cases for piece in _slices(case, config.prep, config.crop)]
        self.marked = (
            [i for i, (_, label) in enumerate(self.slices) if label.any(axis=(1, 2)).all()] if config.foreground else []
        )
        self.augment = Augment(config.augment)

    def batch(self, step: int) -> Batch:
        """This process's part of the batch of a step: images float32 (N, C, crop, crop), labels uint8 (N, 1, crop, crop)."""
        pairs = [self._crop(step, slot) for slot in self.slots]
        return torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])

    def _crop(self, step: int, slot: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.config.seed, step, slot))
        on_label = bool(self.marked) and rng.random() < self.config.foreground
        pool = self.marked if on_label else range(len(self.slices))
        image, labels = self.slices[pool[int(rng.integers(len(pool)))]]
        label = labels[int(rng.integers(len(labels))) if len(labels) > 1 else 0]  # another rater each time
        side = self.config.crop
        y, x = _corner_on(label, side, rng) if on_label else (int(rng.integers(n - side + 1)) for n in label.shape)
        window = (slice(y, y + side), slice(x, x + side))
        return self.augment(image[:, *window], label[window], int(rng.integers(2**32)))


def _corner_on(label: NDArray[np.uint8], side: int, rng: np.random.Generator) -> tuple[int, int]:
    """First pixel (y, x) of a crop with a random pixel of a label at a random place in it."""
    places = np.flatnonzero(label)
    at = np.unravel_index(int(places[int(rng.integers(len(places)))]), label.shape)
    y, x = (int(rng.integers(max(0, int(p) - side + 1), min(int(p), n - side) + 1)) for p, n in zip(at, label.shape))
    return y, x


def prefetch(crops: Crops, steps: range, ahead: bool) -> Generator[Batch]:
    """The batches of `steps`; with `ahead` a thread makes the next one while the network works on this one.

    That pays beside a GPU; on a CPU the thread only takes the cores from the network.
    """
    if not ahead:
        yield from map(crops.batch, steps)
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="crops") as pool:
        coming: Future[Batch] | None = None
        for step in steps:
            ready = (coming or pool.submit(crops.batch, step)).result()
            coming = pool.submit(crops.batch, step + 1) if step + 1 in steps else None
            yield ready


def check_fits(net: NetSpec, data: Dataset) -> None:
    """Refuses a network whose channels or classes are not the data set's.

    Raises:
        UserError: says which number to set.
    """
    classes = len(data.labels)
    wanted = 1 if classes == 1 else classes + 1
    if net.in_channels != data.channels:
        raise UserError(
            f"The images of {data.name} have {data.channels} channels: set in_channels of the network to it."
        )
    if net.out_channels != wanted and not (classes == 1 and net.out_channels == 2):
        raise UserError(
            f"{data.name} has {classes} label{'s' * (classes > 1)} ({', '.join(data.labels)}): "
            f"set out_channels of the network to {wanted}."
        )


def fitted(config: TrainConfig, data: Dataset) -> TrainConfig:
    """The configuration for a data set: with as many channels and classes where the configuration leaves them at one, and with
    its window within the data's range (`within`).

    Raises:
        UserError: nothing of the window is in that range.
    """
    classes = len(data.labels)
    net = config.net
    if net.in_channels == 1 and data.channels:
        net = replace(net, in_channels=data.channels)
    if net.out_channels == 1 and classes > 1:
        net = replace(net, out_channels=classes + 1)
    return replace(config, net=net, prep=within(config.prep, data))


def within(prep: PrepSpec, data: Dataset) -> PrepSpec:
    """The preparation with its window inside the range that the data's intensities were clipped to when they were exported.

    A network that was trained on such pictures must see no more of an unclipped study than they showed.

    Raises:
        UserError: nothing of the window is in that range.
    """
    clipped = data.source.get("clipped")
    if prep.window is None or clipped is None:
        return prep
    low, high = max(prep.window[0], clipped[0]), min(prep.window[1], clipped[1])
    if low >= high:
        raise UserError(
            f"The window {prep.window[0]:g} to {prep.window[1]:g} shows nothing of {data.folder}, whose intensities were "
            f"clipped to {clipped[0]:g} to {clipped[1]:g}: choose another window."
        )
    return replace(prep, window=(low, high))


def _slices(case: Case, prep: PrepSpec, side: int) -> Iterator[Slice]:
    """Slices no smaller than a crop: small ones are continued by their mirror image."""
    for image, labels in training_slices(case, prep):
        grow = [(0, 0), *((0, max(0, side - size)) for size in labels.shape[1:])]
        yield np.pad(image, grow, mode="symmetric"), np.pad(labels, grow, mode="symmetric")
