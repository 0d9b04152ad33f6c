"""A table of counted instructions (CSV), and the comparison with it: a guard against code that grows slower unnoticed.

Timings are too noisy for that, counts are the same on every run. They are of one compiler: with another one nothing is compared.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TOLERANCE", "InstructionTable", "complaints"]

TOLERANCE = 0.03


@dataclass(frozen=True)
class InstructionTable:
    """One table.

    Attributes:
        path: CSV file: a head, the compiler, then name and instructions.
        what: plural of what is counted, for messages.
        command: writes the table anew.
    """

    path: Path
    what: str
    command: str

    def write(self, counts: Mapping[str, int], compiler: str) -> None:
        """Puts counts in place of the table's."""
        with self.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("name", "instructions"), (compiler, ""), *counts.items()])

    def check(self, count: Callable[[], Mapping[str, int]], compiler: str) -> int:
        """Compares, and prints a line for each row that differs; 1 if one does."""
        with self.path.open(newline="", encoding="utf-8") as file:
            _, (by, _), *rows = csv.reader(file)
        if by != compiler:
            print(f"counts are of {by}, this is {compiler}: not compared")
            return 0
        now = count()
        found = complaints(now, {name: int(number) for name, number in rows})
        print("\n".join(found) or f"instructions: {len(now)} {self.what}, all within {TOLERANCE:.0%} of the table")
        if found:
            print(f"If that is meant: {self.command}")
        return 1 if found else 0


def complaints(now: Mapping[str, int], then: Mapping[str, int]) -> list[str]:
    """A line for each row that differs from the table, or that one of the two lacks.

    >>> complaints({"a": 104, "b": 101}, {"a": 100, "b": 100, "c": 1})
    ['a: 104 instructions, the table has 100 (+4.0%)', 'c is in the table only']
    """
    found = [f"{name} is not in the table" for name in now.keys() - then.keys()]
    found += [f"{name} is in the table only" for name in then.keys() - now.keys()]
    for name in now.keys() & then.keys():
        change = now[name] / then[name] - 1
        if abs(change) > TOLERANCE:
            found.append(f"{name}: {now[name]:,} instructions, the table has {then[name]:,} ({change:+.1%})")
    return sorted(found)
