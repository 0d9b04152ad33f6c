"""Executed instructions of kernels on an emulated ARM, exact and the same at each run: one line a kernel.

    scripts/arm/count.py CPU FOLDER [NAME[:W,A] ...] [--shape IN,OUT,HEIGHT,WIDTH] [--detail]

CPU is qemu's (cortex-a53, cortex-a72, cortex-a76, max; cortex-a7, cortex-a9, cortex-a15), FOLDER a cross build of unetq/native
(docs/arm.md). A run of two repeats less a run of one is one call of the layer: expanding its weights, bringing the input into the
kernel's form, requantization. Needs gcc, g++ of the target and qemu-user.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
NARROW = {"cortex-a7", "cortex-a8", "cortex-a9", "cortex-a15"}  # 32-bit


def build(folder: Path, prefix: str) -> tuple[Path, Path]:
    """(plugin, program), in the build folder."""
    plugin, program = folder / "libicount.so", folder / "count_kernel"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", HERE / "icount.c", "-o", plugin], check=True)
    source = [HERE / "count_kernel.cc", folder / "libunetq_runtime.a"]
    subprocess.run([f"{prefix}-g++", "-std=c++17", "-O1", "-static", *source, "-lpthread", "-o", program], check=True)
    return plugin, program


def count(emulator: list[str], program: Path, words: list[str], repeats: int) -> Counter[tuple[str, str]]:
    """Instructions of a whole run by (kind, name): ("total", "all"), ("op", mnemonic), ("function", symbol)."""
    done = subprocess.run([*emulator, program, *words, str(repeats)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    lines = re.findall(r"^icount (\w+) (\S+) (\d+)$", done.stderr, re.MULTILINE)
    return Counter({(kind, key): int(number) for kind, key, number in lines})


def main() -> None:
    """Prints a line a kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cpu")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="kernels, each with its bits (NAME:4,6); none: a list of them")
    parser.add_argument("--shape", default="64,64,32,32")
    parser.add_argument("--detail", action="store_true", help="the most executed mnemonics and functions, too")
    given = parser.parse_args()
    wide = given.cpu not in NARROW
    plugin, program = build(given.folder, "aarch64-linux-gnu" if wide else "arm-linux-gnueabihf")
    detail = ",detail=1" if given.detail else ""
    emulator = ["qemu-aarch64" if wide else "qemu-arm", "-cpu", given.cpu, "-plugin", f"{plugin}{detail}"]
    if not given.names:
        subprocess.run([*emulator[:3], program, "list"], check=True)
    for name in given.names:
        kernel, _, bits = name.partition(":")
        words = [kernel, *(bits or "4,6").split(","), *given.shape.split(",")]
        once = count(emulator, program, words, 2) - count(emulator, program, words, 1)
        print(f"{kernel} W{words[1]}A{words[2]} {once['total', 'all'] / 1e6:.2f} M")
        for kind in ("op", "function") if given.detail else ():
            for (_, key), number in [one for one in once.most_common() if one[0][0] == kind][:16]:
                print(f"  {number / 1e6:8.3f} M  {key}")


if __name__ == "__main__":
    main()
