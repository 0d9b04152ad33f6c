"""Counts the instructions of each convolution kernel under valgrind, and compares them with a table: a guard against
kernels that grow slower unnoticed. Timings are too noisy for that, counts are the same on every run.

    python scripts/count_instructions.py            # 1 where a kernel takes 3 % more than the table says, or fewer
    python scripts/count_instructions.py --write    # after a change that is meant: writes the table anew

Needs valgrind, and what scripts/build_standalone.sh needs. valgrind knows no AVX-512, so those rows are not counted. The
counts are of one compiler: with another one nothing is compared.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tests/native/instructions.csv"
FOLDER = ROOT / "build/run"
TOLERANCE = 0.03


def build() -> Path:
    """The counted program, from the objects of the standalone command."""
    subprocess.run(["sh", ROOT / "scripts/build_standalone.sh"], check=True, stdout=subprocess.DEVNULL)
    cmake = ROOT / ".venv/bin/cmake"
    words = [cmake if cmake.exists() else "cmake", "--build", FOLDER, "--target", "count-kernels"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return FOLDER / "count-kernels"


def compiler() -> str:
    """Name and version, as CMake found it."""
    files = sorted(FOLDER.glob("CMakeFiles/*/CMakeCXXCompiler.cmake"))
    text = files[-1].read_text(encoding="utf-8")
    found = [re.search(rf'set\(CMAKE_CXX_COMPILER_{name} "(.*)"\)', text) for name in ("ID", "VERSION")]
    return " ".join(match[1] for match in found if match)


def count(program: Path) -> dict[str, int]:
    """Instructions of each row and its bits, like "direct_conv3x3_w4a6_avx2 W4A6"."""
    with tempfile.TemporaryDirectory() as folder:
        # A dump behind each call of the one holds what was collected inside the other.
        options = ["--toggle-collect=*run_conv*", "--dump-after=*measured*", f"--callgrind-out-file={folder}/out"]
        words = ["valgrind", "--tool=callgrind", *options, str(program)]
        bound = {
            **os.environ,
            "LD_BIND_NOW": "1",
        }  # else the first call of a library's function is dearer than the next
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=bound)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        cannot = [line for line in done.stdout.splitlines() if line.endswith("cannot")]
        rows = [line for line in done.stdout.splitlines() if line not in cannot]
        dumps = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))[: len(rows)]
        totals = [re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE) for dump in dumps]
    counts = [int(match[1]) for match in totals if match]
    if cannot or len(counts) != len(rows) or 0 in counts:
        raise SystemExit(f"callgrind counted {len(counts)} of {len(rows)} kernels; {'; '.join(cannot)}")
    return dict(zip(rows, counts, strict=True))


def complaints(now: dict[str, int], then: dict[str, int]) -> list[str]:
    """A line for each row that differs from the table."""
    found = [f"{name} is not in the table" for name in now.keys() - then.keys()]
    found += [f"{name} is in the table only" for name in then.keys() - now.keys()]
    for name in now.keys() & then.keys():
        change = now[name] / then[name] - 1
        if abs(change) > TOLERANCE:
            found.append(f"{name}: {now[name]:,} instructions, the table has {then[name]:,} ({change:+.1%})")
    return sorted(found)


def main() -> int:
    """Compares, or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table in place of comparing")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed; apt-get install valgrind.")
    program = build()
    built_by = compiler()
    if options.write:
        lines = [("kernel", "instructions"), (built_by, ""), *count(program).items()]
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
        return 0
    with TABLE.open(newline="", encoding="utf-8") as file:
        _, (table_by, _), *rows = csv.reader(file)
    if built_by != table_by:
        print(f"counts are of {table_by}, this is {built_by}: not compared")
        return 0
    now = count(program)
    found = complaints(now, {name: int(number) for name, number in rows})
    print("\n".join(found) or f"instructions: {len(now)} kernels, all within {TOLERANCE:.0%} of the table")
    if found:
        print("If that is meant: python scripts/count_instructions.py --write")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
