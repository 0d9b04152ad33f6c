"""A study through a network of another orientation and pixel size, and back to its own grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.image.test_orient import study
from unetq.errors import UserError
from unetq.image.segment import network_slice, segment
from unetq.image.volume import Volume
from unetq.spec import PrepSpec


def above(image: np.ndarray) -> np.ndarray:
    """A network that marks what is above the mean."""
    return image[:1]


@pytest.mark.parametrize("here", ["LPS", "RAS", "ASL", "PIR"])
def test_the_same_voxels_whatever_the_orientation_of_the_file(here: str) -> None:
    marked = study("LPS")
    volume = study(here)
    seen = []
    mask = segment([volume], PrepSpec(orientation="LPS"), lambda image: seen.append(image.shape) or above(image))
    assert mask.shape == volume.array.shape and len(set(seen)) == 1
    # Slices along z: in each of them half of the voxels are above the mean.
    slices = {"LPS": 0, "RAS": 0, "ASL": 1, "PIR": 1}[here]
    assert (mask.sum(tuple(axis for axis in range(3) if axis != slices)) > 0).all()
    assert marked.array.size == 2 * mask.sum()


def test_the_network_works_at_its_own_pixel_size() -> None:
    rows, columns = np.mgrid[:40, :30]
    disc = ((rows - 18) ** 2 + (columns - 14) ** 2 < 80).astype(np.uint8)
    volume = Volume(disc[None] * 100, (4.0, 0.5, 0.8), np.diag([0.8, 0.5, 4.0, 1.0]), "nifti")
    prep, seen = PrepSpec(spacing=0.25), []
    mask = segment([volume], prep, lambda image: seen.append(image.shape) or above(image))
    assert seen == [(1, 80, 96)] and mask.shape == (1, 40, 30)
    assert (mask[0] != disc).mean() < 0.02
    fine = network_slice([volume], 0, prep)
    assert fine.shape == (1, 80, 96) and fine.dtype == np.float32 and abs(float(fine.mean())) < 1e-5


def test_an_image_without_a_pixel_size_is_refused_where_it_matters() -> None:
    picture = Volume(np.zeros((1, 8, 8), np.uint8), (1.0, 1.0, 1.0), np.eye(4), "png")
    assert segment([picture], PrepSpec(), above).shape == (1, 8, 8)
    with pytest.raises(UserError, match=r"no pixel size, but this model works at 0\.8 mm: give it with `--spacing MM`"):
        segment([picture], PrepSpec(spacing=0.8), above)
    assert segment([replace(picture, spacing=(1.0, 1.6, 1.6))], PrepSpec(spacing=0.8), above).shape == (1, 8, 8)
