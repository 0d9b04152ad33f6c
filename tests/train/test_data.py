from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.made import config, dataset, disc
from unetq.errors import UserError
from unetq.runtime.dataset import Case, Dataset, training_slices
from unetq.spec import NetSpec
from unetq.train.augment import Augment
from unetq.train.config import AugmentSpec
from unetq.train.data import Crops, Share, check_fits, prefetch

OFF = AugmentSpec(flip=0, affine=0, elastic=0, intensity=0, noise=0)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return list(Dataset.open(dataset(tmp_path_factory.mktemp("data"))).read_split("train"))


def same(a: tuple[torch.Tensor, torch.Tensor], b: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_a_batch_depends_on_seed_and_step_alone(cases: list[Case]) -> None:
    first = Crops(cases, config())
    batches = [first.batch(step) for step in range(6)]
    again = Crops(cases, config())
    assert all(same(again.batch(step), batches[step]) for step in reversed(range(6)))
    for ahead in (False, True):
        made = prefetch(again, range(2, 6), ahead)
        assert all(same(batch, batches[step]) for step, batch in zip(range(2, 6), made, strict=True))
    assert not same(batches[0], batches[1])
    assert not same(Crops(cases, config(seed=1)).batch(0), batches[0])
    images, labels = batches[0]
    assert images.shape == (2, 1, 32, 32) and images.dtype == torch.float32
    assert labels.shape == (2, 1, 32, 32) and labels.dtype == torch.uint8 and set(labels.unique().tolist()) <= {0, 1}


def test_processes_share_a_batch(cases: list[Case]) -> None:
    whole = Crops(cases, config(batch=4)).batch(3)
    parts = [Crops(cases, config(batch=4), Share(rank, 2)).batch(3) for rank in range(2)]
    assert same((torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])), whole)
    with pytest.raises(UserError, match="A batch of 3 cannot be shared by 2 processes"):
        Crops(cases, config(batch=3), Share(0, 2))


def test_the_label_takes_no_part_in_the_choice_of_a_crop(cases: list[Case]) -> None:
    emptied = [replace(case, truth=np.zeros_like(case.truth)) for case in cases]
    for step in range(4):
        assert torch.equal(Crops(cases, config()).batch(step)[0], Crops(emptied, config()).batch(step)[0])


@pytest.mark.parametrize("at", [(0, 0), (17, 39), (39, 39)])
def test_a_share_of_the_crops_holds_a_label(cases: list[Case], at: tuple[int, int]) -> None:
    truth = np.zeros_like(cases[0].truth)
    truth[0][at] = 1
    lonely = [replace(cases[0], truth=truth), *(replace(case, truth=np.zeros_like(case.truth)) for case in cases[1:])]
    crops = Crops(lonely, config(augment=OFF, crop=8, batch=64, foreground=0.5))
    held = [int(label.sum()) for label in crops.batch(0)[1]]
    assert set(held) == {0, 1} and 16 < sum(held) < 48
    places = {tuple(np.argwhere(label[0].numpy())[0]) for label in crops.batch(1)[1] if label.any()}
    assert len(places) > 4 or at != (17, 39), "the label is at any place of a crop"
    none = [replace(case, truth=np.zeros_like(case.truth)) for case in cases]
    assert not Crops(none, config(foreground=1.0)).batch(0)[1].any()


def test_crops_are_what_the_network_sees_on_the_cart(cases: list[Case]) -> None:
    made = config(augment=OFF, crop=40)
    images, labels = Crops(cases, made).batch(0)
    whole = [piece for case in cases for piece in training_slices(case, made.prep)]
    for image, label in zip(images.numpy(), labels.numpy()):
        assert any(np.array_equal(image, i) and np.array_equal(label, t) for i, t in whole)


def test_each_crop_draws_one_of_several_raters(cases: list[Case]) -> None:
    marks = [np.full_like(cases[0].truth, value) for value in (1, 0)]
    rated = [replace(case, raters=tuple(marks)) for case in cases]
    labels = Crops(rated, config(augment=OFF, batch=32)).batch(0)[1]
    assert {int(label.min()) for label in labels} == {int(label.max()) for label in labels} == {0, 1}
    alone = [replace(case, raters=(case.truth,)) for case in cases]
    assert torch.equal(Crops(alone, config()).batch(0)[1], Crops(cases, config()).batch(0)[1])


def test_slices_smaller_than_a_crop_are_mirrored(cases: list[Case]) -> None:
    images, labels = Crops(cases, config(augment=OFF, crop=100)).batch(0)
    assert images.shape == (2, 1, 100, 100)
    assert torch.equal(images[..., :40, :40], images[..., 40:80, :40].flip(-2))
    assert torch.equal(labels[..., :40, :40], labels[..., :40, 40:80].flip(-1))


def test_image_and_label_move_together() -> None:
    always = Augment(AugmentSpec(flip=1, affine=1, elastic=1, intensity=0, noise=0))
    for seed in range(6):
        mask = disc(seed)[1][0]
        image, label = always(mask[None].astype(np.float32), mask, seed)
        assert type(image) is torch.Tensor and type(label) is torch.Tensor
        assert ((image[0] > 0.5) != (label[0] > 0)).float().mean() < 0.02
    moved = always(mask[None].astype(np.float32), mask, 5)[1]
    assert not torch.equal(moved[0], torch.from_numpy(mask))


@pytest.mark.parametrize("kind", ["intensity", "noise", "bias", "contrast", "blur"])
def test_intensity_changes_leave_the_label_alone(kind: str) -> None:
    image, mask = disc(0)
    augment = Augment(replace(OFF, **{kind: 1.0}))
    out, label = augment(image.astype(np.float32), mask[0], 7)
    again, _ = augment(image.astype(np.float32), mask[0], 7)
    assert torch.equal(out, again)
    assert torch.equal(label[0], torch.from_numpy(mask[0])) and out.isfinite().all()
    assert not torch.equal(out, torch.from_numpy(image.astype(np.float32)))


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (NetSpec(in_channels=2), "The images of discs have 1 channels"),
        (NetSpec(out_channels=1), r"discs has 2 labels \(disc, left\): set out_channels of the network to 3"),
    ],
)
def test_a_network_of_other_channels_is_refused(net: NetSpec, sentence: str, tmp_path: Path) -> None:
    data = Dataset.open(dataset(tmp_path, labels=2))
    check_fits(NetSpec(out_channels=3), data)
    with pytest.raises(UserError, match=sentence):
        check_fits(net, data)
