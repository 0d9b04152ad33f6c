"""Opens damaged copies of a model file, in a process of its own, so that a crash is noticed: `python -m tests.native.damage`."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unetq import _native

# One line, one full stop at the end, and none before it.
SENTENCE = re.compile(r"[A-Z]((?!\. )[^\n])*\.")


def truncations(content: bytes) -> Iterator[bytes]:
    """The file cut after each of its bytes."""
    for length in range(len(content)):
        yield content[:length]


def flips(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """One byte changed to another value."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(content)
        changed[rng.integers(len(content))] ^= rng.integers(1, 256)
        yield bytes(changed)


def attempt(path: Path, content: bytes, verify_hash: bool) -> str:
    """'ran', 'refused', or what is wrong with the refusal."""
    # Not write_bytes: some file systems write a file to the disk when it is emptied and filled again.
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    try:
        model = _native.Model(str(path), 1, verify_hash)
    except ValueError as error:
        message = str(error).removeprefix(f"{path}: ")
        return "refused" if SENTENCE.fullmatch(message) else f"not one sentence: {message}"
    model.metadata()
    channels = next(value for key, value in model.metadata().items() if key == "unetq.graph.tensor.channels")[0]
    logits = model.run(np.linspace(-3, 3, channels * 13 * 11, dtype=np.float32).reshape(channels, 13, 11))
    return "ran" if logits.shape[1:] == (13, 11) else f"wrong shape {logits.shape}"


def main(source: str, kind: str, verify_hash: str, count: str, seed: str) -> None:
    """Prints how many attempts ended how."""
    content = Path(source).read_bytes()
    damaged = truncations(content) if kind == "truncations" else flips(content, int(count), int(seed))
    outcomes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.touch()
        for one in damaged:
            outcome = attempt(path, one, verify_hash == "True")
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
