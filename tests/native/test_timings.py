"""Tuned kernels: what the timings say runs, gives the reference's numbers, and is no worse off for a bad file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.native.test_runtime import Net
from unetq import _native
from unetq.spec import NetSpec, QuantSpec

SIZE = (21, 18)
Edit = Callable[[str], str]


def no_progress(done: int, total: int) -> None:
    assert 0 < done <= total


def sign(path: Path, body: str) -> None:
    """A whole file of these lines."""
    path.write_text(f"{body}sum {hashlib.sha256(body.encode()).hexdigest()}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    return Net(tmp_path_factory.mktemp("net"), NetSpec(base=9, depth=1, quant=QuantSpec.of("ternary", abits=2)), SIZE)


@pytest.fixture(scope="module")
def measured(net: Net, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file without its sum."""
    path = tmp_path_factory.mktemp("timings") / "folder" / "timings.txt"
    _native.Model(str(net.path), 1).tune(*SIZE, str(path), no_progress)
    return path.read_text(encoding="utf-8").rpartition("sum ")[0]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "timings.txt"
    monkeypatch.setenv("UNETQ_TIMINGS", str(path))
    yield path
    assert {each.name for each in tmp_path.iterdir()} <= {"timings.txt"}, "no temporary file is left"


def kernels(net: Net, threads: int = 1) -> dict[str, tuple[str, bool]]:
    """(kernel, whether it was chosen by timings) of each layer; the run's numbers are checked."""
    model = _native.Model(str(net.path), threads)
    for name, value in model.dump(net.image).items():
        np.testing.assert_array_equal(value, net.want[name], name)
    return {row["name"]: (row["kernel"], row["tuned"]) for row in model.profile(net.image)}


def test_tune_measures_every_candidate_of_every_layer(net: Net, file: Path) -> None:
    model = _native.Model(str(net.path), 1)
    before = {row["name"]: row["kernel"] for row in model.profile(net.image)}
    layers = model.tune(*SIZE, str(file), no_progress)
    assert {row["name"]: row["first"] for row in layers} == {n: k for n, k in before.items() if k != "in_place"}
    after = {row["name"]: (row["kernel"], row["tuned"]) for row in model.profile(net.image)}
    rows = {row["name"]: row for row in _native.kernels()}
    for layer in layers:
        assert after[layer["name"]] == (layer["chosen"], True)
        assert {layer["first"], layer["chosen"]} <= set(layer["ms"]) and min(layer["ms"].values()) > 0
        assert layer["ms"][layer["chosen"]] <= layer["ms"][layer["first"]]
        others = [rows[name]["isa"] for name in layer["ms"] if name != layer["first"]]
        assert "scalar" not in others, "the scalar kernels are never worth their time"
    # Every later model of that size takes what was found, from the file.
    assert kernels(net) == after
    timings, why = _native.read_timings(str(file))
    assert why == "" and {tuple(row) for row in timings.values()} == {tuple(sorted(row["ms"])) for row in layers}


@pytest.mark.parametrize("seed", range(6))
def test_what_the_file_says_runs(net: Net, measured: str, file: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    header, lines = measured.splitlines()[:3], measured.splitlines()[3:]
    wanted = set()
    for i, line in enumerate(lines):
        words = line.split()
        names = words[7::2]
        best = names[rng.integers(len(names))]
        times = [f"{name} {1 if name == best else rng.uniform(1.1, 9):.3g}" for name in names]
        lines[i] = " ".join([*words[:7], *times])
        wanted.add(best)
    sign(file, "\n".join([*header, *lines]) + "\n")
    ran = kernels(net)
    assert {name for name, tuned in ran.values() if tuned} == wanted
    assert all(tuned for name, tuned in ran.values() if name != "in_place")


def table_choice(net: Net, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, bool]]:
    with monkeypatch.context() as patch:
        patch.setenv("UNETQ_TIMINGS", "off")
        return kernels(net)


EDITS: dict[str, Edit] = {
    "another CPU": lambda text: text.replace(f"cpu {_native.cpu_model()}", "cpu Another 1"),
    "another build": lambda text: text.replace("build ", "build 9."),
    "another format": lambda text: text.replace("timings 1", "timings 2"),
    "quite another size": lambda text: text.replace("21x18 ", "50x35 ").replace("11x9 ", "20x20 "),
    "another instruction set": lambda text: text.replace(f" {_native.isas()[-1]} 1 ", " sse2 1 "),
    "another number of threads": lambda text: text.replace(f"{_native.isas()[-1]} 1 ", f"{_native.isas()[-1]} 2 "),
    "unknown kernels": lambda text: text.replace("_", "-"),
    "nothing": lambda text: "\n".join(text.splitlines()[:3]) + "\n",
    "no time": lambda text: text[:-1] + " kernel\n",
    "a time of 0": lambda text: text[:-1] + " kernel 0\n",
    "no number": lambda text: text[:-1] + " kernel fast\n",
    "no kernel": lambda text: text + "conv3x3 w2a2 ternary 9/12>9 21x18 scalar 1\n",
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_says_nothing_about_this_machine_is_ignored(
    net: Net, measured: str, file: Path, monkeypatch: pytest.MonkeyPatch, edit: str
) -> None:
    table = table_choice(net, monkeypatch)
    sign(file, measured)
    assert kernels(net) != table
    changed = EDITS[edit](measured)
    assert changed != measured
    sign(file, changed)
    assert kernels(net) == table


def test_times_of_the_nearest_size_count(net: Net, measured: str, file: Path) -> None:
    """Without times of a layer's own size, those of a like one: of two the nearer, whichever stands first."""
    sign(file, measured)
    want = kernels(net)
    header, lines = measured.splitlines()[:3], measured.splitlines()[3:]
    near, far = [], []
    for line in lines:
        head, names, times = line.split()[:7], line.split()[7::2], line.split()[8::2]
        height, width = map(int, head[4].split("x"))
        near.append(" ".join([*head[:4], f"{height + 1}x{width}", *line.split()[5:]]))
        turned = [f"{name} {1 / float(time)}" for name, time in zip(names, times, strict=True)]
        for size in (f"{height}x{2 * width}", f"{height - 4}x{width}", f"{height + 9}x{width}"):
            far.append(" ".join([*head[:4], size, *head[5:], *turned]))
    sign(file, "\n".join([*header, *near, *far]) + "\n")
    assert kernels(net) == want


def test_kernels_that_cannot_do_the_layer_are_ignored(
    net: Net, measured: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_choice(net, monkeypatch)
    header, lines = measured.splitlines()[:3], measured.splitlines()[3:]
    every = " ".join(f"{row['name']} {1 + i}" for i, row in enumerate(_native.kernels()))
    sign(file, "\n".join([*header, *(" ".join([*line.split()[:7], every]) for line in lines)]) + "\n")
    # Of those that can, the first of the table is the fastest here: the same kernels as without a file.
    assert {name: kernel for name, (kernel, _) in kernels(net).items()} == {n: k for n, (k, _) in table.items()}


def test_a_damaged_file_is_ignored_and_rebuilt(
    net: Net, measured: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_choice(net, monkeypatch)
    sign(file, measured)
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    cases = [whole[:n] for n in (0, 1, 20, len(whole) // 2, len(whole) - 66, len(whole) - 1)]
    for at in rng.integers(0, len(whole), 20):
        cases.append(whole[:at] + bytes([whole[at] ^ (1 << rng.integers(8))]) + whole[at + 1 :])
    cases += [b"\0" * 4096, b"\xff\xfe" * 100, whole + whole, whole + b" " * (5 << 20)]
    for damaged in cases:
        file.write_bytes(damaged)
        assert _native.read_timings(str(file)) == ({}, "was damaged" if 0 < len(damaged) < 5 << 20 else "")
        assert kernels(net) == table
    file.write_bytes(cases[3])
    _native.Model(str(net.path), 1).tune(*SIZE, str(file), no_progress)
    timings, why = _native.read_timings(str(file))
    assert why == "" and set(timings) == {" ".join(line.split()[:7]) for line in measured.splitlines()[3:]}


def test_a_kernel_must_win_by_more_than_noise(net: Net, measured: str, file: Path) -> None:
    first = {row["first"] for row in _native.Model(str(net.path), 1).tune(*SIZE, str(file), no_progress)}
    header, lines = measured.splitlines()[:3], measured.splitlines()[3:]
    for other, stays in ((0.98, True), (0.96, False)):
        said = [
            " ".join([*line.split()[:7], *(f"{name} {1 if name in first else other}" for name in line.split()[7::2])])
            for line in lines
        ]
        sign(file, "\n".join([*header, *said]) + "\n")
        ran = {name for name, tuned in kernels(net).values() if tuned}
        assert (ran == first) == stays


def test_writers_at_the_same_time_lose_nothing(net: Net, file: Path) -> None:
    sizes = [(5 + i, 7) for i in range(6)]
    models = [_native.Model(str(net.path), 1) for _ in sizes]
    threads = [
        threading.Thread(target=model.tune, args=(*size, str(file), no_progress))
        for model, size in zip(models, sizes, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timings, why = _native.read_timings(str(file))
    assert why == "" and {key.split()[4] for key in timings} >= {f"{h}x{w}" for h, w in sizes}


def test_stopped_by_the_progress(net: Net, file: Path) -> None:
    model = _native.Model(str(net.path), 1)
    before = [row["kernel"] for row in model.profile(net.image)]

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.tune(*SIZE, str(file), stop)
    assert not file.exists()
    assert [row["kernel"] for row in model.profile(net.image)] == before


def test_places(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _native.default_timings_path() == ""  # conftest.py switches it off
    monkeypatch.delenv("UNETQ_TIMINGS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = Path(_native.default_timings_path())
    assert found.parent == tmp_path / "unetq"
    model = _native.Model(str(net.path), 1)
    model.tune(*SIZE, str(found), no_progress)
    assert all(tuned for kernel, tuned in kernels(net).values() if kernel != "in_place")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert _native.default_timings_path() == f"/home/somebody/.cache/unetq/{found.name}"
    monkeypatch.delenv("HOME")
    assert _native.default_timings_path() == ""
    (tmp_path / "file").write_bytes(b"")
    for place in ("", str(tmp_path), str(tmp_path / "file" / "timings.txt")):
        with pytest.raises(ValueError, match=r"[Nn]ame (a|another) file\.|folder's permissions"):
            model.tune(*SIZE, place, no_progress)
