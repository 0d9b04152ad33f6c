"""An image with its place in the world."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["Format", "Volume"]

Format = Literal["tiff", "png", "nifti"]


@dataclass(frozen=True)
class Volume:
    """A study, whatever file it came from. A 2-D image has Z = 1.

    Attributes:
        array: intensities (Z, Y, X), whole numbers or floats, all finite. Of a NIfTI it is nibabel's (x, y, z),
            transposed; of a TIFF (page, row, column).
        spacing: (z, y, x) in mm.
        affine: float64 (4, 4), voxel index (x, y, z, 1) -> RAS position in mm.
        format: the kind of file that a mask of this study is written to; a JPEG's mask is a PNG.
        header: header of a NIfTI, so that the mask gets the very same geometry fields.
    """

    array: NDArray[Any]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    format: Format
    header: Nifti1Header | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise ValueError(f"A volume is (Z, Y, X), but this array has shape {self.array.shape}.")

    @property
    def knows_spacing(self) -> bool:
        """False for a picture of 1 mm pixels: so many writers say who know nothing."""
        return self.format == "nifti" or not np.allclose(self.spacing, 1.0, rtol=1e-6)

    @property
    def knows_orientation(self) -> bool:
        """False for a NIfTI whose sform and qform codes are both 0: it says voxel sizes only."""
        header = self.header
        return header is None or bool(header["sform_code"] or header["qform_code"])
