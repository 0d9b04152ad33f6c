"""Downloads from a server on this machine that breaks off, sends other bytes, knows no ranges or is not there at all."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from tests.data_prep.made import save
from tests.data_prep.serve import Server, zipped
from unetq.data_prep import fetch as module
from unetq.data_prep import nih
from unetq.data_prep.em import LABELS, VOLUME
from unetq.data_prep.fetch import FETCHERS, HASHES, RECORD, fetch
from unetq.data_prep.phantom import phantom
from unetq.data_prep.registry import DATASETS
from unetq.errors import UserError

pytest.importorskip("pooch")


def test_without_pooch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(UserError, match=r"need pooch: pip install pooch"):
        fetch("em", tmp_path / "out")


# --- em


def tiff(array: np.ndarray, tmp_path: Path) -> bytes:
    return save(array, tmp_path / "made" / "page.tif").read_bytes()


@pytest.fixture
def em(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(module, "EM_ARCHIVE", replace(module.EM_ARCHIVE, url=f"{server.url}/isbi.zip"))
    monkeypatch.setattr(module, "EM_SHAPE", (7, 64, 64))
    phantom("em", tmp_path / "made", 7, 0, 64)
    files = {f"ISBI-2012-challenge/{name}": (tmp_path / "made" / name).read_bytes() for name in (VOLUME, LABELS)}
    server.files["/isbi.zip"] = zipped({**files, "__MACOSX/._train-volume.tif": b"junk", "../evil.tif": b"out"})
    return server


def test_em_on_first_use_and_later(em: Server, tmp_path: Path) -> None:
    out = tmp_path / "a" / "em"
    with pytest.warns(
        UserWarning, match=r"publishes no checksum of ISBI-2012-challenge\.zip: its SHA-256 [0-9a-f]{64} is"
    ):
        files = fetch("em", out)
    assert files == [out / VOLUME, out / LABELS]
    assert all(path.read_bytes() == (tmp_path / "made" / path.name).read_bytes() for path in files)
    assert sorted(path.name for path in out.iterdir()) == sorted([VOLUME, LABELS, RECORD])
    assert not (tmp_path / "a" / "evil.tif").exists()
    record = json.loads((out / RECORD).read_text())
    assert record["ISBI-2012-challenge.zip"] == hashlib.sha256(em.files["/isbi.zip"]).hexdigest()
    assert fetch("em", out) == files
    assert len(em.asked) == 1
    for path in files:
        path.unlink()
    fetch("em", out)  # the same archive again: no warning
    em.files["/isbi.zip"] = zipped({"a.tif": b"another"})
    for path in files:
        path.unlink()
    with pytest.raises(UserError, match="has not the checksum that is known"):
        fetch("em", out)
    assert not [path for path in files if path.exists()]


def _fewer_pages(em: Server, tmp_path: Path) -> None:
    stack = tiff(np.zeros((6, 64, 64), np.uint8), tmp_path)
    em.files["/isbi.zip"] = zipped({VOLUME: stack, LABELS: stack})


def _no_labels(em: Server, tmp_path: Path) -> None:
    em.files["/isbi.zip"] = zipped({VOLUME: tiff(np.zeros((7, 64, 64), np.uint8), tmp_path)})


def _gray_labels(em: Server, tmp_path: Path) -> None:
    stack = tiff(np.random.default_rng(0).integers(0, 9, (7, 64, 64)).astype(np.uint8), tmp_path)
    em.files["/isbi.zip"] = zipped({VOLUME: stack, LABELS: stack})


def _no_zip(em: Server, tmp_path: Path) -> None:
    em.files["/isbi.zip"] = b"<html>moved</html>"


def _damaged(em: Server, tmp_path: Path) -> None:
    data = bytearray(em.files["/isbi.zip"])
    data[len(data) // 3] ^= 255
    em.files["/isbi.zip"] = bytes(data)


def _gone(em: Server, tmp_path: Path) -> None:
    del em.files["/isbi.zip"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_fewer_pages, ("train-volume.tif has 6 x 64 x 64 pixels, but the challenge's 7 x 64 x 64",)),
        (_no_labels, ("holds no train-labels.tif", "imagej.net")),
        (_gray_labels, ("train-labels.tif holds 9 values",)),
        (_no_zip, ("arrived as a damaged ZIP",)),
        (_damaged, ("arrived as a damaged ZIP",)),
        (
            _gone,
            ("isbi.zip (the server says 404 Not Found)", "by hand from https://imagej.net", "put train-volume.tif"),
        ),
    ],
)
def test_em_that_is_no_em(
    spoil: Callable[[Server, Path], None], words: tuple[str, ...], em: Server, tmp_path: Path
) -> None:
    spoil(em, tmp_path)
    refused("em", tmp_path / "out", *words)


def refused(name: str, out: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch(name, out)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for word in words:
        assert word in said, said
    assert not out.exists()


def test_em_files_that_are_there_already(em: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in (VOLUME, LABELS):
        save(np.full((5, 64, 64), 9, np.uint8), out / name)
    with pytest.raises(UserError, match=r"out/train-volume\.tif has 5 x 64 x 64 pixels"):
        fetch("em", out)
    assert not em.asked  # a user's own files are never overwritten
    (out / LABELS).unlink()
    with pytest.raises(UserError, match=r"train-labels\.tif is missing beside"):
        fetch("em", out)
    (out / VOLUME).unlink()
    with pytest.warns(UserWarning, match="checksum"):
        fetch("em", out)
    save(np.full((7, 64, 64), 9, np.uint8), out / VOLUME)
    with pytest.raises(UserError, match=r"train-volume\.tif is not what was fetched"):
        fetch("em", out)
    (out / RECORD).write_text("[")
    with pytest.raises(UserError, match=r"fetched\.json is damaged"):
        fetch("em", out)


# --- nih


@pytest.fixture
def archive(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The Cancer Imaging Archive with three patients and a withdrawn one, as its API answers."""
    phantom("nih", tmp_path / "made", 3, 0, 64)
    labels = {path.name: path.read_bytes() for path in (tmp_path / "made").glob("TCIA*/*")}
    server.files["/labels.zip"] = zipped({f"TCIA_pancreas_labels-02-05-2017/{name}": labels[name] for name in labels})
    rows = []
    for number in (3, 1, 2, 25):
        slices = sorted((tmp_path / "made").glob(f"PANCREAS_{number:04d}/*/*/*.dcm"))
        files = {f"{k:08d}.dcm": path.read_bytes() for k, path in enumerate(reversed(slices), 1)}
        hashes = "".join(f"{name},{hashlib.md5(data).hexdigest()}\n" for name, data in files.items())
        uid = f"1.2.{number}"
        answer = zipped({**files, HASHES: f"Filename,MD5Hash\n{hashes}".encode(), "LICENSE": b"CC BY 3.0"})
        server.files[f"/v1/getImageWithMD5Hash?SeriesInstanceUID={uid}"] = answer
        patient = f"PANCREAS_{number:04d}"
        rows.append({"PatientID": patient, "SeriesInstanceUID": uid, "Modality": "CT", "ImageCount": len(files)})
    server.files["/v1/getSeries?Collection=Pancreas-CT&Modality=CT&format=json"] = json.dumps(rows).encode()
    digest = hashlib.sha256(server.files["/labels.zip"]).hexdigest()
    monkeypatch.setattr(module, "NBIA", f"{server.url}/v1")
    here = replace(module.NIH_LABELS, url=f"{server.url}/labels.zip", sha256=digest)
    monkeypatch.setattr(module, "NIH_LABELS", here)
    return server


def test_nih(archive: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    steps: list[tuple[int, int]] = []
    found = fetch("nih", out, lambda done, total: steps.append((done, total)))
    names = ["PANCREAS_0001", "PANCREAS_0002", "PANCREAS_0003", "TCIA_pancreas_labels-02-05-2017"]
    assert sorted(path.name for path in found) == names == sorted(path.name for path in out.iterdir())
    assert steps[-4:] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert not any("1.2.25" in path for path, _ in archive.asked)  # withdrawn
    one, two = (nih.prepare(place, tmp_path / name) for place, name in ((out, "a"), (tmp_path / "made", "b")))
    for path in sorted((one / "imagesTr").iterdir()):  # the same reader finds the same studies
        assert path.read_bytes() == (two / "imagesTr" / path.name).read_bytes()
    asked = len(archive.asked)
    assert fetch("nih", out) == found
    assert len(archive.asked) == asked + 1  # the list alone


def test_nih_goes_on_where_it_stopped(archive: Server, tmp_path: Path) -> None:
    out, second = tmp_path / "out", "/v1/getImageWithMD5Hash?SeriesInstanceUID=1.2.2"
    kept = archive.files.pop(second)
    with pytest.raises(
        UserError, match=r"Cannot download PANCREAS_0002 \(the server says 404 .*run this again to go on"
    ):
        fetch("nih", out)
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "PANCREAS_0001",
        "TCIA_pancreas_labels-02-05-2017",
    ]
    archive.files[second] = kept
    archive.asked.clear()
    fetch("nih", out)
    assert [parse_qs(urlsplit(path).query).get("SeriesInstanceUID") for path, _ in archive.asked] == [
        None,
        ["1.2.2"],
        ["1.2.3"],
    ]
    assert not list(out.glob(".*"))


def test_nih_beside_what_the_archive_s_own_program_fetched(archive: Server, tmp_path: Path) -> None:
    (tmp_path / "out" / "Pancreas-CT" / "PANCREAS_0002").mkdir(parents=True)
    found = fetch("nih", tmp_path / "out")
    assert tmp_path / "out" / "Pancreas-CT" / "PANCREAS_0002" in found
    assert not (tmp_path / "out" / "PANCREAS_0002").exists()


def repacked(archive: Server, change: Callable[[dict[str, bytes]], object]) -> None:
    name = "/v1/getImageWithMD5Hash?SeriesInstanceUID=1.2.1"
    with zipfile.ZipFile(io.BytesIO(archive.files[name])) as inner:
        files = {entry: inner.read(entry) for entry in inner.namelist()}
    change(files)
    archive.files[name] = zipped(files)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files.update({"00000004.dcm": files["00000004.dcm"] + b"x"}), "00000004.dcm is damaged"),
        (lambda files: files.pop("00000004.dcm"), "00000004.dcm is damaged"),
        (lambda files: files.pop(HASHES), f"sends no {HASHES}"),
        (lambda files: files.update({HASHES: b"nothing"}), "it has 0 slices instead of 24"),
        (lambda files: files.update({HASHES: files[HASHES].split(b"00000024")[0]}), "it has 23 slices instead of 24"),
    ],
)
def test_a_series_that_does_not_arrive_whole(
    change: Callable[[dict[str, bytes]], object], words: str, archive: Server, tmp_path: Path
) -> None:
    whole = archive.files["/v1/getImageWithMD5Hash?SeriesInstanceUID=1.2.1"]
    repacked(archive, change)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=words) as caught:
        fetch("nih", out)
    assert "PANCREAS_0001" in str(caught.value)
    assert not list(out.glob("PANCREAS_*"))
    archive.files["/v1/getImageWithMD5Hash?SeriesInstanceUID=1.2.1"] = whole
    fetch("nih", out)  # nothing bad was kept
    assert len(list(out.glob("PANCREAS_0001/1.2.1/*.dcm"))) == 24


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b"<html>", b'[{"PatientID": "../x", "SeriesInstanceUID": "1"}]'])
def test_a_list_of_series_that_is_none(answer: bytes, archive: Server, tmp_path: Path) -> None:
    archive.files["/v1/getSeries?Collection=Pancreas-CT&Modality=CT&format=json"] = answer
    with pytest.raises(UserError, match=r"getSeries.*by hand"):
        fetch("nih", tmp_path / "out")


def test_names_that_lead_out_of_the_folder_are_passed_over(archive: Server, tmp_path: Path) -> None:
    name = "/v1/getSeries?Collection=Pancreas-CT&Modality=CT&format=json"
    rows = json.loads(archive.files[name])
    bad = [{**rows[0], "PatientID": "../PANCREAS_0009"}, {**rows[0], "SeriesInstanceUID": "../../x"}]
    archive.files[name] = json.dumps([*rows, *bad]).encode()
    fetch("nih", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "out"]


# --- all


def test_no_network(monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:1"
    monkeypatch.setattr(module, "EM_ARCHIVE", replace(module.EM_ARCHIVE, url=f"{dead}/isbi.zip"))
    monkeypatch.setattr(module, "NIH_LABELS", replace(module.NIH_LABELS, url=f"{dead}/labels.zip"))
    monkeypatch.setattr(module, "NBIA", f"{dead}/v1")
    refused(
        "em", tmp_path / "em", "Connection refused", "https://imagej.net/events/isbi-2012", "train-labels.tif", "em."
    )
    refused(
        "nih", tmp_path / "nih", "Connection refused", "cancerimagingarchive.net/collection/pancreas-ct", str(tmp_path)
    )


def test_gray_matter_needs_a_registration(tmp_path: Path) -> None:
    refused(
        "gm", tmp_path / "gm", "registered users only", "niftyweb.cs.ucl.ac.uk", "unpack its train folder into", "gm"
    )
    assert not (tmp_path / "gm").exists()


def test_every_data_set_can_be_asked_for(tmp_path: Path) -> None:
    assert set(FETCHERS) == set(DATASETS)
    with pytest.raises(UserError, match='no data set "nhi" to fetch: did you mean "nih"'):
        fetch("nhi", tmp_path)
