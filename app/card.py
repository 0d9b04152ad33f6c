"""A model's card: what it is for, what it was trained on, how it scored, what it takes; no Streamlit in here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unetq.app.floating import CHECKPOINT, run_card
from unetq.app.inference import layer_bits
from unetq.report.words import NONE, show_bytes, show_dice
from unetq.runtime.model import open_model

__all__ = ["card_of", "dice_per_case"]


def card_of(path: Path) -> dict[str, str]:
    """Heading -> words of the card of a model file, or of a float run's checkpoint.

    Raises:
        UserError: no such file, or a damaged one.
    """
    if path.name == CHECKPOINT:
        return run_card(path)
    model = open_model(path)
    info, meta = model.info(), model.meta
    about, prep = meta.provenance, meta.prep
    window = f"intensities {prep.window[0]:g} to {prep.window[1]:g}, " if prep.window else ""
    spacing = f"{prep.spacing:g} mm a pixel, " if prep.spacing else ""
    return {
        "Intended use": meta.intended_use or "Not said in the file.",
        "Segments": ", ".join(
            f"{label.name} (SNOMED CT {label.snomed})" if label.snomed else label.name for label in meta.labels
        ),
        "Trained on": _words(about, ("dataset",)) or "Not said in the file.",
        "Dice": _dice(about),
        "Bits": ", ".join(f"{w}-bit weights, {a}-bit activations" for w, a in layer_bits(model))
        + "; first and last layer 8-bit weights",
        "Size": f"{show_bytes(info['bytes_file'])}, {info['parameters']:,} parameters, "
        f"1/{info['bytes_float32'] / info['bytes_file']:.1f} of the float32 network",
        "Sees": f"{window}{spacing}{prep.orientation or 'slices as stored'}, tiles of {prep.tile} pixels",
        "Made": _words(about, ("fold", "seed", "commit")) or NONE,
        "Hash": model.hash,
    }


def dice_per_case(about: Mapping[str, Any]) -> dict[str, float]:
    """Dice of the held-out cases that a model's provenance names; {} where it names none."""
    found = about.get("test_dice")
    cases = found.get("per_case") if isinstance(found, Mapping) else None
    if not isinstance(cases, Mapping):
        return {}
    return {str(name): float(dice) for name, dice in cases.items() if isinstance(dice, int | float)}


def _dice(about: Mapping[str, Any]) -> str:
    cases = dice_per_case(about)
    if not cases:
        return "Not said in the file."
    values = list(cases.values())
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{show_dice(statistics.fmean(values), spread)} over {len(values)} held-out cases of {about.get('dataset')}"


def _words(about: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    known = {key: about[key] for key in keys if about.get(key) not in (None, "")}
    return ", ".join(str(value) if key == "dataset" else f"{key} {value}" for key, value in known.items())
