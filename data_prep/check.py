"""What a prepared data set holds, case by case, and pictures with the masks outlined: a person sees whether they sit right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from unetq.files import atomic, atomic_text, make_folder
from unetq.report.paint import OUTLINE, auto_window, outline, png, window
from unetq.runtime.dataset import Case, Dataset

__all__ = ["check", "check_table"]

PERCENTILES = (0, 1, 50, 99, 100)
# Of a sheet: close views of a case, the longer side of a picture in pixels, cases.
CLOSE, SIDE, CASES_A_SHEET = 3, 192, 8
# Pixels that a close view shows around the label at least; and the part of a slice that it shows if the label is all over it.
AROUND, PART = 12, 0.4
# A case whose median intensity, or a label whose volume, differs from the others' by more than this factor is remarked on.
ODD = 8.0


def check(folder: Path, out: Path, on_case: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Takes the fingerprint of a prepared data set and writes its montages.

    Args:
        folder: prepared folder (nnU-Net raw format).
        out: folder for check.json and montage-NN.png: a row a case, the slice with most of the label whole, and slices from
            the first to the last with a label near it.
        on_case: called with (done, total).

    Returns:
        {"dataset", "folder", "splits": {split: cases}, "cases": [{"name", "split", "shape", "spacing_mm", "orientation", "dtype",
        "percentiles": {"0", "1", "50", "99", "100"}, "labels": {name: {"voxels", "ml", "slices"}}, "slices"}], "remarks": [...],
        "montages": {file: [its cases, from the top]}}: shape and spacing as (z, y, x), intensities of the first channel.

    Raises:
        UserError: the folder or a case is not as it should be.
    """
    data = Dataset.open(folder)
    homes = {case: split for split, cases in data.splits.items() for case in cases}
    make_folder(out)
    found: list[dict[str, Any]] = []
    rows: dict[str, NDArray[np.uint8]] = {}
    sheets: dict[str, list[str]] = {}
    names = _names(data)
    for index, name in enumerate(names):
        case = data.case(name)
        found.append({"split": homes.get(name, "none"), **_fingerprint(case, data.labels)})
        rows[name] = _row(case)
        if len(rows) == CASES_A_SHEET or index + 1 == len(names):
            path = _write_sheet(list(rows.values()), out / f"montage-{len(sheets) + 1:02d}.png")
            sheets[str(path)], rows = list(rows), {}
        if on_case:
            on_case(index + 1, len(names))
    result = {
        "dataset": data.name,
        "folder": str(folder),
        "splits": {split: len(cases) for split, cases in data.splits.items()},
        "cases": found,
        "remarks": _remarks(found, data.labels),
        "montages": sheets,
    }
    atomic_text(out / "check.json", json.dumps(result, indent=1) + "\n")
    return result


def check_table(result: Mapping[str, Any]) -> Table:
    """The fingerprint for the terminal, a line a case."""
    splits = ", ".join(f"{count} {split}" for split, count in result["splits"].items())
    table = Table(title=f"{result['dataset']}: {len(result['cases'])} cases ({splits})", title_justify="left")
    for heading in ("Case", "Split", "Shape", "Spacing", "Axes", "Intensities (1, 50, 99 %)", "Labels", "Slices"):
        table.add_column(heading, no_wrap=heading != "Labels")
    for case in result["cases"]:
        labels = ", ".join(f"{name} {_volume(label['ml'])}" for name, label in case["labels"].items())
        table.add_row(
            case["name"],
            case["split"],
            " x ".join(map(str, case["shape"])),
            _lengths(case["spacing_mm"]),
            case["orientation"],
            ", ".join(f"{case['percentiles'][str(p)]:.4g}" for p in PERCENTILES[1:-1]),
            labels,
            ", ".join(f"{label['slices']} of {case['shape'][0]}" for label in case["labels"].values()),
        )
    return table


def _lengths(mm: Sequence[float]) -> str:
    unit, factor = ("µm", 1000.0) if max(mm) < 0.001 else ("mm", 1.0)
    return " x ".join(f"{factor * length:.3g}" for length in mm) + f" {unit}"


def _volume(ml: float) -> str:
    """1 ml is 1e12 cubic micrometres."""
    return f"{ml * 1e12:.3g} µm³" if 0 < ml < 1e-9 else f"{ml:.3g} ml"


def _names(data: Dataset) -> list[str]:
    """Every case with a label, those in no split (guard slices) too."""
    return sorted(path.name.removesuffix(data.ending) for path in (data.folder / "labelsTr").glob(f"*{data.ending}"))


def _fingerprint(case: Case, labels: Sequence[str]) -> dict[str, Any]:
    volume = case.channels[0]
    ml = float(np.prod(volume.spacing)) / 1000.0
    counts = {name: np.count_nonzero(case.truth == value, axis=(1, 2)) for value, name in enumerate(labels, 1)}
    return {
        "name": case.name,
        "shape": list(volume.array.shape),
        "spacing_mm": list(volume.spacing),
        "orientation": "".join(nib.orientations.aff2axcodes(volume.affine)),
        "dtype": str(volume.array.dtype),
        "percentiles": {str(p): float(v) for p, v in zip(PERCENTILES, np.percentile(volume.array, PERCENTILES))},
        "labels": {
            name: {"voxels": int(n.sum()), "ml": int(n.sum()) * ml, "slices": int(np.count_nonzero(n))}
            for name, n in counts.items()
        },
    }


def _remarks(cases: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    """What a person should look at."""
    found = []
    for label in labels:
        volumes = {case["name"]: case["labels"][label]["ml"] for case in cases}
        typical = float(np.median([ml for ml in volumes.values() if ml] or [0.0]))
        for name, ml in volumes.items():
            if not ml:
                found.append(f"{name} holds no {label}.")
            elif not typical / ODD <= ml <= typical * ODD:
                found.append(f"{name} holds {ml:.3g} ml of {label}, but a typical case {typical:.3g} ml.")
    for key, what in (("orientation", "orientation"), ("dtype", "type")):
        kinds = sorted({case[key] for case in cases})
        if len(kinds) > 1:
            found.append(f"The cases are of more than one {what}: {', '.join(kinds)}.")
    flat = [case["name"] for case in cases if case["percentiles"]["1"] == case["percentiles"]["99"]]
    return found + [f"{name} is nearly constant in its first channel." for name in flat]


def _row(case: Case) -> NDArray[np.uint8]:
    """RGB (SIDE, views * SIDE, 3): the slice with most of the label, whole, then near views; the mask outlined."""
    image, truth = case.channels[0], case.truth
    marked = np.count_nonzero(truth, axis=(1, 2))
    places = np.flatnonzero(marked) if marked.any() else np.arange(len(truth))
    chosen = places[np.linspace(0, len(places) - 1, min(CLOSE, len(places))).round().astype(int)]
    whole = (slice(None), slice(None))
    views = [(int(np.argmax(marked)), whole), *((int(z), _near(truth[z])) for z in chosen)]
    row = np.zeros((SIDE, len(views) * SIDE, 3), np.uint8)
    for place, (z, part) in enumerate(views):
        view = image.array[z][part]
        gray = np.repeat(window(view, *auto_window(view))[..., None], 3, axis=2)
        small = _scale(gray, truth[z][part], image.spacing[1:])
        row[: small.shape[0], place * SIDE : place * SIDE + small.shape[1]] = small
    return row


def _near(truth: NDArray[np.uint8]) -> tuple[slice, slice]:
    """The label of a slice with half its own size around it; the middle of the slice where it has none, or is all over it."""
    parts = []
    for axis, length in ((1, truth.shape[0]), (0, truth.shape[1])):
        at = np.flatnonzero(truth.any(axis))
        extent = int(at[-1] - at[0]) + 1 if len(at) else length
        margin = max(AROUND, extent // 2)
        middle = slice(int(length * (1 - PART) / 2), int(length * (1 + PART) / 2) + 1)
        near = slice(max(0, int(at[0]) - margin), int(at[-1]) + 1 + margin) if len(at) else middle
        parts.append(middle if 2 * extent > length else near)
    return parts[0], parts[1]


def _scale(gray: NDArray[np.uint8], mask: NDArray[np.uint8], spacing: tuple[float, float]) -> NDArray[np.uint8]:
    """To at most SIDE x SIDE square pixels by the nearest pixel, then the outline, so that it is a pixel wide."""
    height, width = gray.shape[0] * spacing[0], gray.shape[1] * spacing[1]
    rows, columns = (max(1, round(SIDE * length / max(height, width))) for length in (height, width))
    y = np.arange(rows) * gray.shape[0] // rows
    x = np.arange(columns) * gray.shape[1] // columns
    picture: NDArray[np.uint8] = gray[y][:, x].copy()
    picture[outline(mask[y][:, x])] = OUTLINE
    return picture


def _write_sheet(rows: Sequence[NDArray[np.uint8]], path: Path) -> Path:
    width = max(row.shape[1] for row in rows)
    wide = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    with atomic(path) as temporary:
        temporary.write_bytes(png(np.concatenate(wide)))
    return path
