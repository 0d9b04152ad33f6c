"""Figures of the report: the Pareto plot (SVG) and the overlays of test cases (PNG layers)."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.read import read
from unetq.report.collect import Row, RunRecord
from unetq.report.paint import OUTLINE, auto_window, difference_layer, enlarge, outline, png, window
from unetq.report.tables import show_bytes, show_ms

__all__ = ["CaseImage", "front", "layer_png", "load_case", "pareto_svg", "pick_cases"]

INK, MUTED, GRID, ACCENT = "#1f2d3a", "#64748b", "#e3e8ee", "#0f6b7f"
Mask = NDArray[Any]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, gain) that no other beats: none is as cheap and better, or cheaper and as good.

    >>> front([(1, 0.9), (2, 0.95), (3, 0.93)])
    [0, 1]
    """

    def beaten(i: int) -> bool:
        cost, gain = points[i]
        return any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)

    return sorted((i for i in range(len(points)) if not beaten(i)), key=lambda i: points[i])


@dataclass(frozen=True)
class Panel:
    """One plot of Dice against a cost; rows without the cost are left out."""

    title: str
    key: str
    show: Callable[[float | None], str]


PANELS = (
    Panel("Dice against memory of the parameters (honest)", "bytes_honest", show_bytes),
    Panel("Dice against latency (median)", "ms_median", show_ms),
)


def pareto_svg(rows: Sequence[Row]) -> str:
    """Dice against honest memory and against latency, the non-dominated settings joined; the same bytes each time.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("The report draws with matplotlib: install it with `pip install 'unetq[train]'`.") from None
    style: dict[Any, Any] = {
        "svg.hashsalt": "unetq",
        "font.size": 10,
        "font.family": "DejaVu Sans",
        "svg.fonttype": "path",
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(12.4, 4.3), layout="constrained")
        FigureCanvasSVG(figure)
        low = min(row["dice_mean"] for row in rows)
        high = max(row["dice_mean"] for row in rows)
        margin = max(high - low, 0.004)
        for axes, panel in zip(figure.subplots(1, 2), PANELS):
            axes.set_ylim(low - 0.35 * margin, high + 0.35 * margin)
            _draw(axes, panel, [row for row in rows if row[panel.key]])
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "unetq"})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _draw(axes: Any, panel: Panel, rows: Sequence[Row]) -> None:
    _frame(axes, panel)
    if not rows:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_xticks([])
        return
    points = [(float(row[panel.key]), float(row["dice_mean"])) for row in rows]
    best = front(points)
    costs = [cost for cost, _ in points]
    axes.set_xlim(min(costs) / 1.6, max(costs) * 1.6)
    axes.plot(*zip(*[points[i] for i in best]), color=ACCENT, lw=1.3, alpha=0.55, zorder=2)
    for i, (cost, gain) in enumerate(points):
        torch = panel.key == "ms_median" and rows[i].get("isa") == "torch"
        face = "white" if i not in best or torch else ACCENT
        marker = "D" if torch else "o"
        axes.plot(cost, gain, marker, ms=8, mfc=face, mec=ACCENT if i in best else MUTED, mew=1.6, zorder=3)
    _label(axes, [str(row["label"]) for row in rows], points)


def _frame(axes: Any, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    binary = panel.key.startswith("bytes")
    axes.xaxis.set_major_locator(
        LogLocator(base=2 if binary else 10, subs=(1.0,) if binary else (1.0, 2.0, 5.0), numticks=9)
    )
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: panel.show(value).replace(".0 ", " ").replace(".00 ", " "))
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set_title(panel.title, loc="left", fontsize=11, color=INK, pad=10)
    axes.set_ylabel("Dice", color=MUTED)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def _label(axes: Any, labels: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    """Writes each label beside its point, at the first of eight places where it meets no other label and no point."""
    from matplotlib.patheffects import withStroke

    canvas = axes.figure.canvas
    canvas.draw()
    renderer = canvas.get_renderer() if hasattr(canvas, "get_renderer") else axes.figure._get_renderer()
    dots = [axes.transData.transform(point) for point in points]
    places = [(0, 12, "center"), (11, -3, "left"), (0, -18, "center"), (-11, -3, "right")]
    places += [
        (9, 9, "left"),
        (9, -15, "left"),
        (-9, 9, "right"),
        (-9, -15, "right"),
        (0, 26, "center"),
        (0, -32, "center"),
    ]
    taken: list[Any] = []
    for label, point in zip(labels, points):
        text = None
        for dx, dy, align in places:
            if text is not None:
                text.remove()
            text = axes.annotate(
                label, point, (dx, dy), textcoords="offset points", ha=align, color=INK, fontsize=9.5, parse_math=False
            )
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
            box = text.get_window_extent(renderer)
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.figure.bbox.x1
            free = not any(box.overlaps(other) for other in taken) and not any(box.contains(*dot) for dot in dots)
            if inside and free:
                break
        taken.append(box)


def pick_cases(per_case: Mapping[str, float]) -> dict[str, str]:
    """The best, the median and the worst case; with fewer than three cases each case once.

    >>> pick_cases({"a": 0.9, "b": 0.7, "c": 0.8})
    {'best': 'a', 'median': 'c', 'worst': 'b'}
    """
    ranked = sorted(per_case, key=lambda case: (-per_case[case], case))
    picks = {"best": ranked[0], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[-1]}
    return {name: case for i, (name, case) in enumerate(picks.items()) if case not in list(picks.values())[:i]}


@dataclass(frozen=True)
class CaseImage:
    """The slice of a test case that the report shows.

    Attributes:
        gray: uint8 (Y, X), enlarged where the image is small.
        truth: labels (Y, X), of the same size.
        index: the slice, the one that holds the most truth.
        depth: number of slices of the case.
    """

    case: str
    gray: NDArray[np.uint8]
    truth: Mask
    index: int
    depth: int


def load_case(data: Path, case: str) -> CaseImage:
    """Image and truth of a case of a prepared data folder.

    Raises:
        UserError: a file is gone or unreadable.
    """
    image, truth = read(_file(data / "imagesTr", f"{case}_0000")).array, read(_file(data / "labelsTr", case)).array
    if image.shape != truth.shape:
        raise UserError(f"The image and the label of {case} in {data} differ in size: {image.shape} and {truth.shape}.")
    index = int(np.argmax((truth > 0).sum(axis=(1, 2))))
    gray = window(image[index], *auto_window(image[index]))
    return CaseImage(case, enlarge(gray).astype(np.uint8), enlarge(truth[index]), index, image.shape[0])


def layer_png(run: RunRecord, shown: CaseImage) -> bytes | None:
    """Transparent PNG that lies over the case's image: prediction against truth, truth outlined; None without a mask.

    Raises:
        UserError: the mask does not fit the image.
    """
    path = run.folder / "test_masks" / f"{shown.case}.nii.gz"
    if not path.is_file():
        return None
    masks = read(path).array
    predicted = enlarge(masks[shown.index]) if shown.index < masks.shape[0] else masks[:0]
    if predicted.shape != shown.truth.shape:
        raise UserError(f"{path} has another size than the test image of {shown.case}: evaluate {run.folder} again.")
    layer = difference_layer(predicted, shown.truth, 0.55)
    layer[outline(shown.truth)] = (*OUTLINE, 235)
    return png(layer)


def _file(folder: Path, stem: str) -> Path:
    found = sorted(folder.glob(f"{stem}.*"))
    if not found:
        raise UserError(f"{folder} has no image {stem}.")
    return found[0]
