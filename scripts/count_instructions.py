"""Counts the instructions of each convolution kernel under valgrind, and compares them with a table.

    python scripts/count_instructions.py            # 1 where a kernel takes 3 % more than the table says, or fewer
    python scripts/count_instructions.py --write    # after a change that is meant: writes the table anew

Needs valgrind, and what scripts/build_standalone.sh needs. valgrind knows no AVX-512, so those rows are not counted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from instruction_table import InstructionTable

ROOT = Path(__file__).parents[1]
COMMAND = "python scripts/count_instructions.py --write"
TABLE = InstructionTable(ROOT / "tests/native/instructions.csv", "kernels", COMMAND)
FOLDER = ROOT / "build/run"


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


def main() -> int:
    """Compares, or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table in place of comparing")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed; apt-get install valgrind.")
    program = build()
    if options.write:
        TABLE.write(count(program), compiler())
        return 0
    return TABLE.check(lambda: count(program), compiler())


if __name__ == "__main__":
    sys.exit(main())
