"""Tables for the terminal (rich) and for files (CSV), and the words for numbers that all outputs share."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unetq.report.collect import Row

__all__ = ["COLUMNS", "bench_table", "csv_text", "info_table", "rich_table", "show_bytes", "show_dice", "show_ms"]

NONE = "–"


class Meta(Protocol):
    """What `info_table` reads of a model's metadata (`unetq.runtime.meta.ModelMeta`)."""

    @property
    def labels(self) -> Sequence[Any]:
        """Label 1, 2, ...: objects with a name."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Data set, split, seed, Dice, commit."""

    @property
    def intended_use(self) -> str:
        """A sentence for the reader."""


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


def show_delta(delta: float | None) -> str:
    """Difference of Dice to the reference run."""
    return NONE if delta is None else f"{delta:+.4f}".replace("-", "−")


# Heading -> text of a row's cell; the terminal and the page show the same columns.
COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "Setting": lambda row: str(row["label"]),
    "Dice, mean ± sd": lambda row: show_dice(row["dice_mean"], row["dice_std"]),
    "Difference": lambda row: show_delta(row["dice_delta"]),
    "Nominal": lambda row: show_bytes(row["bytes_nominal"]),
    "Honest": lambda row: show_bytes(row["bytes_honest"]),
    "Smaller": lambda row: f"{row['bytes_float32'] / row['bytes_honest']:.2f} ×",
    "File": lambda row: show_bytes(row["bytes_file"]),
    "Activations": lambda row: show_bytes(row["peak_activation_bytes"]),
    "Peak RSS": lambda row: show_bytes(row["peak_rss_bytes"]),
    "Latency": lambda row: show_ms(row["ms_median"]),
}


def rich_table(rows: Sequence[Row]) -> Table:
    """The report's table for the terminal, one section a data set."""
    table = Table(title="Dice against memory and latency", title_justify="left", header_style="bold")
    many = len({row["dataset"] for row in rows}) > 1
    for heading in [*COLUMNS] if not many else ["Data", *COLUMNS]:
        table.add_column(heading, justify="left" if heading in ("Setting", "Data") else "right", no_wrap=True)
    for index, row in enumerate(rows):
        if index and row["dataset"] != rows[index - 1]["dataset"]:
            table.add_section()
        # Text, not str: a run's name is no markup.
        cells = [Text(show(row)) for show in COLUMNS.values()]
        table.add_row(*([Text(row["dataset"])] if many else []), *cells)
    return table


def csv_text(rows: Sequence[Row]) -> str:
    """All keys of all rows as CSV, a header line first; an empty cell is "not measured"."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else ["run"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def info_table(info: Mapping[str, Any], meta: Meta) -> RenderableType:
    """A model file for the terminal: a line a layer, the sums, and where it comes from."""
    table = Table(header_style="bold", show_footer=True)
    table.add_column("Layer", footer="total")
    table.add_column("Operation")
    sums = (f"{info['bytes_nominal']:,}", f"{info['bytes_honest']:,}")
    for heading, footer in (("W bits", ""), ("A bits", ""), ("Nominal bytes", sums[0]), ("Honest bytes", sums[1])):
        table.add_column(heading, justify="right", footer=footer)
    for layer in info["layers"]:
        sizes = (f"{layer['bytes_nominal']:,}", f"{layer['bytes']:,}")
        table.add_row(layer["name"], layer["op"], str(layer["wbits"]), str(layer["abits"]), *sizes)
    honest = (
        f"honest {show_bytes(info['bytes_honest'])} (1/{info['bytes_float32'] / info['bytes_honest']:.2f} of float32)"
    )
    labels = ", ".join(f"{value} = {label.name}" for value, label in enumerate(meta.labels, 1))
    lines = [
        f"{info['parameters']:,} parameters: float32 {show_bytes(info['bytes_float32'])}, "
        f"nominal {show_bytes(info['bytes_nominal'])}, {honest}, file {show_bytes(info['bytes_file'])}",
        f"labels: {labels}",
        f"trained on: {_provenance(meta.provenance)}",
        f"intended use: {meta.intended_use}",
        f"hash: {info['hash']}",
    ]
    return Group(table, *(Text(line) for line in lines))


def bench_table(bench: Mapping[str, Any]) -> RenderableType:
    """A bench result for the terminal: a line a layer, then the whole."""
    table = Table(header_style="bold")
    for heading in ("Layer", "Operation", "Kernel"):
        table.add_column(heading)
    for heading in ("ms", "GMAC/s", "share"):
        table.add_column(heading, justify="right")
    total = sum(layer["ms"] for layer in bench["layers"]) or 1.0
    for layer in bench["layers"]:
        speed = f"{layer['gmacs']:.1f}" if layer.get("gmacs") else NONE
        cells = (
            layer["name"],
            layer["op"],
            layer["kernel"] or NONE,
            f"{layer['ms']:.3f}",
            speed,
            f"{layer['ms'] / total:.0%}",
        )
        table.add_row(*map(str, cells))
    threads = f"{bench['threads']} thread{'s' if bench['threads'] != 1 else ''}"
    line = (
        f"{bench['size']}, {bench['isa']}, {threads}: median {show_ms(bench['ms_median'])}, "
        f"fastest {show_ms(bench['ms_min'])}, "
        f"{bench['gmacs']:.1f} GMAC/s, peak memory of the process {show_bytes(bench['peak_rss_bytes'])}"
    )
    return Group(table, Text(line))


def _provenance(provenance: Mapping[str, Any]) -> str:
    short = {key: value for key, value in provenance.items() if isinstance(value, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in short.items()) or "not recorded"
