"""House rules that no linter knows: length of files and functions, number of parameters.

python scripts/check_style.py
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

MAX_LINES = {".py": 400, ".cc": 500, ".h": 500}
MAX_MEDIAN, MAX_FUNCTION, MAX_PARAMETERS = 150, 60, 6


def functions(path: Path) -> list[str]:
    """Complaints about the functions of one Python file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        parameters = len([n for n in names if n not in ("self", "cls")])
        where = f"{path}:{node.lineno} {node.name}"
        if length >= MAX_FUNCTION:
            found.append(f"{where}: {length} lines, must be under {MAX_FUNCTION}")
        # A command's parameters are its options; everything else takes a dataclass.
        if parameters > MAX_PARAMETERS and "cli" not in path.parts:
            found.append(f"{where}: {parameters} parameters, at most {MAX_PARAMETERS}")
    return found


def main() -> int:
    """Prints every complaint; 1 if there is one."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    files = [
        Path(line) for line in listed.stdout.splitlines() if Path(line).suffix in MAX_LINES and Path(line).is_file()
    ]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    complaints = [f"{p}: {n} lines, at most {MAX_LINES[p.suffix]}" for p, n in lines.items() if n > MAX_LINES[p.suffix]]
    for path in files:
        if path.suffix == ".py":
            complaints += functions(path)
    median = statistics.median(n for p, n in lines.items() if p.suffix == ".py" and n > 1)
    if median >= MAX_MEDIAN:
        complaints.append(f"the median Python file has {median} lines, must be under {MAX_MEDIAN}")
    print("\n".join(complaints) or f"style: {len(files)} files, median Python file {median:.0f} lines")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
