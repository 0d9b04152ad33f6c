"""Tables for the terminal (rich) and for files (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unetq.report.columns import headings
from unetq.report.rows import Row
from unetq.report.words import NONE, show_bytes, show_ms

__all__ = ["bench_table", "csv_text", "info_table", "memory_table", "peers_table", "rich_table", "tune_table"]


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


def rich_table(rows: Sequence[Row]) -> Table:
    """The report's table for the terminal, one section a data set."""
    table = Table(title="Dice against memory and latency", title_justify="left", header_style="bold")
    many = len({row["dataset"] for row in rows}) > 1
    columns = headings(rows)
    for heading in [*columns] if not many else ["Data", *columns]:
        table.add_column(heading, justify="left" if heading in ("Setting", "Data") else "right", no_wrap=True)
    for index, row in enumerate(rows):
        if index and row["dataset"] != rows[index - 1]["dataset"]:
            table.add_section()
        # Text, not str: a run's name is no markup.
        cells = [Text(show(row).split("\n")[0]) for show in columns.values()]
        table.add_row(*([Text(row["dataset"])] if many else []), *cells)
    return table


def csv_text(rows: Sequence[Row]) -> str:
    """All numbers of all rows as CSV, a header line first; an empty cell is "not measured".

    What is nested has a column a number, like classes.membrane.dice.mean; lists are joined by spaces.
    """
    lines = [dict(_flat(row)) for row in rows]
    names = list(dict.fromkeys(name for line in lines for name in line)) or ["run"]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", " ".join(map(str, value)) if isinstance(value, list) else value))
    return found


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


def memory_table(taken: Mapping[str, Any]) -> RenderableType:
    """What a run takes, for the terminal: a line a buffer of the arena, then the sums."""
    table = Table(header_style="bold")
    for heading in ("Tensors", "From", "To"):
        table.add_column(heading)
    for heading in ("Rows", "Bytes"):
        table.add_column(heading, justify="right")
    for row in taken["buffers"]:
        rows = f"{row['rows']} of {row['height']}"
        table.add_row(", ".join(row["tensors"]), row["first_op"], row["last_op"], rows, f"{row['bytes']:,}")
    height, width = taken["size"]
    size = {key.removesuffix("_bytes"): show_bytes(value) for key, value in taken.items() if key.endswith("_bytes")}
    lines = [
        f"an image of {height} x {width}: {size['total']} in all",
        f"arena {size['arena']} (skips {size['skip']}), scratch {size['scratch']}, weights {size['weights']}, "
        f"image {size['image']}, logits {size['logits']}",
        f"unetq-run: {size['standalone']}, with --max-memory at least {size['least']}, beside program, study and mask",
    ]
    return Group(table, *(Text(line) for line in lines))


def bench_table(bench: Mapping[str, Any]) -> RenderableType:
    """A bench result for the terminal: a line a layer, then the whole."""
    table = Table(header_style="bold")
    for heading in ("Layer", "Operation", "Kernel"):
        table.add_column(heading)
    for heading in ("ms", "share", "GMAC/s", "of peak"):
        table.add_column(heading, justify="right")
    total = sum(layer["ms"] for layer in bench["layers"]) or 1.0
    for layer in bench["layers"]:
        speed = f"{layer['gmacs']:.1f}" if layer.get("gmacs") else NONE
        cells = (
            layer["name"],
            layer["op"],
            layer["kernel"] or NONE,
            f"{layer['ms']:.3f}",
            f"{layer['ms'] / total:.0%}",
            speed,
            f"{layer['of_peak']:.0%}" if layer.get("of_peak") else NONE,
        )
        table.add_row(*map(str, cells))
    reasons = dict.fromkeys(f"{layer['kernel']}: {layer['why']}" for layer in bench["layers"] if layer.get("why"))
    threads = f"{bench['threads']} thread{'s' if bench['threads'] != 1 else ''}"
    line = (
        f"{bench['size']}, {bench['isa']}, {threads}: median {show_ms(bench['ms_median'])}, "
        f"fastest {show_ms(bench['ms_min'])}, "
        f"{bench['gmacs']:.1f} GMAC/s, peak memory of the process {show_bytes(bench['peak_rss_bytes'])}"
    )
    if bench.get("peak_gmacs"):
        line += (
            f"\nthe CPU's own multiply instruction does {bench['peak_gmacs']:.1f} GMAC/s: the network is at "
            f"{bench['of_peak']:.0%}; above 100 % a kernel needs fewer multiplications than it replaces"
        )
    if floor := (bench.get("floor") or {}).get("multiplications_ms"):
        line += (
            f"\nits multiplications alone take {show_ms(floor)}, its bytes {show_ms(bench['floor']['bytes_ms'])}: "
            f"the run is at {floor / bench['ms_median']:.0%} of that floor"
        )
    return Group(table, Text("\n".join([*reasons, line])))


def tune_table(tuned: Mapping[str, Any]) -> RenderableType:
    """What was measured (`unetq.runtime.tune.tune`) for the terminal: a line a layer, the fastest first, then the whole."""
    table = Table(header_style="bold")
    for heading in ("Layer", "Kernel", "instead of"):
        table.add_column(heading)
    table.add_column("ms", justify="right")
    table.add_column("others")
    for layer in tuned["layers"]:
        ms = dict(sorted(layer["ms"].items(), key=lambda item: item[1]))
        chosen, first = layer["chosen"], layer["first"]
        others = ", ".join(f"{name} {time:.3f}" for name, time in ms.items() if name != chosen)
        table.add_row(layer["name"], chosen, NONE if chosen == first else first, f"{ms[chosen]:.3f}", others)
    threads = f"{tuned['threads']} thread{'s' if tuned['threads'] != 1 else ''}"
    lines = [
        f"{tuned['size']}, {tuned['cpu']}, {tuned['isa']}, {threads}: {show_ms(tuned['ms_chosen'])} in all layers, "
        f"{show_ms(tuned['ms_first'])} with the table's own choice",
        f"kept in {tuned['timings']}" + (f", which {tuned['replaced']} and begins anew" if tuned["replaced"] else ""),
    ]
    return Group(table, *(Text(line) for line in lines))


def peers_table(bench: Mapping[str, Any]) -> RenderableType:
    """Our runtime and its peers (`unetq.peers.race.bench_peers`), a section a number of threads; then who was left out and why,
    and with which settings each ran."""
    table = Table(header_style="bold")
    table.add_column("Engine")
    for heading in (
        "Threads",
        "median",
        "fastest",
        "against unetq",
        "peak memory",
        "int8/float layers",
        "same mask",
        "Version",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    turns = [(bench["threads"], bench), *([(1, bench["one_thread"])] if "one_thread" in bench else [])]
    for threads, turn in turns:
        ours = [show_ms(turn["ms_median"]), show_ms(turn["ms_min"]), "1", show_bytes(turn["peak_rss_bytes"])]
        table.add_row("unetq", str(threads), *ours, NONE, NONE, NONE)
        for name, peer in turn["peers"].items():
            mark = "" if peer.get("capped", True) else " *"
            layers = "/".join(str(peer["executed"].get(word, 0)) for word in ("int8", "float"))
            times = [show_ms(peer["ms_median"]), show_ms(peer["ms_min"]), f"{peer['ratio']:.2f}"]
            rest = [show_bytes(peer["peak_rss_bytes"]), layers, f"{peer['same_mask']:.2%}", peer["version"]]
            table.add_row(name + mark, str(threads), *times, *rest)
        table.add_section()
    lines = [f"{name} is left out: {why}" for _, turn in turns[:1] for name, why in turn["left_out"].items()]
    lines += [f"{name}: {peer['setting']}" for name, peer in bench["peers"].items()]
    if bench["cap_isa"]:
        lines.append(f"All are held to {bench['cap_isa']}, but * reads no such setting and uses what the CPU has.")
    return Group(table, Text("\n".join(lines)))


def _provenance(provenance: Mapping[str, Any]) -> str:
    short = {key: value for key, value in provenance.items() if isinstance(value, str | int | float)}
    return ", ".join(f"{key} {value}" for key, value in short.items()) or "not recorded"
