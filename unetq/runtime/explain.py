"""Why each layer runs on the kernel that it runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unetq import _native
from unetq.runtime.model import Model

__all__ = ["explain"]


def explain(model: Model, layers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A half sentence for each layer of a profile, by name: whether the table's order or `unetq tune` chose the kernel, of how
    many that could run it, and the bound that keeps it exact.

    Args:
        model: the model that was profiled.
        layers: rows with name, op, kernel and tuned (`Model.profile`).
    """
    # In order of preference; an instruction set includes those before it.
    table, order = {row["name"]: row for row in _native.kernels()}, _native.isas()
    reach = order[: order.index(model.isa) + 1] if model.isa in order else order
    return {layer["name"]: _reason(_demand(model, layer), table.get(layer["kernel"]), table, reach) for layer in layers}


def _demand(model: Model, layer: Mapping[str, Any]) -> dict[str, Any]:
    op = model.graph.op(layer["name"])
    # Signed ternary codes are stored as code + 1: 2 bits, as the tensor says.
    bits = (op.wbits, model.graph.tensors[op.inputs[0]].bits)
    out = model.graph.tensors[op.output].channels
    found = "fastest by this machine's timings" if layer["tuned"] else "first"
    return {"op": op.kind, "kernel": op.kernel, "weights": op.weights, "bits": bits, "out": out, "found": found}


def _fits(row: Mapping[str, Any], demand: Mapping[str, Any]) -> bool:
    """Whether a row can do a convolution of these widths and kind of weights, if its weights' own values allow it where the
    row looks at them (kernels/select.cc asks for its input channels, too)."""
    weights = {"signs": ("binary", "ternary"), "twos": ("twos", "ternary")}.get(row["codes"], (demand["weights"],))
    wide = demand["bits"] in row["always"] or demand["bits"] in row["checked"]
    return bool(wide and demand["weights"] in weights and demand["out"] <= row["max_out"])


def _reason(
    demand: Mapping[str, Any],
    chosen: Mapping[str, Any] | None,
    table: Mapping[str, Mapping[str, Any]],
    reach: Sequence[str],
) -> str:
    if chosen is None:
        if demand["op"] == "nearest":
            return "no kernel: the convolution behind it reads its input"
        return "no kernel: its inputs are written where its output is to be"
    rows = [row for row in table.values() if row["op"] == demand["op"] and row["isa"] in reach]
    if not demand["kernel"]:
        return f"{demand['found']} of {len(rows)} for {demand['op']} on {reach[-1]}"
    # A row with side 0 takes any.
    sides = [row for row in rows if row["kernel"] in (0, demand["kernel"])]
    fits = [row for row in sides if _fits(row, demand)]
    wbits, abits = demand["bits"]
    bound = (
        "whatever the weights"
        if demand["bits"] in chosen["always"]
        else "for these weights, whose transforms fit 8 bits"
    )
    return (
        f"{demand['found']} of {len(fits)} that may fit, of {len(sides)} for this operation on {reach[-1]}; exact with "
        f"{wbits}-bit weights and {abits}-bit activations {bound}"
    )
