"""Modelled cycles of the kernels' hot loops, and multiply-accumulates a cycle beside the bound of their instructions.

    scripts/arm/cycles.py FOLDER [--narrow FOLDER]        builds for 64-bit and for 32-bit ARM (docs/arm.md)

The innermost loop of a compiled function is what llvm-mca gets, with nothing around it: a model of the core's pipes, no caches.
A bound is what the same model gives for the instructions of the arithmetic, all independent, without loads or counters. Needs
llvm-mca of LLVM 19 and the cross compilers' objdump.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

MCA = "llvm-mca-19"
ITERATIONS = 200
BRANCH = re.compile(r"^(?:b\.\w+|b(?:ne|eq|gt|ge|lt|le|hi|ls|cc|cs)(?:\.[nw])?|cbn?z|tbn?z)\s.*?([0-9a-f]+) <")
VECTOR = re.compile(r"\bv\d+\.|\bq\d+\b|\bd\d+\b")


@dataclass(frozen=True)
class Loop:
    """A hot loop: its function, and what one turn of it does."""

    name: str
    function: str  # regular expression of the mangled name
    macs: float  # of one turn, of the convolution itself: Winograd counts what it saves
    bounds: dict[str, float]  # of each core, by LLVM's name: multiply-accumulates a cycle


def both(bound: float) -> dict[str, float]:
    """The same on old and on new cores."""
    return {"cortex-a72": bound, "neoverse-n1": bound}


# Products: 8 a cycle from smull, smlal and sadalp, 31.9 from sdot, 63.5 from smmla. Joined bits: 85. Lookups: 31.7 from tbl.8b
# and uaddw; from tbl.16b 30 and 57 where 4 add up in bytes, 25.6 and 42.7 where none do (LLVM gives A72 3 turns for tbl.16b).
WIDE = (
    Loop("bit-serial W1A1", "add_stepsILNS0_4JoinE2E", 2048, both(85)),
    Loop("bit-serial ternary, A2", "add_stepsILNS0_4JoinE1E", 2048 / 2, both(85 / 4)),
    Loop("bit-serial W2A2", "add_stepsILNS0_4JoinE0E", 2048 / 4, both(85 / 4)),
    Loop("LUT halves, W1A5", "add_stepsILNS0_4FormE1ELi1ELi1E", 512, both(31.7)),
    Loop("LUT halves, W2A6", "add_stepsILNS0_4FormE1ELi2ELi1E", 256, both(31.7 / 2)),
    Loop("LUT W1A3", "add_stepsILNS0_4FormE0ELi1ELi4E", 2048, {"cortex-a72": 30, "neoverse-n1": 57}),
    Loop("LUT W1A5", "add_stepsILNS0_4FormE0ELi1ELi1E", 512, {"cortex-a72": 25.6, "neoverse-n1": 42.7}),
    Loop("LUT W2A6", "add_stepsILNS0_4FormE0ELi2ELi1E", 256, {"cortex-a72": 12.8, "neoverse-n1": 21.3}),
    Loop("Winograd 2x2 W4A6", "9add_pairsERKNS0_8Position", 6 * 4 * 16 * 2.25, both(8 * 2.25)),
    Loop("Winograd 2x4 W2A2", "add_manyILb1ELb0EEEvRKNS0_8Position", 6 * 4 * 16 * 3, both(8 * 3)),
    Loop("direct W4A6", "add_manyEPKhl", 512, both(8)),
    Loop("direct W8A8", "_ZN5unetq12_GLOBAL__N_14tileILi2EEEvRKNS0_5FrameE", 512, both(8)),
    Loop("direct W8A8 sdot", "_ZN5unetq12_GLOBAL__N_14tileILi5EEE", 5 * 16 * 16, {"neoverse-n1": 31.9}),
    Loop("Winograd 2x2 sdot", "10add_columnINS0_4Dots", 6 * 16 * 16 * 2.25, {"neoverse-n1": 31.9 * 2.25}),
    Loop("Winograd 2x2 smmla", "10add_columnINS0_8Matrices", 6 * 16 * 16 * 2.25, {"neoverse-n2": 63.5 * 2.25}),
)
# LLVM has no model of A7 and A15; A9 has one pipe for vectors.
NARROW = (
    Loop("bit-serial W1A1", "add_stepsILNS0_4JoinE2E", 1024, {"cortex-a9": 0}),
    Loop("bit-serial ternary, A2", "add_stepsILNS0_4JoinE1E", 1024 / 2, {"cortex-a9": 0}),
    Loop("LUT W1A5", "add_stepsILNS0_4FormE0ELi1ELi1E", 256, {"cortex-a9": 0}),
    Loop("Winograd 2x2 W4A6", "9add_pairsERKNS0_8Position", 2 * 4 * 16 * 2.25, {"cortex-a9": 0}),
)


def functions(library: Path, objdump: str) -> dict[str, list[tuple[int, str]]]:
    """(address, instruction) of every function of a library."""
    words = [objdump, "-d", "--no-show-raw-insn", str(library)]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[tuple[int, str]]] = {}
    body: list[tuple[int, str]] = []
    for line in text.splitlines():
        if head := re.match(r"^[0-9a-f]+ <(.+)>:$", line):
            body = found.setdefault(head[1], [])
        elif one := re.match(r"^\s*([0-9a-f]+):\t(.*)$", line):
            body.append((int(one[1], 16), re.sub(r"\s*(?://|@|;).*", "", one[2]).strip()))
    return found


def hot_loop(body: list[tuple[int, str]]) -> list[str]:
    """The innermost loop with the most vector instructions."""
    at = {address: index for index, (address, _) in enumerate(body)}
    best: list[str] = []
    for index, (address, text) in enumerate(body):
        target = BRANCH.match(text)
        first = at.get(int(target[1], 16)) if target else None
        if first is None or body[first][0] > address:
            continue
        loop = [words for _, words in body[first:index]]
        if any("<" in words for words in loop):  # a branch: not innermost
            continue
        if sum(bool(VECTOR.search(words)) for words in loop) > sum(bool(VECTOR.search(words)) for words in best):
            best = loop
    return best


def cycles(loop: list[str], core: str, triple: str) -> float:
    """Of one turn."""
    features = "-mattr=+dotprod,+i8mm" if triple == "aarch64" else "-mattr=+neon"
    words = [MCA, f"-mtriple={triple}", f"-mcpu={core}", features, f"-iterations={ITERATIONS}"]
    words += ["-instruction-info=0", "-resource-pressure=0"]
    done = subprocess.run(words, input="\n".join(loop) + "\n", check=True, capture_output=True, text=True)
    total = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if total is None:
        raise SystemExit(f"{MCA} says:\n{done.stderr}")
    return int(total[1]) / ITERATIONS


def report(folder: Path, loops: tuple[Loop, ...], objdump: str, triple: str) -> None:
    """A line for each loop and core."""
    found = functions(folder / "libunetq_runtime.a", objdump)
    for loop in loops:
        bodies = [hot_loop(body) for name, body in found.items() if re.search(loop.function, name)]
        body = max(bodies, key=len, default=[])
        if not body:
            raise SystemExit(f"{folder}: there is no loop in a function like {loop.function}")
        for core, bound in loop.bounds.items():
            took = cycles(body, core, triple)
            speed = loop.macs / took
            share = f" of {bound:5.1f}: {speed / bound:4.0%}" if bound else ""
            size = f"{len(body):3} instructions {took:6.1f} cycles"
            print(f"{loop.name:23} {core:12} {size} {speed:6.1f} MACs a cycle{share}")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--narrow", type=Path)
    given = parser.parse_args()
    report(given.folder, WIDE, "aarch64-linux-gnu-objdump", "aarch64")
    if given.narrow is not None:
        report(given.narrow, NARROW, "arm-linux-gnueabihf-objdump", "armv7")


if __name__ == "__main__":
    main()
