"""Tiles and real slices: no more memory than the result needs, nothing lost on the way through a file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from unetq.image.read import read, read_mask, write_mask
from unetq.image.tiles import sliding_logits
from unetq.spec import PrepSpec


def test_tiles_hold_one_slice_of_logits_and_one_tile() -> None:
    """However many tiles there are: 8 x 8 of them, whose logits together would be four times the slice."""
    image = np.zeros((1, 512, 512), np.float32)
    prep = PrepSpec(tile=128, overlap=0.5)
    tracemalloc.start()
    out = sliding_logits(image, prep, lambda tile: np.repeat(tile, 2, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tile = out.shape[0] * prep.tile**2 * 4
    assert peak < out.nbytes + 5 * tile


@pytest.mark.realdata
def test_real_slices_and_their_mask(realdata: Path, tmp_path: Path) -> None:
    volume = read(realdata / "em" / "train-volume.tif")
    assert (volume.array.dtype, volume.array.shape[1:], volume.format) == (np.uint8, (512, 512), "tiff")
    mask = (volume.array > 128).astype(np.uint8)
    write_mask(mask, volume, tmp_path / "mask.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif"), mask)
    cut = tmp_path / "cut.tif"
    data = (realdata / "em" / "train-volume.tif").read_bytes()
    for lost in (len(data) // 3, len(data) // 2, 300):  # the very last bytes of this file belong to nothing
        cut.write_bytes(data[:-lost])
        with pytest.raises(ValueError, match="truncated or corrupt TIFF"):
            read(cut)
