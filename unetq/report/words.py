"""Words for numbers, the same in the terminal, the page and the plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "NONE",
    "show_bytes",
    "show_delta",
    "show_dice",
    "show_mm",
    "show_ms",
    "show_points",
    "show_points_interval",
    "show_range",
    "show_runs",
]

NONE = "–"


def show_bytes(n: int | float | None) -> str:
    """Bytes with a binary unit and three figures.

    >>> show_bytes(164_304), show_bytes(19_348_996), show_bytes(None)
    ('160 KiB', '18.5 MiB', '–')
    """
    if n is None:
        return NONE
    value, unit = float(n), "B"
    for bigger in ("KiB", "MiB", "GiB"):
        if value < 999.5:
            break
        value, unit = value / 1024, bigger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.{1 if value >= 9.995 else 2}f} {unit}"


def show_ms(ms: float | None) -> str:
    """Milliseconds with three figures.

    >>> show_ms(12.34), show_ms(1234.5)
    ('12.3 ms', '1234 ms')
    """
    if ms is None:
        return NONE
    return f"{ms:.{2 if ms < 10 else 1 if ms < 100 else 0}f} ms"


def show_dice(mean: float, std: float | None = None) -> str:
    """Dice from 0 to 1, mean ± standard deviation over the cases.

    >>> show_dice(0.95251, 0.0041)
    '0.9525 ± 0.0041'
    """
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


def show_range(low: float | None, high: float | None, sign: str = "") -> str:
    """An interval.

    >>> show_range(-0.0012, 0.0031, "+"), show_range(0.94711, 0.95526)
    ('−0.0012 to +0.0031', '0.9471 to 0.9553')
    """
    return NONE if low is None or high is None else f"{_signed(low, sign)} to {_signed(high, sign)}"


def show_delta(delta: float | None, low: float | None = None, high: float | None = None) -> str:
    """Difference of Dice to the reference, its interval on a second line.

    >>> show_delta(-0.00001), show_delta(0.012, 0.01, 0.014)
    ('0.0000', '+0.0120\\n+0.0100 to +0.0140')
    """
    if delta is None:
        return NONE
    return _signed(delta, "+") if low is None else f"{_signed(delta, '+')}\n{show_range(low, high, '+')}"


def show_points(points: float) -> str:
    """Lost Dice in points (0 to 100).

    >>> show_points(0.72), show_points(-0.111), show_points(-0.001)
    ('0.72 points', '−0.11 points', '0.00 points')
    """
    return f"{_signed(points, digits=2)} points"


def show_points_interval(row: Mapping[str, Any]) -> str:
    """Points of Dice that a setting loses on the test cases, with the interval."""
    keys = ("dice_delta", "dice_delta_high", "dice_delta_low")
    loss, low, high = (_signed(-100 * row[key], digits=2) for key in keys)
    return f"{loss} ({low} to {high})"


def show_mm(mm: float | None) -> str:
    """A distance in the unit that suits it.

    >>> show_mm(1.24), show_mm(4.1e-5), show_mm(0.0123)
    ('1.24 mm', '41.0 nm', '12.3 µm')
    """
    if mm is None:
        return NONE
    if mm == 0:
        return "0 mm"
    value, unit = (mm, "mm") if mm >= 0.1 else (mm * 1e3, "µm") if mm >= 1e-3 else (mm * 1e6, "nm")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def show_runs(row: Mapping[str, Any]) -> str:
    """How many runs; on a second line, of how many folds and seeds.

    >>> show_runs({"n_runs": 6, "folds": [0, 1], "seeds": [0, 1, 2]}), show_runs({"n_runs": 1, "folds": [0], "seeds": [7]})
    ('6\\n2 folds, 3 seeds', '1')
    """
    parts = [f"{len(row[key])} {key}" for key in ("folds", "seeds") if len(row[key]) > 1]
    return f"{row['n_runs']}\n{', '.join(parts)}" if parts else str(row["n_runs"])


def _signed(value: float, sign: str = "", digits: int = 4) -> str:
    """With a true minus sign, and without a sign where it rounds to nothing."""
    text = f"{value:{sign}.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")
