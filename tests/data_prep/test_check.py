"""The fingerprint against numpy, remarks on what a person should look at, and pictures that show the mask where it lies."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from tests.train.made import dataset
from unetq.data_prep.check import SIDE, check, check_table
from unetq.data_prep.phantom import phantom
from unetq.data_prep.registry import locate
from unetq.errors import UserError
from unetq.report.paint import OUTLINE


def pixels(path: str | Path) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def text(result: dict[str, Any]) -> str:
    console = Console(width=240, file=io.StringIO())
    console.print(check_table(result))
    return console.file.getvalue()  # type: ignore[attr-defined]


def rewrite(folder: Path, name: str, image: np.ndarray | None = None, label: np.ndarray | None = None) -> None:
    for path, array in ((folder / f"imagesTr/{name}_0000.nii.gz", image), (folder / f"labelsTr/{name}.nii.gz", label)):
        if array is not None:
            nib.save(nib.Nifti1Image(array, nib.load(path).affine), path)


def test_what_is_written(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "set", labels=2)
    steps: list[tuple[int, int]] = []
    result = check(folder, tmp_path / "out", lambda done, total: steps.append((done, total)))
    assert json.loads((tmp_path / "out/check.json").read_text()) == result
    assert steps == [(k, 9) for k in range(1, 10)]
    assert result["splits"] == {"train": 5, "val": 2, "test": 2}
    assert result["remarks"] == ["c1 holds no left.", "c8 holds no left."]
    for case in result["cases"]:
        image = np.asarray(nib.load(folder / f"imagesTr/{case['name']}_0000.nii.gz").dataobj)
        label = np.asarray(nib.load(folder / f"labelsTr/{case['name']}.nii.gz").dataobj)
        assert (case["shape"], case["spacing_mm"], case["orientation"]) == ([1, 40, 40], [1, 1, 1], "RAS")
        assert case["dtype"] == "uint8"
        np.testing.assert_allclose(list(case["percentiles"].values()), np.percentile(image, (0, 1, 50, 99, 100)))
        for value, name in ((1, "disc"), (2, "left")):
            voxels = int((label == value).sum())
            assert case["labels"][name] == {
                "voxels": voxels,
                "ml": pytest.approx(voxels / 1000),
                "slices": int(voxels > 0),
            }
    sheets = result["montages"]
    assert [Path(sheet).name for sheet in sheets] == ["montage-01.png", "montage-02.png"]
    assert [case for cases in sheets.values() for case in cases] == [f"c{k}" for k in range(9)]
    assert pixels(next(iter(sheets))).shape == (8 * SIDE, 2 * SIDE, 3)
    said = text(result)
    assert "discs: 9 cases (5 train, 2 val, 2 test)" in said
    assert "1 x 40 x 40" in said
    assert "1 x 1 x 1 mm" in said


def test_a_case_in_no_split_is_shown_too(tmp_path: Path) -> None:
    phantom("em", tmp_path / "raw", 8, 0, 64)
    result = check(locate("em", tmp_path / "raw"), tmp_path / "out")
    assert [case["split"] for case in result["cases"]].count("none") == 2  # the guards
    said = text(result)
    assert "0.05 x 0.004 x 0.004 µm" in said
    assert "µm³" in said
    assert "ml" not in said


def test_remarks(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "set")
    empty = np.zeros((40, 40, 1), np.uint8)
    rewrite(folder, "c0", label=empty)
    speck = empty.copy()
    speck[7, 7] = 1
    rewrite(folder, "c1", label=speck)
    rewrite(folder, "c2", image=empty + 9)
    rewrite(folder, "c3", image=np.random.default_rng(0).random((40, 40, 1)).astype(np.float32))
    for part, suffix in (("imagesTr", "_0000"), ("labelsTr", "")):
        path = folder / part / f"c4{suffix}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.diag([-1.0, 1, 1, 1])), path)
    remarks = check(folder, tmp_path / "out")["remarks"]
    assert remarks[0] == "c0 holds no disc."
    assert remarks[1].startswith("c1 holds 0.001 ml of disc, but a typical case 0.")
    assert "The cases are of more than one orientation: LAS, RAS." in remarks
    assert "The cases are of more than one type: float32, uint8." in remarks
    assert "c2 is nearly constant in its first channel." in remarks
    assert len(remarks) == 5


def test_the_mask_is_outlined_where_it_lies(tmp_path: Path) -> None:
    """Whole slice: the painted rim is that of the mask, enlarged; near view: the label is large and in the middle."""
    folder = dataset(tmp_path / "set", size=96)
    label = np.zeros((96, 96, 1), np.uint8)
    label[60:72, 20:28] = 1  # x 60 to 71, y 20 to 27
    rewrite(folder, "c0", label=label)
    row = pixels(next(iter(check(folder, tmp_path / "out")["montages"])))[:SIDE]
    painted = (row == OUTLINE).all(-1)
    y, x = np.nonzero(painted[:, :SIDE])
    assert (x.min(), x.max(), y.min(), y.max()) == (120, 143, 40, 55)  # twice as many pixels
    y, x = np.nonzero(painted[:, SIDE:])
    assert (x.max() - x.min()) / SIDE > 0.25
    assert 0.3 < (x.max() + x.min()) / 2 / SIDE < 0.7


def test_pixels_are_square_whatever_the_spacing(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "set")
    for part, suffix in (("imagesTr", "_0000"), ("labelsTr", "")):
        path = folder / part / f"c0{suffix}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.diag([1.0, 0.5, 1, 1])), path)
    row = pixels(next(iter(check(folder, tmp_path / "out")["montages"])))[:SIDE, :SIDE]
    assert row[: SIDE // 2].any()
    assert not row[SIDE // 2 + 1 :].any()


def test_slices_of_a_volume(tmp_path: Path) -> None:
    phantom("gm", tmp_path / "raw", 3, 0, 64)
    result = check(locate("gm", tmp_path / "raw"), tmp_path / "out")
    (sheet,) = result["montages"]
    assert pixels(sheet).shape == (3 * SIDE, 4 * SIDE, 3)
    shown = pixels(sheet).reshape(3, SIDE, 4, SIDE, 3).transpose(0, 2, 1, 3, 4)
    assert ((shown == OUTLINE).all(-1).sum((2, 3)) > 20).all()  # the outline in every view


def test_not_a_prepared_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no prepared data set"):
        check(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["em", "gm", "nih"])
def test_real_data_has_nothing_alarming(name: str, realdata: Path, tmp_path: Path) -> None:
    result = check(locate(name, realdata), tmp_path / "out")
    assert not [remark for remark in result["remarks"] if "no " in remark or "orientation" in remark]
