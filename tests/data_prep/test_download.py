"""Downloads are gone on with where they broke off, and get their name only with the right checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.data_prep.serve import Server
from unetq.data_prep.download import NetError, Remote, download
from unetq.errors import UserError

pytest.importorskip("pooch")

BYTES = np.random.default_rng(0).bytes(1_000_000)
SHA = hashlib.sha256(BYTES).hexdigest()


def remote(server: Server, sha256: str | None = SHA) -> Remote:
    server.files["/a.bin"] = BYTES
    return Remote(f"{server.url}/a.bin", "a.bin", sha256)


def test_a_download_tells_how_far_it_is(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    path = download(remote(server), tmp_path / "new", lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == BYTES
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]
    assert steps == sorted(steps)
    assert steps[-1] == (len(BYTES), len(BYTES))
    assert len(steps) > 2
    download(remote(server), tmp_path / "new")
    assert len(server.asked) == 1  # what is there is not asked for again


def test_what_breaks_off_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.cut = [300_000, 1, 200_000]
    assert download(remote(server), tmp_path).read_bytes() == BYTES
    assert [wanted for _, wanted in server.asked] == ["", "bytes=300000-", "bytes=300001-", "bytes=500001-"]


def test_an_earlier_process_s_part_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BYTES[:777_777])
    assert download(remote(server), tmp_path).read_bytes() == BYTES
    assert [wanted for _, wanted in server.asked] == ["bytes=777777-"]


def test_a_whole_part_and_one_that_is_too_long(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BYTES)
    assert download(remote(server), tmp_path).read_bytes() == BYTES
    (tmp_path / "a.bin").unlink()
    (tmp_path / "a.bin.part").write_bytes(BYTES + b"more")
    assert download(remote(server), tmp_path).read_bytes() == BYTES


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut = False, [500_000]
    assert download(remote(server), tmp_path).read_bytes() == BYTES


def test_it_gives_up_but_keeps_what_came(server: Server, tmp_path: Path) -> None:
    server.cut = [400_000, 0, 0, 0, 0]
    with pytest.raises(NetError):
        download(remote(server), tmp_path)
    assert (tmp_path / "a.bin.part").read_bytes() == BYTES[:400_000]
    assert len(server.asked) == 4  # one that brought something, then three


@pytest.mark.parametrize("start", [b"", b"another version"])
def test_other_bytes_are_deleted(start: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(start)
    wanted = remote(server, SHA if start else "0" * 64)
    with pytest.raises(UserError, match=r"has not the checksum that is known for a\.bin, so it was deleted"):
        download(wanted, tmp_path)
    assert not list(tmp_path.iterdir())
