"""What a hostile file or path may not do, and the door."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.image.dicom_made import series
from unetq.app import guard
from unetq.app.gate import Door, check_address, hash_password, matches, write_password
from unetq.app.guard import Limits, below, unpack
from unetq.app.study import find_studies, open_study, with_uploads
from unetq.errors import UserError

HU = np.arange(3 * 8 * 9, dtype=np.int16).reshape(3, 8, 9)


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, content in files:
            packed.writestr(name, content)
    return out.getvalue()


def test_paths_stay_below_the_roots(tmp_path: Path) -> None:
    root, other = tmp_path / "data", tmp_path / "secret"
    root.mkdir(), other.mkdir()
    (other / "scan.tif").write_bytes(b"")
    (root / "link").symlink_to(other)
    assert below("a/b.tif", [root]) == root / "a/b.tif"
    assert below(str(other / "scan.tif"), [root, other]) == other / "scan.tif"
    for bad in ("../secret/scan.tif", str(other / "scan.tif"), "link/scan.tif", "/etc/passwd", "~root/x", "a\0b"):
        with pytest.raises(UserError):
            below(bad, [root])


def test_a_series_opens_from_folder_zip_and_uploads(tmp_path: Path) -> None:
    files = series(tmp_path / "deep/series", HU)
    study = open_study(tmp_path / "deep/series")
    uploads = [(path.name, path.read_bytes()) for path in files]
    packed = zipped(*((f"a/../../{name}", content) for name, content in uploads), ("notes.txt", b"x"))
    (tmp_path / "s.zip").write_bytes(packed)
    opened = (with_uploads([("s.zip", packed)]), with_uploads(uploads[::-1]), open_study(tmp_path / "s.zip"))
    for again in opened:
        assert again.hash == study.hash and again.depth == 3
    assert opened[0].name == "s.zip" and opened[1].name == "1-003.dcm and 2 more"
    assert find_studies(tmp_path) == ["deep/series", "s.zip"]


def test_zips_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "BYTES", 1 << 20)
    monkeypatch.setattr(Limits, "FILES", 3)
    bomb = zipped(("a.dcm", bytes(2 << 20)))
    assert len(bomb) < 10_000
    with pytest.raises(UserError, match="unpacks to more"):
        unpack(io.BytesIO(bomb), tmp_path, "bomb.zip")
    with pytest.raises(UserError, match="holds 4 files"):
        unpack(io.BytesIO(zipped(*((f"{k}.dcm", b"") for k in range(4)))), tmp_path, "many.zip")
    whole = zipped(("a.dcm", np.random.default_rng(0).bytes(5000)))
    for broken in (b"no zip", whole[:-30], whole[:60] + b"\xff" * 60 + whole[120:]):
        with pytest.raises(UserError, match="damaged zip"):
            unpack(io.BytesIO(broken), tmp_path, "bad.zip")
    encrypted = bytearray(zipped(("a.dcm", b"x"), method=zipfile.ZIP_STORED))
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(UserError, match="encrypted"):
        unpack(io.BytesIO(bytes(encrypted)), tmp_path, "locked.zip")
    with pytest.raises(UserError, match="0 images"):
        with_uploads([("none.zip", zipped(("a.txt", b"x")))])


def test_names_in_a_zip_never_reach_the_disk(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    evil = zipped(("../evil.dcm", b"1"), ("/tmp/evil.sh;x", b"2"), ("C:\\evil.tif", b"3"))
    unpack(io.BytesIO(evil), inside, "evil.zip")
    assert sorted(path.name for path in inside.iterdir()) == ["00000.dcm", "00001", "00002.tif"]
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def header_bombs(folder: Path) -> list[Path]:
    """Small files whose headers promise 100 GiB and more."""
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 300))
    header["vox_offset"] = 352
    (folder / "big.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1 << 20)))
    ihdr = struct.pack(">IIBBBBB", 400_000, 400_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + ihdr + struct.pack(">I", zlib.crc32(b"IHDR" + ihdr))
    (folder / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    sof = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65500, 65500, 1) + b"\1\x11\0"
    (folder / "big.jpg").write_bytes(sof)
    return [folder / name for name in ("big.nii.gz", "big.png", "big.jpg")]


def test_headers_that_promise_more_than_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "available_bytes", lambda: 1 << 33)
    for path in header_bombs(tmp_path):
        with pytest.raises(UserError, match="of voxels"):
            open_study(path)
    folder = tmp_path / "series"
    series(folder, HU, x0028_0010=65000, x0028_0011=65000)
    with pytest.raises(UserError):
        open_study(folder)


# What is wrong in a NIfTI's header, where, and as what.
WRONG = {
    "offset": (108, "<f", 1e9),
    "offset below 0": (108, "<f", -5.0),
    "offset that is no number": (108, "<f", float("nan")),
    "size below 0": (42, "<h", -8),
    "huge": (42, "<hhh", 32000, 32000, 32000),
    "9 dimensions": (40, "<h", 9),
    "unknown type": (70, "<h", 999),
    "no geometry": (280, "<f", float("nan")),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_hostile_nifti_is_a_sentence_that_names_it(wrong: str, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((8, 9, 4), np.int16), np.eye(4)), tmp_path / "good.nii")
    content = bytearray((tmp_path / "good.nii").read_bytes())
    at, form, *values = WRONG[wrong]
    struct.pack_into(form, content, at, *values)
    with pytest.raises(UserError, match=r"scan\.nii") as caught:
        with_uploads([("scan.nii", bytes(content))])
    assert "upload" not in str(caught.value).replace("upload the file", "")


@pytest.mark.parametrize("fault", ["no pixels", "half of them", "64 bits"])
def test_a_hostile_slice_is_a_sentence(fault: str, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    for path in series(tmp_path / "ct", HU):
        header = pydicom.dcmread(path)
        if fault == "no pixels":
            del header.PixelData
        elif fault == "64 bits":
            header.BitsAllocated = 64
        header.save_as(path)
        if fault == "half of them":
            path.write_bytes(path.read_bytes()[: -len(header.PixelData) // 2])
    with pytest.raises(UserError, match="1-001"):
        open_study(tmp_path / "ct")


def test_a_huge_slice_without_its_pixels_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "short", HU[:1], x0028_0010=4000, x0028_0011=4000)
    with pytest.raises(UserError):
        open_study(tmp_path / "short")


def test_password_is_kept_as_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "password"
    write_password(path, "correct horse")
    assert path.stat().st_mode & 0o777 == 0o600 and "horse" not in path.read_text()
    door = Door(wait=0.0)
    assert door.opens("correct horse", path) and not door.opens("correct horsf", path)
    assert hash_password("correct horse") != hash_password("correct horse"), "salted"
    with pytest.raises(UserError, match="at least"):
        hash_password("short")
    for damaged in ("", "scrypt$1$2", "md5$1$1$1$00$00", "scrypt$16384$8$1$zz$00"):
        with pytest.raises(UserError, match="damaged"):
            matches("x", damaged)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        door.opens("x", path)


def test_other_addresses_want_a_lock() -> None:
    for local in ("127.0.0.1", "127.1.2.3", "::1"):
        check_address(local, None, "")
    for open_ in ("0.0.0.0", "::", "192.168.1.7"):
        with pytest.raises(UserError, match="--password"):
            check_address(open_, None, "")
        check_address(open_, Path("password"), "")
        check_address(open_, None, "X-User")
    with pytest.raises(UserError, match="no IP address"):
        check_address("localhost", None, "")
