"""What the viewer keeps: verdicts, corrections, the audit log."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.app.made import Made, make
from tests.app.test_planes import stored
from unetq.app.audit import Audit
from unetq.app.planes import PLANES, Grid
from unetq.app.quality import Review, Reviews, changed_at, csv_of
from unetq.app.study import open_study
from unetq.app.versions import Brush, Version, Versions, painted, put
from unetq.data_prep.folder import prepare
from unetq.errors import UserError
from unetq.runtime.dataset import Dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("store"))


def test_reviews_are_kept_filtered_and_exported(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path / "new")
    assert reviews.all() == [] and reviews.verdicts() == {} and reviews.places() == {}
    first = Review("2026-01-01T10:00:00+00:00", "anna", "h1", "a.nii", "W4A6", "fail", 'blurred, "left"\nside')
    second = Review("2026-01-02T10:00:00+00:00", "ben", "h1", "a.nii", "W4A6", "pass")
    third = Review("2026-01-03T10:00:00+00:00", "=cmd()", "h2", "b.nii", "W2A2", "comment", "@x")
    for review in (first, second, third):
        reviews.add(review)
    assert Reviews(tmp_path / "new").all() == [third, second, first]
    assert reviews.all("fail") == [first] and reviews.of("h1") == [second, first]
    assert reviews.verdicts() == {"h1": "pass"}, "the latest verdict; a comment is none"
    lines = list(csv.DictReader(io.StringIO(csv_of(reviews.all()))))
    assert [line["verdict"] for line in lines] == ["comment", "pass", "fail"]
    assert lines[2]["comment"] == first.comment
    assert lines[0]["user"] == "'=cmd()" and lines[0]["comment"] == "'@x", "no formula for a spreadsheet"
    with pytest.raises(ValueError, match="maybe"):
        reviews.add(Review("", "", "", "", "", "maybe"))
    (tmp_path / "new/reviews.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"reviews\.sqlite"):
        reviews.all()


def test_a_place_holds_its_study_until_the_file_changes(tmp_path: Path) -> None:
    reviews, path = Reviews(tmp_path / "store"), tmp_path / "a.nii"
    path.write_bytes(b"1")
    for study in ("h0", "h1"):
        reviews.place(path, changed_at(path), study)
    reviews.place(tmp_path / "gone.nii", 5, "h2")
    assert reviews.places() == {path: "h1"}
    os.utime(path, ns=(1, 1))
    assert reviews.places() == {}


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)
    reviews.add(Review("t", "u'); DROP TABLE reviews; --", "h", "n", "m", "pass"))
    assert reviews.all()[0].user.startswith("u')")
    with sqlite3.connect(tmp_path / "reviews.sqlite") as database:
        assert database.execute("SELECT count(*) FROM reviews").fetchone() == (1,)


def test_the_audit_log_grows_by_whole_lines(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "store")
    threads = [
        threading.Thread(target=lambda n=n: [audit.write("x", f"user {n}", k=k) for k in range(30)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in (tmp_path / "store/audit.jsonl").read_text().splitlines()]
    assert len(lines) == 120 and {line["event"] for line in lines} == {"x"}
    assert audit.path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        Audit(tmp_path / "file").write("x", "u")


def test_corrections_are_versions(made: Made, tmp_path: Path) -> None:
    study, versions = open_study(made.nifti), Versions(tmp_path)
    assert versions.of(study) == []
    first = versions.save(study, made.labels, Version(0, "", "anna", "W4A6", "missed a cell"))
    second = versions.save(study, 1 - made.labels, Version(0, "", "ben", first.title))
    assert [v.number for v in versions.of(study)] == [1, 2] and first.title == "Correction 1 (anna)"
    assert second.base == first.title and first.time
    assert np.array_equal(versions.load(study, 1), made.labels)
    assert np.array_equal(versions.load(study, 2), 1 - made.labels)
    assert versions.of(open_study(made.tiff)) == [], "another spacing is another study"
    stack = open_study(made.tiff)
    versions.save(stack, made.labels, Version(0, "", "anna", "W4A6"))
    assert np.array_equal(versions.load(stack, 1), made.labels), "a stack without geometry too"
    (tmp_path / "corrections" / study.hash / "2.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        versions.of(study)


def test_a_stroke_paints_a_round_line() -> None:
    cut = np.zeros((40, 60), np.uint8)
    size = (40.0, 120.0)  # pixels of 1 x 2 mm
    dot = painted(cut, size, [(0.5, 0.5)], Brush(2, 12.0))
    y, x = np.mgrid[:40, :60]
    inside = np.hypot(y + 0.5 - 20, 2 * (x + 0.5) - 60) <= 6
    assert np.array_equal(dot, np.where(inside, 2, 0)) and not cut.any()
    line = painted(cut, size, [(0.25, 0.25), (0.25, 0.75)], Brush(1, 4.0))
    assert line[10, 15:45].all() and not line[20:].any()
    assert not painted(line, size, [(0.25, 0.2), (0.25, 0.8)], Brush(0, 20.0)).any(), "erased"
    assert painted(cut, size, [(0.0, 0.0)], Brush(1, 0.0)).sum() >= 1, "never less than the pixel under it"


@pytest.mark.parametrize("neurological", [False, True])
@pytest.mark.parametrize("code", ["RAS", "ASL", "PIR"])
def test_what_is_put_is_what_is_cut(code: str, neurological: bool) -> None:
    grid = Grid(stored(code), neurological)
    rng = np.random.default_rng(0)
    for plane in PLANES:
        mask = rng.integers(0, 3, grid.volume.array.shape).astype(np.uint8)
        before = mask.copy()
        point = (2, 3, 1)
        cut = grid.cut(grid.turned(mask), plane, point).copy()
        put(mask, grid, plane, point, 9 - cut)
        assert np.array_equal(grid.cut(grid.turned(mask), plane, point), 9 - cut)
        assert (mask != before).sum() == cut.size, "nothing else changed"


@pytest.mark.parametrize("suffix", [".nii.gz", ".tif"])
def test_corrections_become_training_labels(suffix: str, made: Made, tmp_path: Path) -> None:
    """The steps of docs/viewer.md: image and corrected mask under one name, then `unetq data prepare folder`."""
    versions, source = Versions(tmp_path / "store"), made.nifti if suffix == ".nii.gz" else made.tiff
    for name in ("images", "masks"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
    saved = {}
    for number in range(4):
        study = open_study(source)
        mask = made.labels.copy()
        mask[:, : 10 * number + 5] = 0
        version = versions.save(study, mask, Version(0, "", "anna", "W4A6"))
        saved[f"s{number}"] = mask
        shutil.copy(source, tmp_path / f"pairs/images/s{number}{suffix}")
        kept = versions.folder / study.hash / f"{version.number}.nii.gz"
        shutil.copy(kept, tmp_path / f"pairs/masks/s{number}.nii.gz")
    dataset = Dataset.open(prepare(tmp_path / "pairs", tmp_path / "prepared"), 0)
    cases = [case for split in ("train", "val", "test") for case in dataset.read_split(split)]
    assert len(cases) == 4
    for case in cases:
        (want,) = (mask for name, mask in saved.items() if name in case.name)
        assert np.array_equal(case.truth, want) and np.array_equal(case.channels[0].array, made.image)
