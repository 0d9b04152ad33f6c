"""Executed instructions of kernels on an emulated ARM, exact and the same at each run: one line a kernel.

    scripts/arm/count.py CPU FOLDER [NAME[:W,A] ...] [--shape IN,OUT,HEIGHT,WIDTH] [--detail]

CPU is qemu's (cortex-a53, cortex-a72, cortex-a76, max; cortex-a7, cortex-a9, cortex-a15), FOLDER a cross build of unetq/native
(docs/arm.md). A run of two repeats less a run of one is one call of the layer: expanding its weights, bringing the input into the
kernel's form, requantization. Needs gcc, g++ of the target and qemu-user.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from emulate import ROOT, Core, Counts, count, link, plugin

SOURCE = ROOT / "scripts/arm/count_kernel.cc"


def count_kernel(emulator: list[str], program: Path, words: list[str]) -> Counts:
    """One call of a layer; words: NAME WBITS ABITS IN OUT HEIGHT WIDTH."""
    return count([*emulator, program, *words, 2]) - count([*emulator, program, *words, 1])


def print_detail(counts: Counts, most: int = 16) -> None:
    """The most executed mnemonics and functions."""
    for kind in ("op", "function"):
        for (_, key), number in [one for one in counts.most_common() if one[0][0] == kind][:most]:
            print(f"  {number / 1e6:8.3f} M  {key}")


def main() -> None:
    """Prints a line a kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cpu")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="kernels, each with its bits (NAME:4,6); none: a list of them")
    parser.add_argument("--shape", default="64,64,32,32")
    parser.add_argument("--detail", action="store_true", help="the most executed mnemonics and functions, too")
    given = parser.parse_args()
    core = Core(given.cpu)
    program = link(core, SOURCE, given.folder)
    emulator = core.emulator("-plugin", f"{plugin(given.folder)}{',detail=1' if given.detail else ''}")
    if not given.names:
        subprocess.run([*core.emulator(), program, "list"], check=True)
    for name in given.names:
        kernel, _, bits = name.partition(":")
        words = [kernel, *(bits or "4,6").split(","), *given.shape.split(",")]
        once = count_kernel(emulator, program, words)
        print(f"{kernel} W{words[1]}A{words[2]} {once['total', 'all'] / 1e6:.2f} M")
        if given.detail:
            print_detail(once)


if __name__ == "__main__":
    main()
