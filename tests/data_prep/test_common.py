"""What all data sets share: splits, hashes, the cache that two processes may fill at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data_prep.made import challenge, stacks
from unetq.data_prep import em
from unetq.data_prep.common import CACHE, Description, block_splits, cached, files_hash, is_prepared, make_prepared
from unetq.errors import UserError

ABOUT = Description("em", ("EM",), ("interior",), "made up", "0" * 64)
SPLITS = {"train": ["a"], "val": ["b"], "test": ["c"]}


@given(st.integers(6, 400))
def test_blocks_are_contiguous_and_guarded(n: int) -> None:
    splits = block_splits([str(i) for i in range(n)])
    blocks = [[int(i) for i in splits[s]] for s in ("train", "val", "test")]
    assert all(block == list(range(block[0], block[-1] + 1)) for block in blocks)
    train, val, test = blocks
    assert (train[0], test[-1]) == (0, n - 1)
    assert (val[0] - train[-1], test[0] - val[-1]) == (2, 2)  # one guard slice each
    assert len(train) >= 2
    if n >= 20:
        assert [len(block) / n for block in blocks] == pytest.approx([0.6, 0.15, 0.2], abs=0.06)


@pytest.mark.parametrize(("pages", "sizes"), [(6, [2, 1, 1]), (23, [13, 3, 5]), (30, [17, 5, 6])])
def test_sizes_of_the_blocks(pages: int, sizes: list[int]) -> None:
    splits = block_splits([str(i) for i in range(pages)])
    assert [len(splits[s]) for s in ("train", "val", "test")] == sizes


def test_hash(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    hashes = {files_hash(paths, version) for paths in ([a, b], [b, a], [a]) for version in (1, 2)}
    assert len(hashes) == 6
    b.write_bytes(b"3")
    assert files_hash([a, b], 1) not in hashes
    with pytest.raises(UserError, match=r"Cannot read .*gone"):
        files_hash([tmp_path / "gone"], 1)


def test_cache_beside_the_data_or_at_home(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "data"
    place.mkdir()
    assert cached(place, "em-1") == place / CACHE / "em-1"
    place.chmod(0o555)
    assert cached(place, "em-1") == own_cache / "unetq" / "em-1"  # for the administrator, too
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cached(place, "em-1") == tmp_path / ".cache/unetq/em-1"
    place.chmod(0o755)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cached(place, "em-1") == tmp_path / ".cache/unetq/em-1"


def test_data_prepared_before_the_folder_became_read_only_is_used(tmp_path: Path) -> None:
    challenge(tmp_path, *stacks(6))
    first = em.prepare(tmp_path)
    tmp_path.chmod(0o555)
    assert em.prepare(tmp_path) == first
    tmp_path.chmod(0o755)


def test_prepared_once_and_again_when_the_content_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = stacks(6)
    raw = challenge(tmp_path, images, labels)
    first = em.prepare(raw)
    assert first.parent == raw / CACHE
    assert first.name == "em-" + json.loads((first / "dataset.json").read_text())["unetq"]["hash"][:12]
    monkeypatch.setattr(em, "make_prepared", lambda *_: pytest.fail("prepared a second time"))
    assert em.prepare(raw) == first
    monkeypatch.undo()
    challenge(raw, images, 255 - labels)
    assert em.prepare(raw) not in (first, None)
    assert len(list((raw / CACHE).iterdir())) == 2


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "imagesTr" / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"Cannot write .*out: No space left on device\."):
        make_prepared(tmp_path / "out", ABOUT, [SPLITS], fail)
    assert not list(tmp_path.iterdir())


def test_the_loser_uses_what_the_winner_made(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def overtaken(folder: Path) -> None:
        make_prepared(out, ABOUT, [SPLITS], lambda inner: (inner / "winner").touch())

    make_prepared(out, ABOUT, [SPLITS], overtaken)
    assert is_prepared(out)
    assert (out / "winner").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


PROCESS = """
import sys, time
from pathlib import Path
from unetq.data_prep import common, em
write = em.write_case
def slowly(folder, name, *rest):
    if name == "em_000":
        me = Path(sys.argv[1]) / "started" / sys.argv[2]
        me.touch()
        until = time.monotonic() + 20
        while len(list(me.parent.iterdir())) < 2 and time.monotonic() < until:  # both are in the middle of it
            time.sleep(0.01)
    write(folder, name, *rest)
em.write_case = slowly
print(em.prepare(Path(sys.argv[1])))
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    challenge(tmp_path, *stacks(6))
    (tmp_path / "started").mkdir()
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    both = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    results = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert len(list((tmp_path / "started").iterdir())) == 2
    folders = {out.strip() for out, _ in results}
    assert len(folders) == 1
    assert is_prepared(Path(folders.pop()))
    assert len(list((tmp_path / CACHE).iterdir())) == 1
