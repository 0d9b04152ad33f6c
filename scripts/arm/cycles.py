"""Modelled cycles of the kernels' hot loops, and multiply-accumulates a cycle beside the bound of their instructions.

    scripts/arm/cycles.py FOLDER [--narrow FOLDER]        builds for 64-bit and for 32-bit ARM (docs/arm.md)

The innermost loop of a compiled function is what llvm-mca gets, with nothing around it: a model of the core's pipes, no caches.
The bound is that of the instructions that the arithmetic needs, without loads or counters. Needs llvm-mca of LLVM 19 and the
cross compilers' objdump.
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
    macs: int  # of one turn, of the convolution itself: Winograd counts what it saves
    cores: tuple[str, ...]  # LLVM's names
    core: str  # regular expression of the mnemonics of its arithmetic


OLD, NEW, MATRIX, NARROW = ("cortex-a72",), ("neoverse-n1",), ("neoverse-n2",), ("cortex-a9",)
BITS = r"(eor|and|bit|bif|bsl|cnt|add|veor|vand|vbit|vbif|vbsl|vcnt|vadd)\b"
PRODUCTS = r"(smull2?|smlal2?|sadalp|vmull|vmlal|vpadal)\b"
LOOKUPS = r"(tbl|uaddw2?|add|vtbl|vaddw|vadd)\b"

WIDE = (
    Loop("bit-serial W1A1", r"add_stepsILNS0_4JoinE2E", 2048, OLD + NEW, BITS),
    Loop("bit-serial ternary, A2", r"add_stepsILNS0_4JoinE1E", 2048 // 2, OLD + NEW, BITS),
    Loop("bit-serial W2A2", r"add_stepsILNS0_4JoinE0E", 2048 // 4, OLD + NEW, BITS),
    Loop("LUT W1, A3 (4 in a byte)", r"add_stepsILNS0_4FormE0ELi1ELi4E", 8 * 16 * 4 * 4, OLD + NEW, LOOKUPS),
    Loop("LUT W1, A5", r"add_stepsILNS0_4FormE0ELi1ELi1E", 8 * 16 * 4, OLD + NEW, LOOKUPS),
    Loop("LUT W1, A5, halves", r"add_stepsILNS0_4FormE1ELi1ELi1E", 8 * 16 * 4 * 2, OLD + NEW, LOOKUPS),
    Loop("LUT W2, A6", r"add_stepsILNS0_4FormE0ELi2ELi1E", 4 * 16 * 4, OLD + NEW, LOOKUPS),
    Loop("LUT W2, A6, halves", r"add_stepsILNS0_4FormE1ELi2ELi1E", 4 * 16 * 4 * 2, OLD + NEW, LOOKUPS),
    Loop("Winograd 2x2 W4A6", r"9add_pairsERKNS0_8Position", 6 * 4 * 16 * 9 // 4, OLD + NEW, PRODUCTS),
    Loop("Winograd 2x4 W2A2", r"add_manyILb1EEEvRKNS0_8Position", 6 * 4 * 16 * 3, OLD + NEW, PRODUCTS),
    Loop("direct W4A6", r"8add_manyEPKhlu", 2 * 16 * 4, OLD + NEW, PRODUCTS),
    Loop("direct sdot", r"_ZN5unetq12_GLOBAL__N_14tileILi6EEE", 6 * 16 * 16, NEW, "sdot"),
    Loop("Winograd 2x2 sdot", r"4Dots8multiply", 6 * 16 * 16 * 9 // 4, NEW, "sdot"),
    Loop("Winograd 2x2 smmla", r"8Matrices8multiply", 6 * 16 * 16 * 9 // 4, MATRIX, "smmla"),
)
THIN = (
    Loop("bit-serial W1A1", r"add_stepsILNS0_4JoinE2E", 1024, NARROW, BITS),
    Loop("bit-serial ternary, A2", r"add_stepsILNS0_4JoinE1E", 1024 // 2, NARROW, BITS),
    Loop("LUT W1, A5", r"add_stepsILNS0_4FormE0ELi1ELi1E", 4 * 16 * 4, NARROW, LOOKUPS),
    Loop("LUT W2, A6", r"add_stepsILNS0_4FormE0ELi2ELi1E", 2 * 16 * 4, NARROW, LOOKUPS),
    Loop("Winograd 2x2 W4A6", r"9add_pairsERKNS0_8Position", 2 * 4 * 16 * 9 // 4, NARROW, PRODUCTS),
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
        names = [name for name in found if re.search(loop.function, name)]
        bodies = sorted((hot_loop(found[name]) for name in names), key=len)
        if not bodies or not bodies[-1]:
            raise SystemExit(f"{folder}: there is no loop in a function like {loop.function}")
        body = bodies[-1]
        needed = [words for words in body if re.match(loop.core, words) and VECTOR.search(words)]
        for core in loop.cores:
            took, least = cycles(body, core, triple), cycles(needed, core, triple)
            print(
                f"{loop.name:26} {core:12} {len(body):4} instructions {took:7.1f} cycles "
                f"{loop.macs / took:6.1f} MACs a cycle, arithmetic alone {loop.macs / least:6.1f}: {least / took:4.0%}"
            )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--narrow", type=Path)
    given = parser.parse_args()
    report(given.folder, WIDE, "aarch64-linux-gnu-objdump", "aarch64")
    if given.narrow is not None:
        report(given.narrow, THIN, "arm-linux-gnueabihf-objdump", "armv7")


if __name__ == "__main__":
    main()
