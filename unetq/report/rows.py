"""Numbers for tables: one row a setting (pooled over folds and seeds), and one row a run."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from unetq.cost import net_cost
from unetq.errors import UserError
from unetq.graph import layout
from unetq.report.collect import RunRecord
from unetq.report.pool import Setting, delta, spread
from unetq.spec import SCHEMES

__all__ = ["Row", "image_size", "row_of", "run_rows"]

Row = dict[str, Any]
MEASURES = ("dice", "hd95_mm", "volume_error")


def row_of(setting: Setting, reference: Setting) -> Row:
    """The numbers of one setting; None where something was not measured.

    Bytes are bytes, times are ms, Dice is 0 to 1, distances are mm, a volume error is a share of the true volume.
    `dice_delta` is the mean difference to the reference, case by case, between runs of one fold and seed;
    `val_delta` is the same on the validation cases.
    """
    first = setting.runs[0]
    dice, difference = spread(setting), delta(setting, reference)
    validation = delta(setting, reference, split="val")
    assert dice is not None  # `read_run` refuses a run without a case
    names = list(dict.fromkeys(name for run in setting.runs for name in run.test.get("classes") or {}))
    return {
        "run": "; ".join(str(run.folder) for run in setting.runs),
        "label": setting.label,
        "dataset": first.dataset,
        "split": first.test["split"],
        **_quantization(first),
        "n_runs": len(setting.runs),
        "folds": setting.folds,
        "seeds": setting.seeds,
        "n_cases": dice.n,
        "n_empty": sum(run.test.get("n_empty", 0) for run in setting.runs),
        "dice_mean": dice.mean,
        "dice_std": dice.std,
        "dice_std_over": dice.std_over,
        "dice_low": dice.low,
        "dice_high": dice.high,
        "dice_delta": difference.mean if difference else None,
        "dice_delta_low": difference.low if difference else None,
        "dice_delta_high": difference.high if difference else None,
        "n_pairs": difference.n_pairs if difference else None,
        "val_delta": validation.mean if validation else None,
        "classes": {name: {m: _measure(setting, reference, "classes", name, m) for m in MEASURES} for name in names},
        "v_rand": _measure(setting, reference, "v_rand"),
        **_cost(setting),
    }


def run_rows(setting: Setting, reference: Setting) -> list[Row]:
    """The numbers of each run of a setting, with where they come from; scores as its test.json has them."""
    partners = {(run.fold, run.seed): run for run in reference.runs if setting is not reference}
    return [_run_row(setting, run, partners.get((run.fold, run.seed))) for run in setting.runs]


def _run_row(setting: Setting, run: RunRecord, partner: RunRecord | None) -> Row:
    test, dice = run.test, run.test["dice"]
    differences = [run.per_case[case] - partner.per_case[case] for case in run.per_case] if partner else []
    measures = {
        name: {m: _mean(values.get(m)) for m in MEASURES} for name, values in (test.get("classes") or {}).items()
    }
    return {
        "run": str(run.folder),
        "label": setting.label,
        "dataset": run.dataset,
        "split": test["split"],
        "fold": run.fold,
        "seed": run.seed,
        **_quantization(run),
        "n_cases": test["n_cases"],
        "n_empty": test.get("n_empty", 0),
        "dice_mean": dice["mean"],
        "dice_std": dice["std"],
        "dice_delta": statistics.fmean(differences) if differences else None,
        "val_dice": _mean(run.val.get("dice")),
        "classes": measures,
        "v_rand": _mean(test.get("v_rand")),
        **_cost(Setting(setting.label, (run,))),
        "engine": test["engine"],
        "commit": run.environment.get("commit"),
        "data_hash": run.data_hash,
        "test_openings": run.test_openings,
        "train_seconds": test.get("train_seconds"),
    }


def _mean(measure: Mapping[str, Any] | None) -> float | None:
    return measure.get("mean") if measure else None


def image_size(bench: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of a bench result, whether written as "512x512" or as a list; 512x512 where nothing was timed."""
    size = bench.get("size", "512x512")
    numbers = re.findall(r"\d+", size) if isinstance(size, str) else list(size)
    if len(numbers) != 2:
        raise UserError(f"bench.json has the size {size!r}, but it must be height x width.")
    return int(numbers[0]), int(numbers[1])


def _quantization(run: RunRecord) -> Row:
    quant = run.net.quant
    pair = (quant.weights, quant.acts)
    scheme = next((name for name, schemes in SCHEMES.items() if schemes == pair), f"{quant.weights}/{quant.acts}")
    return {"quantizer": scheme, "wbits": quant.wbits, "abits": quant.abits}


def _measure(setting: Setting, reference: Setting, *measure: str) -> Row | None:
    """mean, std, std_over, low, high, n and delta {mean, low, high, n_pairs} of a measure, or None where no run has it."""
    found, difference = spread(setting, *measure), delta(setting, reference, *measure)
    return {**asdict(found), "delta": asdict(difference) if difference else None} if found else None


def _cost(setting: Setting) -> Row:
    """Memory and time: the same network in all runs; the median of those that were timed alike."""
    benches = [run.bench for run in setting.runs if run.bench]
    sizes = [image_size(bench) for bench in benches]
    first: Mapping[str, Any] = benches[0] if benches else {}
    size = sizes[0] if sizes else image_size({})
    alike = [
        bench
        for bench, other in zip(benches, sizes)
        if other == size and all(bench.get(key) == first.get(key) for key in ("isa", "threads"))
    ]
    files = [run.model_bytes for run in setting.runs if run.model_bytes]
    cost = net_cost(layout(setting.runs[0].net), size)
    return {
        "parameters": cost.parameters,
        "bytes_float32": cost.bytes_float32,
        "bytes_nominal": cost.bytes_nominal,
        "bytes_honest": cost.bytes_honest,
        "bytes_file": max(files) if files else None,
        "peak_activation_bytes": cost.peak_activation_bytes,
        "peak_rss_bytes": _median(alike, "peak_rss_bytes"),
        "ms_median": _median(alike, "ms_median"),
        "size": f"{size[0]}x{size[1]}",
        "isa": first.get("isa"),
        "threads": first.get("threads"),
    }


def _median(benches: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [bench[key] for bench in benches if bench.get(key)]
    return statistics.median(values) if values else None
