"""What the viewer keeps: verdicts, corrections, the audit log."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import sqlite3
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.app.made import Made, make
from tests.app.test_planes import stored
from tests.image.dicom_made import series
from unetq.app.audit import Audit
from unetq.app.export import FORMATS, pair_file
from unetq.app.planes import PLANES, Grid
from unetq.app.quality import Review, Reviews, changed_at, csv_of
from unetq.app.study import Study, open_study
from unetq.app.versions import Brush, Version, Versions, painted, put
from unetq.data_prep.folder import FolderOptions, parse_labels, prepare
from unetq.errors import UserError
from unetq.image.read import write_volume
from unetq.runtime.dataset import Dataset
from unetq.runtime.meta import Label


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


@pytest.mark.parametrize("kind", ["NIfTI", "TIFF", "PNG", "DICOM"])
def test_corrections_become_training_labels(kind: str, made: Made, tmp_path: Path) -> None:
    """The steps of docs/viewer.md: "Save for training", unpack, then the command that the zip's own README names."""
    studies = studies_of(kind, made, tmp_path)
    for number, study in enumerate(studies):
        mask = np.zeros(study.volume.array.shape, np.uint8)
        mask[:, : number + 5, 3:9] = 2
        mask[:, :2] = 1
        content = pair_file(mask, study, (Label("gray matter"), Label("white")))[1]
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            packed.extractall(tmp_path / "pairs")
    readme = (tmp_path / "pairs/README.txt").read_text()
    command = shlex.split(next(line for line in readme.splitlines() if "unetq data prepare" in line))
    options = FolderOptions(labels=parse_labels(command[command.index("--label") + 1 :: 2]))
    dataset = Dataset.open(prepare(tmp_path / "pairs", tmp_path / "prepared", options), 0)
    cases = {case.name: case for split in ("train", "val", "test") for case in dataset.read_split(split)}
    assert len(cases) == 4 and tuple(dataset.labels) == ("gray matter", "white")
    for number, name in enumerate(sorted(cases)):
        (study,) = (s for s in studies if s.hash[:8] in name)
        mask = cases[name].truth
        assert np.array_equal(cases[name].channels[0].array, study.volume.array)
        assert (mask == 2).sum() == study.depth * (studies.index(study) + 3) * 6, number
        assert f"p{studies.index(study)}_" in name, "the folder, by which the subject is found"


def studies_of(kind: str, made: Made, folder: Path) -> list[Study]:
    """Four studies of a kind in folders p0 to p3."""
    found = []
    for number in range(4):
        array = np.roll(made.image, 5 * number, 2)
        if kind == "DICOM":
            series(folder / f"d{number}", array[:, :20, :24].astype(np.int16) - 100)
            found.append(open_study(folder / f"d{number}", f"p{number}/1.000-CT"))
            continue
        like = open_study({"NIfTI": made.nifti, "TIFF": made.tiff, "PNG": made.png}[kind]).volume
        path = folder / f"s{number}{FORMATS[kind]}"
        write_volume(replace(like, array=array[: len(like.array)]), path)
        found.append(open_study(path, f"p{number}/{path.name}"))
    return found
