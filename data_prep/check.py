"""What a prepared data set holds, case by case, and pictures with the masks outlined, so that a person sees whether they sit right."""

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
# Of a sheet: pictures of a case, their longer side in pixels, cases.
SLICES, SIDE, CASES_A_SHEET = 4, 192, 8
# A case whose median intensity, or a label whose volume, differs from the others' by more than this factor is remarked on.
ODD = 8.0


def check(folder: Path, out: Path, on_case: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Takes the fingerprint of a prepared data set and writes its montages.

    Args:
        folder: prepared folder (nnU-Net raw format).
        out: folder for check.json and montage-NN.png: a row a case, the slice with most of the label and slices around the label.
        on_case: called with (done, total).

    Returns:
        {"dataset", "folder", "splits": {split: cases}, "cases": [{"name", "split", "shape", "spacing_mm", "orientation", "dtype",
        "percentiles": {"0", "1", "50", "99", "100"}, "labels": {name: {"voxels", "ml", "slices"}}, "slices"}], "remarks": [...],
        "montages": [...]}: shape and spacing as (z, y, x), intensities of the first channel.

    Raises:
        UserError: the folder or a case is not as it should be.
    """
    data = Dataset.open(folder)
    homes = {case: split for split, cases in data.splits.items() for case in cases}
    make_folder(out)
    found: list[dict[str, Any]] = []
    rows: list[NDArray[np.uint8]] = []
    sheets: list[Path] = []
    names = _names(data)
    for index, name in enumerate(names):
        case = data.case(name)
        found.append({"split": homes.get(name, "none"), **_fingerprint(case, data.labels)})
        rows.append(_row(case))
        if len(rows) == CASES_A_SHEET or index + 1 == len(names):
            sheets.append(_write_sheet(rows, out / f"montage-{len(sheets) + 1:02d}.png"))
            rows = []
        if on_case:
            on_case(index + 1, len(names))
    result = {
        "dataset": data.name,
        "folder": str(folder),
        "splits": {split: len(cases) for split, cases in data.splits.items()},
        "cases": found,
        "remarks": _remarks(found, data.labels),
        "montages": [str(sheet) for sheet in sheets],
    }
    atomic_text(out / "check.json", json.dumps(result, indent=1) + "\n")
    return result


def check_table(result: Mapping[str, Any]) -> Table:
    """The fingerprint for the terminal, a line a case."""
    splits = ", ".join(f"{count} {split}" for split, count in result["splits"].items())
    table = Table(title=f"{result['dataset']}: {len(result['cases'])} cases ({splits})", title_justify="left")
    for heading in ("Case", "Split", "Shape", "Spacing, mm", "Axes", "Intensities (1, 50, 99 %)", "Labels", "Slices"):
        table.add_column(heading, no_wrap=heading != "Labels")
    for case in result["cases"]:
        labels = ", ".join(f"{name} {label['ml']:.3g} ml" for name, label in case["labels"].items())
        table.add_row(
            case["name"],
            case["split"],
            " x ".join(map(str, case["shape"])),
            " x ".join(f"{mm:.3g}" for mm in case["spacing_mm"]),
            case["orientation"],
            ", ".join(f"{case['percentiles'][str(p)]:.4g}" for p in PERCENTILES[1:-1]),
            labels,
            ", ".join(f"{label['slices']} of {case['shape'][0]}" for label in case["labels"].values()),
        )
    return table


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
    """RGB (SIDE, SLICES * SIDE, 3): the slice with most of the label, whole, then slices around the label; the mask outlined."""
    array, truth = case.channels[0].array, case.truth
    marked = np.count_nonzero(truth, axis=(1, 2))
    places = np.flatnonzero(marked) if marked.any() else np.arange(len(array))
    chosen = places[np.linspace(0, len(places) - 1, min(SLICES - 1, len(places))).round().astype(int)]
    whole = (slice(None), slice(None))
    views = [(int(np.argmax(marked)), whole), *((int(z), _around(truth)) for z in chosen)]
    low, high = auto_window(array)
    row = np.zeros((SIDE, SLICES * SIDE, 3), np.uint8)
    for place, (z, part) in enumerate(views):
        gray = np.repeat(window(array[z][part], low, high)[..., None], 3, axis=2)
        small = _scale(gray, truth[z][part], case.channels[0].spacing[1:])
        row[: small.shape[0], place * SIDE : place * SIDE + small.shape[1]] = small
    return row


def _around(truth: NDArray[np.uint8]) -> tuple[slice, slice]:
    """The label of all slices with its own size around it; the whole slice where there is none."""
    marked = truth.any(0)
    if not marked.any():
        return slice(None), slice(None)
    parts = []
    for axis in (1, 0):
        at = np.flatnonzero(marked.any(axis))
        margin = max(8, int(at[-1] - at[0]) // 2)
        parts.append(slice(max(0, int(at[0]) - margin), int(at[-1]) + 1 + margin))
    return parts[0], parts[1]


def _scale(gray: NDArray[np.uint8], mask: NDArray[np.uint8], spacing: tuple[float, float]) -> NDArray[np.uint8]:
    """To at most SIDE x SIDE square pixels by the nearest pixel, then the outline, so that it is a pixel wide."""
    height, width = gray.shape[0] * spacing[0], gray.shape[1] * spacing[1]
    rows, columns = (max(1, round(SIDE * length / max(height, width))) for length in (height, width))
    y = np.arange(rows) * gray.shape[0] // rows
    x = np.arange(columns) * gray.shape[1] // columns
    picture = gray[y][:, x].copy()
    picture[outline(mask[y][:, x])] = OUTLINE
    return picture


def _write_sheet(rows: Sequence[NDArray[np.uint8]], path: Path) -> Path:
    with atomic(path) as temporary:
        temporary.write_bytes(png(np.concatenate(rows)))
    return path
