"""Compares the instructions of ARM's kernels and of whole networks with a table (tests/native/instructions_arm.csv).

    python scripts/arm/check_counts.py              # 1 where one takes 3 % more than the table says, or fewer
    python scripts/arm/check_counts.py --write      # after a change that is meant: writes the table anew

Kernels: each 3x3, 1x1 or transposed convolution of the core's own instruction set, 64 to 64 channels, 32x32 pixels, with the
most bits that it takes (scripts/arm/count.py). Networks: scripts/arm/networks.py. Needs the cross builds of
scripts/build_standalone.sh, gcc and qemu-user.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from count import SOURCE, count_kernel
from emulate import ROOT, Core, compiler, link, plugin
from networks import SETTINGS, Network, counter, network

sys.path.insert(0, str(ROOT / "scripts"))

from instruction_table import InstructionTable

# Core of qemu -> the instruction set whose kernels are counted there.
CORES = {"cortex-a72": "neon", "cortex-a76": "dotprod", "max": "i8mm", "cortex-a7": "armv7"}
SHAPE = ("64", "64", "32", "32")
COMMAND = "python scripts/arm/check_counts.py --write"
TABLE = InstructionTable(ROOT / "tests/native/instructions_arm.csv", "kernels and networks on ARM", COMMAND)


def compilers() -> str:
    """Of all cores."""
    return ", ".join(sorted({compiler(Core(name)) for name in CORES}))


def kernels(core: Core, isa: str) -> dict[str, Callable[[], int]]:
    """What counts each kernel of an instruction set."""
    folder = ROOT / "build" / core.preset
    program, emulator = link(core, SOURCE, folder), core.emulator("-plugin", plugin(folder))
    words = [*core.emulator(), program, "list"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()

    def one(name: str, bits: str) -> Callable[[], int]:
        return lambda: count_kernel(emulator, program, [name, *bits.split(","), *SHAPE])["total", "all"]

    of_isa = [line.split(":") for line in listed if line.split(":")[0].endswith(f"_{isa}")]
    return {f"{core.name} {name} W{bits.replace(',', 'A')}": one(name, bits) for name, bits in of_isa}


def whole(core: Core, nets: dict[str, Network]) -> dict[str, Callable[[], int]]:
    """What counts each network."""
    count = counter(core)

    def one(net: Network) -> Callable[[], int]:
        return lambda: count(net)["total", "all"]

    return {f"{core.name} network {setting}": one(net) for setting, net in nets.items()}


def count_all() -> dict[str, int]:
    """Instructions by name; JOBS of them at a time."""
    nets = {setting: network(setting) for setting in SETTINGS}
    jobs: dict[str, Callable[[], int]] = {}
    for name, isa in CORES.items():
        jobs |= whole(Core(name), nets) | kernels(Core(name), isa)
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        return dict(zip(jobs, pool.map(lambda job: job(), jobs.values()), strict=True))


def main() -> int:
    """Compares, or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table in place of comparing")
    if not parser.parse_args().write:
        return TABLE.check(count_all, compilers())
    TABLE.write(count_all(), compilers())
    return 0


if __name__ == "__main__":
    sys.exit(main())
