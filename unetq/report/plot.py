"""The Pareto plot (SVG): Dice against honest memory and against latency, the data sets side by side."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unetq.errors import UserError
from unetq.report.recommend import front
from unetq.report.rows import Row
from unetq.report.words import show_bytes, show_ms

__all__ = ["pareto_svg"]

INK, MUTED, GRID, ACCENT = "#1f2d3a", "#64748b", "#e3e8ee", "#0f6b7f"
# Where a label goes beside its point: right and up in points, alignment; the first that is free is taken.
PLACES = (
    *((0, 10, "center"), (10, -3, "left"), (0, -17, "center"), (-10, -3, "right")),
    *((8, 8, "left"), (8, -14, "left"), (-8, 8, "right"), (-8, -14, "right"), (0, 23, "center"), (0, -30, "center")),
)
# With more settings than this not every one has a label.
CROWD = 8


@dataclass(frozen=True)
class Panel:
    """One plot of Dice against a cost; rows without the cost are left out."""

    title: str
    key: str
    show: Callable[[float | None], str]


PANELS = (
    Panel("honest memory", "bytes_honest", show_bytes),
    Panel("latency", "ms_median", show_ms),
)


def pareto_svg(groups: Mapping[str, Sequence[Row]]) -> str:
    """Dice against honest memory and, where timed, latency; the non-dominated settings joined; the same bytes each time.

    Args:
        groups: data set -> its rows. Several stand side by side, memory above latency.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise UserError("The report draws with matplotlib: install it with `pip install 'unetq[train]'`.") from None
    style: dict[Any, Any] = {
        "svg.hashsalt": "unetq",
        "font.size": 10 if len(groups) < 3 else 9,
        "font.family": "DejaVu Sans",
        "svg.fonttype": "path",
    }
    panels = [panel for panel in PANELS if any(row[panel.key] for rows in groups.values() for row in rows)]
    with matplotlib.rc_context(style):
        shape = (1, len(panels)) if len(groups) == 1 else (len(panels), len(groups))
        spaced = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.08)
        figure = Figure(figsize=(12.4, 4.1 * shape[0]), layout=spaced)
        FigureCanvasSVG(figure)
        grid = figure.subplots(*shape, squeeze=False)
        columns = grid.T.tolist() if len(groups) > 1 else [grid[0].tolist()]
        for (dataset, rows), column in zip(groups.items(), columns):
            for axes, panel in zip(column, panels):
                _draw(axes, dataset, panel, rows)
        figure.canvas.draw()  # lays out, so that labels find their places
        for (_, rows), column in zip(groups.items(), columns):
            for axes, panel in zip(column, panels):
                _label(axes, panel, rows)
        figure.set_layout_engine("none")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "unetq"})
    text = out.getvalue()
    return text[text.index("<svg") :]


def lowest(gains: Sequence[float]) -> float:
    """Lower end of the Dice axis: a setting that fell far behind must not press the others into one line.

    >>> lowest([0.95, 0.94, 0.93]), round(lowest([0.95, 0.94, 0.94, 0.2]), 2)
    (0.93, 0.91)
    """
    top = max(gains)
    return max(min(gains), top - max(4 * (top - statistics.median(gains)), 0.02))


def _points(panel: Panel, rows: Sequence[Row]) -> tuple[list[Row], list[tuple[float, float]]]:
    """The rows that have the cost, and (cost, Dice) of each."""
    timed = [row for row in rows if row[panel.key]]
    return timed, [(float(row[panel.key]), float(row["dice_mean"])) for row in timed]


def _draw(axes: Any, dataset: str, panel: Panel, rows: Sequence[Row]) -> None:
    _frame(axes, f"{dataset}: Dice against {panel.title}", panel)
    gains = [row["dice_mean"] for row in rows]
    low, margin = lowest(gains), max(max(gains) - lowest(gains), 0.004)
    axes.set_ylim(low - 0.35 * margin, max(gains) + 0.35 * margin)
    rows, points = _points(panel, rows)
    if not rows:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_xticks([])
        return
    best = front(points)
    # What ran in torch is far slower than the native runtime: it would press the others into one line.
    native = [cost for row, (cost, _) in zip(rows, points) if panel.key != "ms_median" or row["isa"] != "torch"]
    costs = native or [cost for cost, _ in points]
    room = (max(costs) / min(costs)) ** 0.12 * 1.15
    axes.set_xlim(min(costs) / room, max(costs) * room)
    line = [points[i] for i in best]
    axes.plot(*zip(*line), color=ACCENT, lw=1.3, alpha=0.55, zorder=2)
    for i, point in enumerate(points):
        low, late = _beyond(axes, point)
        torch = panel.key == "ms_median" and rows[i].get("isa") == "torch"
        face = "white" if i not in best or torch else ACCENT
        marker = "v" if low else ">" if late else "D" if torch else "o"
        edge = ACCENT if i in best else MUTED
        axes.plot(*_shown(axes, point), marker, ms=7.5, mfc=face, mec=edge, mew=1.6, zorder=3)


def _beyond(axes: Any, point: tuple[float, float]) -> tuple[bool, bool]:
    """Whether a point falls out of the plot below, and to the right."""
    return bool(point[1] < axes.get_ylim()[0]), bool(point[0] > axes.get_xlim()[1])


def _shown(axes: Any, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point (cost, Dice) stands: one that fell out, just inside the edge."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return float(min(point[0], right / (right / left) ** 0.03)), float(max(point[1], low + 0.04 * (high - low)))


def _frame(axes: Any, title: str, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set_xscale("log")
    narrow = axes.get_subplotspec().get_gridspec().ncols > 2
    places = LogLocator(base=4 if narrow else 2, numticks=9) if panel.key == "bytes_honest" else MaxNLocator(5)
    axes.xaxis.set_major_locator(places)
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: panel.show(value).replace(".0 ", " ").replace(".00 ", " "))
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set_title(title, loc="left", color=INK, pad=10)
    axes.set_ylabel("Dice", color=MUTED)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def _label(axes: Any, panel: Panel, rows: Sequence[Row]) -> None:
    """Writes labels where they meet no other label and no point; of many settings only those of the front, of the outcasts,
    of float and of TernaryNet. The table names them all."""
    from matplotlib.patheffects import withStroke

    rows, points = _points(panel, rows)
    if not rows:
        return
    canvas = axes.figure.canvas
    renderer = canvas.get_renderer() if hasattr(canvas, "get_renderer") else axes.figure._get_renderer()
    places = [_shown(axes, point) for point in points]
    dots = [axes.transData.transform(place) for place in places]
    beyond = [_beyond(axes, point) for point in points]
    named = [i for i, row in enumerate(rows) if len(rows) <= CROWD or row["quantizer"] in ("float", "ternarynet")]
    taken: list[Any] = []
    out = [i for i, sides in enumerate(beyond) if any(sides)]
    for i in dict.fromkeys((*out, *front(points), *named)):
        values = (f" {points[i][1]:.2f}" * beyond[i][0], f" {panel.show(points[i][0])}" * beyond[i][1])
        words = f"{rows[i]['label']}{''.join(values)}"
        for dx, dy, align in PLACES:
            style = {"textcoords": "offset points", "ha": align, "color": INK, "fontsize": "small", "parse_math": False}
            text = axes.annotate(words, places[i], (dx, dy), **style)
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
            box = text.get_window_extent(renderer)
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 + 12 and axes.bbox.y0 <= box.y0
            if (
                inside
                and not any(box.overlaps(b) for b in taken)
                and not any(box.padded(3).contains(*dot) for dot in dots)
            ):
                taken.append(box)
                break
            text.remove()
