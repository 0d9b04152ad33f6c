"""What the 3-D view is sent: few voxels, in the right place, whatever the study's axes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.app.made import make
from unetq.app.planes import Grid
from unetq.app.render import LABELS
from unetq.app.scene import DISAGREEMENT, TRUTH, Scene
from unetq.app.solid import LIMIT, Part, around, image_file, overlay_of, whole
from unetq.app.study import Study, open_study

OBLIQUE = np.array([[0.1, -0.7, 0.2, -20.0], [0.9, 0.1, 0.0, 30.0], [-0.1, 0.2, 2.4, 5.0], [0, 0, 0, 1.0]])


def study_of(array: NDArray[np.generic], affine: NDArray[np.float64], folder: Path) -> Study:
    """An array (Z, Y, X) as a NIfTI study."""
    nib.save(nib.Nifti1Image(array.T, affine), folder / "study.nii")
    return open_study(folder / "study.nii")


def opened(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(content)


@pytest.fixture
def oblique(tmp_path: Path) -> Study:
    array = np.random.default_rng(0).integers(-1000, 1000, (7, 31, 22)).astype(np.int16)
    return study_of(array, OBLIQUE, tmp_path)


@pytest.mark.parametrize("limit", [LIMIT, 1500, 200])
def test_each_point_lies_where_the_planes_say(oblique: Study, limit: int) -> None:
    grid = Grid(oblique.volume)
    part = Part(grid, (0, 0, 0), grid.shape, limit)
    image = opened(part.file(part.thinned(oblique.volume.array).astype(np.int16)))
    assert np.prod(image.shape) <= limit and image.shape[::-1] == tuple(
        -(-n // k) for n, k in zip(grid.shape, part.step)
    )
    rng = np.random.default_rng(1)
    for point in (tuple(int(rng.integers(n)) for n in grid.shape) for _ in range(20)):
        place = part.place(point)
        assert np.allclose(place, grid.world(point)), "of an oriented study it is the patient's own place"
        assert part.point((place[0], place[1], place[2])) == point
        x, y, z = (np.linalg.inv(image.affine) @ [*place, 1.0])[:3]
        blocks = [n // k for n, k in zip(point, part.step)]
        assert np.all(np.abs(np.array([z, y, x]) - blocks) <= 0.5), "and inside of its block in the file"


def test_blocks_are_means_and_masks_keep_their_size(oblique: Study) -> None:
    grid = Grid(oblique.volume)
    part = Part(grid, (0, 0, 0), grid.shape, 800)
    dz, dy, dx = part.step
    assert max(part.step) > 1
    turned = grid.turned(oblique.volume.array)
    assert np.isclose(
        part.thinned(oblique.volume.array)[1, 2, 1], turned[dz : 2 * dz, 2 * dy : 3 * dy, dx : 2 * dx].mean()
    )
    mask = np.zeros(grid.shape, np.uint8)
    mask[: 4 * dz, 4 * dy : 20 * dy, :] = 2
    found = part.labels(grid.back(mask))
    assert set(np.unique(found)) == {0, 2} and abs((found > 0).mean() - (mask > 0).mean()) < 0.1


def test_the_axis_of_the_smallest_pixels_is_thinned_first(tmp_path: Path) -> None:
    study = study_of(np.zeros((6, 40, 40), np.uint8), np.diag([4e-6, 4e-6, 5e-5, 1.0]), tmp_path)
    part = Part(Grid(study.volume), (0, 0, 0), (6, 40, 40), 2400)
    assert part.step == (1, 2, 2)
    assert np.isclose(part.affine[0, 0], -4), "nanometres: NiiVue counts in float32"


def test_a_stack_without_axes_stands_as_it_is_read(tmp_path: Path) -> None:
    made = make(tmp_path)
    part = whole(Scene(open_study(made.tiff), {}))
    x, y, z = np.diag(part.affine)[:3]
    assert x > 0 > y and z < 0 and part.place((0, 0, 0)) == [0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "stored"), [("uint8", "uint8"), ("int16", "int16"), ("uint16", "int16"), ("float32", "int16")]
)
def test_intensities_stay(kind: str, stored: str, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 200, (3, 9, 8)).astype(kind) * (300 if kind == "uint16" else 1)
    study = study_of(array.astype(kind), np.diag([-1.0, -1, 1, 1]), tmp_path)
    image = opened(image_file(Scene(study, {}), whole(Scene(study, {}))))
    assert image.get_data_dtype() == np.dtype(stored)
    assert np.allclose(np.asarray(image.dataobj).T, array, atol=1)


def test_overlays_have_the_colours_of_the_slices(tmp_path: Path) -> None:
    made = make(tmp_path)
    study = open_study(made.nifti)
    a, b = made.labels.copy(), made.labels.copy()
    a[:, :40], b[:, 60:] = 0, 0
    scene = Scene(study, {"A": a, TRUTH: b}, ("cell",), {"Entropy: A": np.full(a.shape, 77, np.uint8)})
    part = whole(scene)
    assert overlay_of(scene, (), part) is None
    one = overlay_of(scene, ("A",), part)
    assert one and not one.heat and one.colours == LABELS[:1] and one.legend == (("#009e73", "cell"),)
    grid = Grid(study.volume)
    assert np.array_equal(one.array, grid.turned(a))
    two = overlay_of(scene, ("A", TRUTH), part)
    assert two and [words for _, words in two.legend] == ["agree", "only A", "only Ground truth"]
    counts = [int((two.array == value).sum()) for value in (1, 2, 3)]
    assert counts == [int(((a > 0) & (b > 0)).sum()), int(((a > 0) & (b == 0)).sum()), int(((a == 0) & (b > 0)).sum())]
    assert min(counts) > 0
    for names in ((DISAGREEMENT,), ("Entropy: A",)):
        heat = overlay_of(scene, names, part)
        assert heat and heat.heat and len(heat.colours) == 5
    assert heat and (heat.array == 77).all()


def test_around_the_mask(tmp_path: Path) -> None:
    made = make(tmp_path)
    mask = np.zeros_like(made.labels)
    scene = Scene(open_study(made.nifti), {"A": mask})
    assert around(scene, ("A",)) is None, "an empty mask has no surroundings"
    mask[1, 50:60, 20:24] = 1
    part = around(scene, ("A",))
    assert part is not None and part.low[0] == 0 and part.high[0] == 3
    box = Grid(scene.study.volume).turned(mask)[tuple(slice(a, b) for a, b in zip(part.low, part.high))]
    assert box.sum() == mask.sum() and box.shape == (3, 14, 8)
