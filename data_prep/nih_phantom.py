"""Made-up abdominal CT in the layout of The Cancer Imaging Archive's Pancreas-CT: DICOM series, and labels that lie as its do.

What makes the real studies hard is here too: a small bent organ of many shapes between others of nearly its intensity, fat and
gas around it, patients of different size, contrast and spacing, noise, and labels whose rows run to the front and slices down.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from unetq.data_prep.nih_series import WITHDRAWN
from unetq.data_prep.phantom_files import put
from unetq.errors import UserError

__all__ = ["SIZE", "SLICES", "Study", "make_study", "write_patients"]

SIZE, SLICES, MIN_SIZE = 128, 24, 32
LABELS = "TCIA_pancreas_labels-02-05-2017"
# Directions of rows and columns: to the left, and to the front.
ROWS_AND_COLUMNS = "1\\0\\0\\0\\-1\\0"
# Half the width of the body that the lengths below (mm) are of; to the left, to the back, to the head of the middle.
WIDTH = 165.0
AIR, FAT, MUSCLE = -1000.0, -100.0, 55.0
# Centre, half axes, HU. What comes later lies on top.
ORGANS = {
    "liver": ((-75, -15, 22), (72, 78, 62), 108),
    "spleen": ((104, 38, 30), (28, 42, 40), 118),
    "right kidney": ((-62, 52, -34), (25, 28, 50), 165),
    "left kidney": ((62, 50, -24), (25, 28, 50), 165),
    "gallbladder": ((-52, -48, -8), (15, 22, 18), 8),
    "stomach": ((52, -50, 28), (46, 30, 30), 48),
    "duodenum": ((-56, 2, -22), (14, 16, 34), 52),
    "jejunum": ((50, -8, -22), (24, 14, 24), 66),
}
# Along the middle of the pancreas, from head to tail: place and radius. The splenic vein runs behind it.
PANCREAS = ((-34, 8, -30, 15), (-24, 0, -12, 14), (-4, -10, -2, 11), (24, -8, 6, 12), (54, 8, 14, 12), (84, 26, 22, 10))
VEIN, VEIN_HU = (0, 15, 2, -6), 140
BOWEL = 14

Field = NDArray[np.float32]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """A made-up patient.

    Attributes:
        hu: int16 (Z, Y, X); x runs to the left, y to the front, z to the feet.
        label: uint8, 1 = pancreas.
        spacing: (z, y, x) in mm.
        first: place of the first voxel, LPS mm.
    """

    hu: NDArray[np.int16]
    label: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    first: tuple[float, float, float]


def make_study(number: int, seed: int, size: int = SIZE) -> Study:
    """The patient of a number.

    Args:
        number: of the patient.
        seed: with the number it decides every voxel.
        size: side of a slice in pixels; a smaller one has larger pixels.

    >>> study = make_study(1, seed=0, size=32)
    >>> study.hu.shape, np.unique(study.label).tolist()
    ((24, 32, 32), [0, 1])
    """
    rng = np.random.default_rng((seed, number))
    pixel = round(float(rng.uniform(0.72, 0.92)) * 512 / size, 4)
    step = float(rng.choice([2.5, 3.0, 4.0]))
    wide = float(rng.uniform(0.36, 0.43)) * size * pixel
    shape = (SLICES, size, size)
    first = (-pixel * (size - 1) / 2, pixel * (size - 1) / 2, step * (SLICES - 1) / 2)
    left = first[0] + pixel * np.arange(size, dtype=np.float32)
    back = first[1] - pixel * np.arange(size, dtype=np.float32)
    head = first[2] - step * np.arange(SLICES, dtype=np.float32)
    waves = _Waves(rng, shape, (step, pixel, pixel))
    scale = np.float32(WIDTH / wide)
    places = [scale * axis for axis in (left[None, None, :], back[None, :, None], head[:, None, None])]
    body = np.hypot(places[0] / WIDTH, (places[1] - 5) / (0.7 * WIDTH)) + np.zeros(shape, np.float32)
    bent = [axis + 6 * waves.field(28) for axis in places]
    hu = _trunk(body, places)
    _bowel(hu, bent, rng)
    for centre, half, value in ORGANS.values():
        _ellipsoid(
            hu, bent, rng.normal(centre, 5), np.multiply(half, rng.uniform(0.85, 1.12, 3)), value + rng.normal(0, 6)
        )
    way = np.array(PANCREAS) + rng.normal(0, 1, (len(PANCREAS), 4)) * (3, 3, 3, 1) + (*rng.normal(0, 4, 3), 0)
    hu[_outside(bent, way[2:] + VEIN) < 0] = VEIN_HU
    inside = _outside(bent, way) + 2.5 * waves.field(7) < 0
    hu[inside] = rng.uniform(62, 104)
    hu += np.float32(5) * waves.field(10) * (body < 1)
    hu = waves.blurred(hu, 0.5 * pixel) + 9 * waves.grain() + rng.normal(0, 5, shape).astype(np.float32)
    return Study(np.rint(hu).clip(-1024, 3071).astype(np.int16), inside.astype(np.uint8), (step, pixel, pixel), first)


def write_patients(out: Path, cases: int, seed: int, size: int = SIZE) -> None:
    """Writes `PANCREAS_<number>/<study>/<series>/1-<slice>.dcm` and the labels, all or nothing.

    Args:
        out: a folder.
        cases: patients; those that TCIA withdrew have no number here either.
        seed: decides every byte.
        size: side of a slice in pixels.

    Raises:
        UserError: a size too small, or `out` holds other patients, which may be real.
    """
    if size < MIN_SIZE:
        raise UserError(f"Phantom CT slices of {size} pixels cannot be made: ask for {MIN_SIZE} or more.")
    numbers = [number for number in range(1, cases + len(WITHDRAWN) + 1) if number not in WITHDRAWN][:cases]

    def write(folder: Path) -> None:
        for number in numbers:
            _write_patient(folder, number, make_study(number, seed, size), seed)

    put(out, ("PANCREAS_*", LABELS), write)


class _Waves:
    """Smooth random fields over a volume, of standard deviation 1."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        self.rng, self.shape = rng, shape
        *first, last = zip(shape, spacing, strict=True)
        axes = [np.fft.fftfreq(n, mm) for n, mm in first] + [np.fft.rfftfreq(last[0], last[1])]
        self.squares = sum(f**2 for f in np.meshgrid(*axes, indexing="ij"))

    def field(self, mm: float) -> Field:
        """A field whose waves are of some mm."""
        return self._unit(np.exp(-2 * (np.pi * mm) ** 2 * self.squares))

    def grain(self) -> Field:
        """The noise of a reconstruction kernel: none of the lowest frequencies, nor of the highest."""
        top = float(self.squares.max())
        return self._unit(np.sqrt(self.squares / top) * np.exp(-4 * self.squares / top))

    def blurred(self, volume: Field, mm: float) -> Field:
        """The volume, out of focus."""
        spectrum = np.fft.rfftn(volume) * np.exp(-2 * (np.pi * mm) ** 2 * self.squares)
        blurred: Field = np.fft.irfftn(spectrum, s=self.shape, axes=(0, 1, 2)).astype(np.float32)
        return blurred

    def _unit(self, kernel: NDArray[np.float64]) -> Field:
        spectrum = np.fft.rfftn(self.rng.standard_normal(self.shape, np.float32)) * kernel
        field = np.fft.irfftn(spectrum, s=self.shape, axes=(0, 1, 2))
        unit: Field = ((field - field.mean()) / field.std()).astype(np.float32)
        return unit


def _trunk(body: Field, places: list[Field]) -> Field:
    """Skin, fat, the wall's muscles, spine and great vessels; what is between them is fat."""
    left, back, head = places
    hu = np.where(body < 1, FAT, AIR).astype(np.float32)
    hu[np.abs(body - 0.985) < 0.015] = 30
    hu[np.abs(body - 0.87) < 0.045] = MUSCLE
    for side in (-1, 1):
        hu[np.broadcast_to(np.hypot((left - 42 * side) / 26, (back - 78) / 20) < 1, hu.shape)] = MUSCLE
    spine = np.hypot(left / 23, (back - 60) / 19) + 0 * head
    disc = np.sin(head * 2 * np.pi / 36) > 0.8
    hu[spine < 1] = np.broadcast_to(np.where(disc, 80.0, 190.0), hu.shape)[spine < 1]
    hu[(np.abs(spine - 0.95) < 0.07) & ~disc] = 420
    hu[np.broadcast_to(np.hypot(left / 10, (back - 88) / 8) < 1, hu.shape)] = 20
    for x, y, radius, value in ((10, 34, 9.5, 155), (-20, 34, 11, 135)):  # aorta, vena cava
        hu[np.broadcast_to(np.hypot(left - x, back - y) < radius, hu.shape)] = value
    return hu


def _ellipsoid(hu: Field, places: list[Field], centre: Vector, half: Vector, value: float) -> None:
    far = sum(((axis - np.float32(c)) / np.float32(h)) ** 2 for axis, c, h in zip(places, centre, half, strict=True))
    hu[far < 1] = value


def _bowel(hu: Field, places: list[Field], rng: np.random.Generator) -> None:
    """Loops in front, each with a wall and a content; gas lies in front of fluid."""
    for _ in range(BOWEL):
        centre = rng.uniform((-85, -72, -60), (95, -38, 60))
        half = rng.uniform((12, 11, 12), (26, 16, 30))
        _ellipsoid(hu, places, centre, half, 58)
        _ellipsoid(hu, places, centre, half - 3, float(rng.choice([12, 30, 160])))
        if rng.random() < 0.5:
            _ellipsoid(hu, places, centre - (0, 4, 0), half - (5, 7, 5), -880)


def _outside(places: list[Field], points: Vector) -> Field:
    """How far outside a tube through points (x, y, z, radius) each place is, mm; negative inside."""
    line = np.linspace(0, len(points) - 1, 3 * len(points))
    fine = np.stack([np.interp(line, np.arange(len(points)), column) for column in points.T], 1).astype(np.float32)
    outside = np.full(np.broadcast_shapes(*(axis.shape for axis in places)), np.inf, np.float32)
    for *point, radius in fine:
        squares = sum((axis - p) ** 2 for axis, p in zip(places, point, strict=True))
        np.minimum(outside, np.sqrt(squares) - radius, out=outside)
    return outside


def _write_patient(folder: Path, number: int, study: Study, seed: int) -> None:
    name = f"PANCREAS_{number:04d}"
    series = folder / name / f"01-01-2000-{name.replace('_', '')}-Pancreas" / "1.000000-Pancreas"
    labels = folder / LABELS
    for path in (series, labels):
        path.mkdir(parents=True, exist_ok=True)
    identity = f"{seed} {number} {study.hu.shape}"
    common = {
        "0008|0008": "DERIVED\\SECONDARY\\AXIAL",
        "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
        "0008|0020": "20000101",
        "0008|0030": "000000",
        "0008|0060": "CT",
        "0008|103e": "PHANTOM, no patient",
        "0010|0010": "PHANTOM",
        "0010|0020": name,
        "0018|0050": f"{study.spacing[0]:g}",
        "0018|0088": f"{study.spacing[0]:g}",  # or GDCM writes it itself, if it has read a file before
        "0018|5100": "HFS",
        "0020|000d": _uid(f"{identity} study"),
        "0020|000e": _uid(f"{identity} series"),
        "0020|0037": ROWS_AND_COLUMNS,
        "0020|0052": _uid(f"{identity} frame"),
        "0028|1052": "-1024",
        "0028|1053": "1",
    }
    step, pixel, _ = study.spacing
    for k, page in enumerate(study.hu):
        image = sitk.GetImageFromArray(page[None])
        image.SetSpacing((pixel, pixel, step))
        image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
        place = "\\".join(f"{mm:.4f}" for mm in (*study.first[:2], study.first[2] - k * step))
        own = {"0008|0018": _uid(f"{identity} {k}"), "0020|0013": str(k + 1), "0020|0032": place}
        for tag, value in (common | own).items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(series / f"1-{k + 1:03d}.dcm"))
        writer.Execute(image)
    affine = np.diag([-pixel, pixel, -step, 1.0])
    affine[:3, 3] = np.multiply(study.first, (-1, -1, 1))  # LPS -> RAS
    label = nib.Nifti1Image(study.label.T, affine)
    label.header.set_xyzt_units("mm")
    nib.save(label, labels / f"label{number:04d}.nii.gz")


def _uid(text: str) -> str:
    """A DICOM identifier of a text, always the same."""
    return f"2.25.{int.from_bytes(hashlib.sha256(f'unetq phantom {text}'.encode()).digest()[:15], 'big')}"
