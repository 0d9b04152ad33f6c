"""unetq-run, the command without Python: the same masks as `unetq predict`, to the last byte of the file."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.image.made import OBLIQUE, nifti, save
from tests.models import random_graph
from unetq import _native
from unetq.deploy.container import write_model
from unetq.image.read import read
from unetq.runtime.footprint import footprint
from unetq.runtime.meta import Label, ModelMeta
from unetq.runtime.model import open_model
from unetq.runtime.predict import PredictOptions, predict_file
from unetq.spec import NetSpec, PrepSpec

PREPS = {
    "plain": PrepSpec(tile=512),
    "tiles": PrepSpec(tile=32, overlap=0.3),
    "turned": PrepSpec(tile=32, orientation="LPS", spacing=0.7),
    "window": PrepSpec(tile=64, window=(-100, 300), normalise="unit", orientation="ASR", spacing=1.3, overlap=0.5),
    "unit": PrepSpec(tile=64, normalise="unit", orientation="RPI"),
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("standalone")
    made = {}
    for i, (name, prep) in enumerate(PREPS.items()):
        net = NetSpec(base=4, depth=1 + i % 2, out_channels=1 + i % 3)
        labels = tuple(Label(f"label {k}") for k in range(max(1, net.out_channels - 1)))
        made[name] = write_model(random_graph(net, i), ModelMeta(prep, labels), folder / f"{name}.gguf")
    return made


def run(command: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([command, *map(str, words)], capture_output=True, text=True, check=False, timeout=60)


def succeed(command: Path, *words: object) -> dict[str, Any]:
    done = run(command, *words, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def refuse(command: Path, *words: object) -> str:
    done = run(command, *words)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1 and done.stderr.rstrip().endswith("."), done.stderr
    return done.stderr


def affine(rng: np.random.Generator, oblique: bool) -> NDArray[np.float64]:
    """Any orientation: of all axes, or of a random rotation."""
    turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    if oblique:
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    full = np.eye(4)
    full[:3, :3] = turn * rng.uniform(0.4, 1.6, 3)
    full[:3, 3] = rng.normal(0, 50, 3)
    return full


def made_up(folder: Path, seed: int) -> Path:
    """A NIfTI of one of the types, versions, byte orders, scalings and places that studies come in."""
    rng = np.random.default_rng(seed)
    kind = [np.int16, np.float32, np.uint8, np.float64, np.uint16, np.int32, np.int8, np.uint32, np.int64][seed % 9]
    array = rng.normal(100, 60, rng.integers(3, 50, 3)).clip(0, 127).astype(kind)
    image = (nib.Nifti1Image, nib.Nifti2Image)[seed % 2](array, affine(rng, seed % 3 == 0), dtype=kind)
    header = image.header
    header.set_xyzt_units(["mm", "micron", "mm", "unknown"][seed % 4])
    if seed % 4 == 1:
        header["srow_x"], header["srow_y"], header["srow_z"] = 1e3 * image.affine[:3]
        header["pixdim"][1:4] *= 1e3
    if seed % 5 == 0:  # the quaternion alone
        header["qform_code"], header["sform_code"] = 1, 0
        header.set_qform(image.affine, 1)
    if seed % 5 == 4:  # voxel sizes alone
        header["qform_code"] = header["sform_code"] = 0
    path = folder / f"study.nii{'.gz' if seed % 3 == 1 else ''}"
    type(image)(array, None, header.as_byteswapped(">") if seed % 7 == 3 else header).to_filename(path)
    if seed % 4 == 2 and path.suffix == ".nii":  # nibabel would scale the voxels, too
        at, form = ((176, "dd"), (112, "ff"))[seed % 2 == 0]
        raw = bytearray(path.read_bytes())
        raw[at : at + struct.calcsize(form)] = struct.pack((">" if seed % 7 == 3 else "<") + form, 0.37, -11.5)
        path.write_bytes(raw)
    return path


@pytest.mark.filterwarnings("ignore:.*names no orientation")
@pytest.mark.parametrize("name", PREPS)
def test_masks_are_those_of_predict(command: Path, models: dict[str, Path], name: str, tmp_path: Path) -> None:
    for seed in range(12):
        source = made_up(tmp_path, seed)
        want, got = tmp_path / "want.nii", tmp_path / "got.nii"
        told = predict_file(models[name], source, want, PredictOptions(threads=1))
        result = succeed(command, models[name], source, got, "--threads", 1 + seed % 3)
        assert got.read_bytes() == want.read_bytes(), seed
        assert result["voxels_per_label"] == told["voxels_per_label"]
        source.unlink()


def test_packed_masks_and_spacing(command: Path, models: dict[str, Path], tmp_path: Path) -> None:
    source = nifti(tmp_path / "study.nii.gz", np.random.default_rng(1).integers(0, 99, (41, 37, 3)).astype(np.int16))
    for options in ({}, {"tile": 16}, {"spacing": 0.31}):
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        predict_file(models["turned"], source, tmp_path / "want.nii.gz", PredictOptions(threads=1, **options))
        succeed(command, models["turned"], source, tmp_path / "got.nii.gz", *words)
        want, got = (gzip.decompress((tmp_path / f"{name}.nii.gz").read_bytes()) for name in ("want", "got"))
        assert got == want


@pytest.mark.parametrize("name", ["plain", "tiles", "unit"])
def test_pictures(command: Path, models: dict[str, Path], name: str, tmp_path: Path) -> None:
    """.npy of each type and order, .pgm of 8 and 16 bits: as `unetq predict` does with a TIFF."""
    rng = np.random.default_rng(0)
    for i, kind in enumerate(["u1", "<u2", ">u2", "i1", ">i4", "<f4", ">f8", "u8"]):
        array = rng.integers(0, 120, (3, 45, 38)[i % 2 :]).astype(kind)
        save(array.astype(np.int32), tmp_path / "study.tif")
        predict_file(models[name], tmp_path / "study.tif", tmp_path / "want.tif", PredictOptions(threads=1))
        want = read(tmp_path / "want.tif").array
        np.save(tmp_path / "study.npy", np.asfortranarray(array) if i % 3 == 1 else array)
        succeed(command, models[name], tmp_path / "study.npy", tmp_path / "got.npy")
        got = np.load(tmp_path / "got.npy")
        assert got.shape == array.shape and got.dtype == np.uint8
        np.testing.assert_array_equal(got.reshape(want.shape), want)
        if array.ndim == 2 and array.itemsize <= 2 and kind[-2] == "u":
            most = 255 if array.itemsize == 1 else 65535
            body = array.astype(">u2").tobytes() if most > 255 else array.tobytes()
            (tmp_path / "study.pgm").write_bytes(b"P5 # made\n38 45\n%d\n" % most + body)
            succeed(command, models[name], tmp_path / "study.pgm", tmp_path / "got.pgm")
            assert (tmp_path / "got.pgm").read_bytes() == b"P5\n38 45\n255\n" + want.tobytes()


def test_report(command: Path, models: dict[str, Path], tmp_path: Path) -> None:
    source = nifti(tmp_path / "study.nii", np.random.default_rng(1).integers(0, 99, (70, 50, 2)).astype(np.int16))
    done = run(command, models["tiles"], source, tmp_path / "mask.nii", "--json", "--threads", 2)
    result = json.loads(done.stdout)
    assert list(result) == [
        *("input", "output", "seconds", "peak_rss_bytes", "voxels_per_label", "isa", "threads", "layers"),
    ]
    assert result["threads"] == 2 and 2**20 < result["peak_rss_bytes"] < 2**24
    assert result["layers"][0]["name"] == "input" and all(row["ms"] >= 0 for row in result["layers"])
    assert "tile 12 of 12" in done.stderr
    plain = run(command, models["tiles"], source, tmp_path / "mask.nii")
    assert plain.stdout == "" and "peak memory" in plain.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.nii", "study.nii"]


def test_tune(command: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = nifti(tmp_path / "study.nii", np.random.default_rng(1).integers(0, 99, (70, 50, 2)).astype(np.int16))
    succeed(command, models["tiles"], source, tmp_path / "want.nii", "--threads", 1)
    assert "UNETQ_TIMINGS" in refuse(command, models["tiles"], source, tmp_path / "mask.nii", "--tune")
    assert not (tmp_path / "mask.nii").exists()
    monkeypatch.setenv("UNETQ_TIMINGS", str(tmp_path / "timings.txt"))
    tuned = run(command, models["tiles"], source, tmp_path / "mask.nii", "--tune", "--json", "--threads", 1)
    assert (tmp_path / "mask.nii").read_bytes() == (tmp_path / "want.nii").read_bytes()
    assert "timing run" in tuned.stderr
    # Python reads the same file, and picks the same kernels.
    rows = open_model(models["tiles"], 1).profile(np.zeros((1, 32, 32), np.float32))
    assert all(row["tuned"] for row in rows if row["kernel"] != "in_place")
    kernels = {row["name"]: row["kernel"] for row in rows}
    assert {row["name"]: row["kernel"] for row in json.loads(tuned.stdout)["layers"]} == kernels
    later = succeed(command, models["tiles"], source, tmp_path / "mask.nii", "--threads", 1)
    assert {row["name"]: row["kernel"] for row in later["layers"]} == kernels


@pytest.mark.parametrize("net", [NetSpec(base=32, depth=2), NetSpec(base=16, depth=3, upsampling="transposed")])
def test_memory_is_what_info_says(command: Path, net: NetSpec, tmp_path: Path) -> None:
    path = write_model(random_graph(net, 0), ModelMeta(PrepSpec(), (Label("a"),)), tmp_path / "model.gguf")
    peak = {}
    for side in (16, 400, 512):
        np.save(tmp_path / "study.npy", np.random.default_rng(0).integers(0, 99, (side, side)).astype(np.uint8))
        words = (path, tmp_path / "study.npy", tmp_path / "out.npy", "--threads", 1)
        peak[side] = succeed(command, *words)["peak_rss_bytes"]
    model = open_model(path, 1)
    said = {side: footprint(model, side, side)["standalone_bytes"] + 2 * side**2 for side in peak}  # study and mask
    for side in (400, 512):
        assert peak[side] - peak[16] == pytest.approx(said[side] - said[16], rel=0.05, abs=2**19)


def test_memory_limit(command: Path, tmp_path: Path) -> None:
    """The process stays below it with the same mask, or says what it needs and which tile would do; that one then does."""
    path = write_model(
        random_graph(NetSpec(base=16, depth=3), 0), ModelMeta(PrepSpec(), (Label("a"),)), tmp_path / "m.gguf"
    )
    np.save(tmp_path / "study.npy", np.random.default_rng(0).integers(0, 99, (500, 512)).astype(np.uint8))
    words = (path, tmp_path / "study.npy", tmp_path / "out.npy", "--threads", 1)
    free = succeed(command, *words)["peak_rss_bytes"]
    want = (tmp_path / "out.npy").read_bytes()
    least = re.search(r"needs (\d+) MiB", refuse(command, *words, "--max-memory", "6M"))
    assert least, "packed skips, low strips and few weights at a time take much less"
    assert succeed(command, *words, "--max-memory", f"{least[1]}M")["peak_rss_bytes"] < 0.85 * free
    assert (tmp_path / "out.npy").read_bytes() == want
    done = fitted = 0
    for limit in range(free // 2**17 + 24, free // 2**17 - 40, -4):
        ran = run(command, *words, "--max-memory", f"{limit / 8}M", "--json")
        if ran.returncode == 0:
            assert json.loads(ran.stdout)["peak_rss_bytes"] <= limit * 2**17
            assert (tmp_path / "out.npy").read_bytes() == want
            done += 1
        else:
            tile = re.fullmatch(r"The study needs \d+ MiB of memory.*--tile (\d+) needs \d+ MiB.\n", ran.stderr)
            assert tile, ran.stderr
            told = succeed(command, *words, "--max-memory", f"{limit / 8}M", "--tile", tile[1])
            assert told["peak_rss_bytes"] <= limit * 2**17
            fitted += 1
    assert done > 0 and fitted > 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["M"], "Give a model, an input and an output"),
        (["none.gguf", "study.nii", "out.nii"], "no such model"),
        (["study.nii", "study.nii", "out.nii"], "not a model file"),
        (["M", "none.nii", "out.nii"], "no image file"),
        (["M", "study.nii", "out.npy"], "same kind"),
        (["M", "study.nii", "none/out.nii"], "no folder"),
        (["M", "study.nii", "study.nii"], "input itself"),
        (["M", "study.png", "out.png"], "unetq predict"),
        (["M", "study.npy", "out.npy"], "--spacing"),
        (["M", "study.nii", "out.nii", "--threads", "x"], "--threads"),
        (["M", "study.nii", "out.nii", "--threads", "300"], "--threads"),
        (["M", "study.nii", "out.nii", "--tile", "31"], "multiple of 2"),
        (["M", "study.nii", "out.nii", "--spacing", "nan"], "--spacing"),
        (["M", "study.nii", "out.nii", "--max-memory", "12"], "like 256M"),
        (["M", "study.nii", "out.nii", "--max-memory", "1M"], "of --max-memory"),
        (["M", "study.nii", "out.nii", "--loud"], "--loud"),
        (["M", "folder.nii", "out.nii"], "no image file"),
    ],
)
def test_refusals_leave_nothing(
    command: Path, models: dict[str, Path], words: list[str], sentence: str, tmp_path: Path
) -> None:
    nifti(tmp_path / "study.nii", np.zeros((9, 9, 2), np.int16))
    np.save(tmp_path / "study.npy", np.zeros((9, 9), np.uint8))
    (tmp_path / "folder.nii").mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    files = [str(tmp_path / w) if "." in w or "/" in w else w for w in words]
    assert sentence in refuse(command, *[models["turned"] if word == "M" else word for word in files])
    assert {path.name for path in tmp_path.iterdir()} == before


def headers(folder: Path) -> Iterator[tuple[str, bytes, int]]:
    """(suffix, whole file, bytes of its header)."""
    array = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(np.int16)
    yield ".nii", nifti(folder / "a.nii", array).read_bytes(), 352
    yield ".nii", nifti(folder / "a.nii", array, kind=nib.Nifti2Image).read_bytes(), 544
    np.save(folder / "a.npy", array)
    yield ".npy", (folder / "a.npy").read_bytes(), 128
    yield ".pgm", b"P5\n6 7\n255\n" + bytes(420), 11


@pytest.mark.filterwarnings("ignore")
def test_hostile_headers(command: Path, models: dict[str, Path], tmp_path: Path) -> None:
    """Each byte of a header, and each length: a mask or a sentence, never a crash, a hang or gigabytes."""
    rng = np.random.default_rng(0)
    target = tmp_path / "hostile"
    ends = set()
    for suffix, whole, length in headers(tmp_path):
        cases = [whole[: int(n)] for n in rng.integers(0, len(whole), 12)]
        for _ in range(60):
            raw = bytearray(whole)
            for at in rng.integers(0, length, rng.integers(1, 4)):
                raw[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, raw[at] ^ 1, rng.integers(256)])
            cases.append(bytes(raw))
        for raw in cases:
            packed = suffix == ".nii" and rng.random() < 0.3
            path = target.with_suffix(suffix + ".gz") if packed else target.with_suffix(suffix)
            path.write_bytes(gzip.compress(raw, 1) if packed else raw)
            words = (
                'ulimit -v 400000; exec "$@"',
                "sh",
                command,
                models["tiles"],
                path,
                tmp_path / ("out" + path.name[7:]),
            )
            done = subprocess.run(
                ["sh", "-c", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode in (0, 2), (done, raw[:length])
            ends.add((suffix, done.returncode))
    assert ends == {(suffix, code) for suffix in (".nii", ".npy", ".pgm") for code in (0, 2)}


def test_damaged_gzip(command: Path, models: dict[str, Path], tmp_path: Path) -> None:
    whole = gzip.compress(nifti(tmp_path / "a.nii", np.ones((5, 6, 7), np.int16)).read_bytes())
    for raw in (b"", whole[:40], whole[:-1], whole[:-8] + b"12345678", gzip.decompress(whole)):
        (tmp_path / "b.nii.gz").write_bytes(raw)
        assert "truncated or corrupt" in refuse(command, models["plain"], tmp_path / "b.nii.gz", tmp_path / "c.nii.gz")


def test_not_finite(command: Path, models: dict[str, Path], tmp_path: Path) -> None:
    for value in (np.nan, np.inf):
        array = np.ones((3, 20, 20), np.float32)
        array[2, 19, 19] = value
        np.save(tmp_path / "a.npy", array)
        assert "NaN or infinite" in refuse(command, models["plain"], tmp_path / "a.npy", tmp_path / "b.npy")


def test_four_dimensions_and_geometry(command: Path, models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.nii"
    nifti(tmp_path / "a.nii", np.ones((3, 4, 5, 2), np.int16))
    assert "4-D" in refuse(command, models["plain"], tmp_path / "a.nii", out)
    nifti(tmp_path / "a.nii", np.ones((3, 4, 5), np.complex64))
    assert "complex" in refuse(command, models["plain"], tmp_path / "a.nii", out)
    flat = OBLIQUE.copy()
    flat[:, 1] = 0
    nifti(tmp_path / "a.nii", np.ones((3, 4, 5), np.int16), srow_x=flat[0], srow_y=flat[1], srow_z=flat[2])
    assert "geometry" in refuse(command, models["plain"], tmp_path / "a.nii", out)


def test_self_test(command: Path) -> None:
    """Every row of the table, the ones of this CPU with a verdict, and which program on which machine said so."""
    done = run(command, "--self-test", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["passed"]) == (0, True)
    assert told["program_sha256"] == hashlib.sha256(command.read_bytes()).hexdigest()
    assert told["instruction_sets"].split() == list(_native.isas())
    assert [row["name"] for row in told["kernels"]] == [row["name"] for row in _native.kernels()]
    for row in told["kernels"]:
        here = row["isa"] in _native.isas()
        assert (row["verdict"], row["cases"] > 0) == (("equal", True) if here else ("not on this CPU", False))


def test_size(command: Path) -> None:
    assert command.stat().st_size < 3 << 20
    assert b"libz.so" not in command.read_bytes()


@pytest.mark.realdata
def test_real_slices(command: Path, models: dict[str, Path], realdata: Path, tmp_path: Path) -> None:
    array = read(realdata / "em" / "train-volume.tif").array[:2]
    save(array, tmp_path / "study.tif")
    predict_file(models["plain"], tmp_path / "study.tif", tmp_path / "want.tif", PredictOptions(threads=1))
    np.save(tmp_path / "study.npy", array)
    succeed(command, models["plain"], tmp_path / "study.npy", tmp_path / "got.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "got.npy"), read(tmp_path / "want.tif").array)


@pytest.mark.realdata
def test_real_volumes(command: Path, models: dict[str, Path], realdata: Path, tmp_path: Path) -> None:
    for source in sorted((realdata / "gm").glob("*-image.nii.gz"))[:1]:
        predict_file(models["turned"], source, tmp_path / "want.nii", PredictOptions(threads=1, tile=128))
        succeed(command, models["turned"], source, tmp_path / "got.nii", "--tile", 128)
        np.testing.assert_array_equal(read(tmp_path / "got.nii").array, read(tmp_path / "want.nii").array)
