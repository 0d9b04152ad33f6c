"""Float networks beside the native ones: torch runs them in a process of its own, because the viewer itself never reads it."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
import yaml
from numpy.typing import NDArray

from unetq.app.inference import Result, Results, Step, largest_tile
from unetq.app.study import Study
from unetq.cost import net_cost
from unetq.errors import UserError
from unetq.graph import layout
from unetq.image.read import read_mask
from unetq.image.segment import network_stack, turned
from unetq.report.words import NONE, show_bytes, show_dice
from unetq.runtime.memory import available_bytes
from unetq.runtime.meta import Label
from unetq.spec import NetSpec, PrepSpec, from_mapping

__all__ = ["CHECKPOINT", "ENGINE", "find_float_runs", "run_card", "segment_float", "uncertainty_float"]

CHECKPOINT = "best.pt"
ENGINE = "torch, float32"
POLL = 0.2  # seconds between two looks at the process
# Upper bounds, as seen with networks of base 16 to 64 at 512 x 512: a process with torch before it works, and how many times
# over it holds the activations that the plan counts.
TORCH_BYTES, HELD = 350 << 20, 4
STEP = re.compile(r"(\d+)/(\d+)")  # as `unetq.cli.common.progress` writes it


def find_float_runs(folders: Sequence[Path]) -> list[Path]:
    """Checkpoints of the float runs in the folders and below; [] where torch is not installed."""
    if find_spec("torch") is None:
        return []
    found = {path: None for folder in folders if folder.is_dir() for path in sorted(folder.rglob(CHECKPOINT))}
    return [path for path in found if _about(path.parent)[0].get("weights") == "float"]


def segment_float(checkpoint: Path, study: Study, results: Results, on_tile: Step | None = None) -> Result:
    """Segments a study with a float run by `unetq predict --engine torch`, or takes the kept result.

    Args:
        checkpoint: best.pt of a run.
        study: an opened study; it goes to the process as a temporary NIfTI.
        results: where results are kept.
        on_tile: called with (tiles done, tiles in all) as the process says them; what it raises stops the process.

    Raises:
        UserError: too little memory even for small tiles, or what the process says.
    """
    kept = results.get(study, checkpoint)
    if kept is not None:
        return kept
    prep, warning = _fitting(checkpoint, study)
    with _handed(checkpoint, study) as image:
        mask = image.with_name("mask.nii")
        words = ["predict", str(checkpoint.parent), str(image), "--out", str(mask), "--tile", str(prep.tile)]
        said = _said(words, on_tile)
        labels = tuple(Label(**label) for label in said["labels"])
        result = Result(
            (study.hash, _hash(checkpoint, checkpoint.stat().st_mtime_ns)),
            read_mask(mask),
            float(said["inference_seconds"]),
            int(said["peak_rss_bytes"]),
            labels,
            checkpoint.stat().st_size,
            ENGINE,
            "W32A32",
            warning,
        )
    results.put(checkpoint, result)
    return result


def uncertainty_float(
    checkpoint: Path, study: Study, flips: bool, on_tile: Step | None = None
) -> dict[str, NDArray[np.uint8]]:
    """How sure a float run is of each voxel, by `unetq uncertainty --engine torch`; the rest as of `inference.uncertainty`.

    Raises:
        UserError: too little memory for the run's own tiles, or what the process says.
    """
    _, warning = _fitting(checkpoint, study)
    if warning:
        raise UserError(f"{warning.split(':')[0]}: close other programs, or ask a quantized model how sure it is.")
    with _handed(checkpoint, study) as image:
        words = ["uncertainty", str(checkpoint.parent), str(image), "--out", str(image.parent)]
        said = _said([*words, "--flips"] if flips else words, on_tile)
        return {name: read_mask(said[name.lower()]) for name in ("Probability", "Entropy")}


def run_card(checkpoint: Path) -> dict[str, str]:
    """Heading -> words of a float run's card; what it does not say is not there."""
    run = checkpoint.parent
    try:
        test = json.loads((run / "test.json").read_text(encoding="utf-8"))["dice"]
        dice = f"{show_dice(test['mean'], test['std'])} over {len(test['per_case'])} held-out cases"
    except (OSError, ValueError, KeyError, TypeError):
        dice = NONE
    return {
        "Intended use": "Research use only, not a medical device.",
        "Trained on": str(_config(run).get("dataset") or "Not said in the run."),
        "Dice": dice,
        "Bits": "32-bit floats, not quantized",
        "Size": show_bytes(checkpoint.stat().st_size),
        "Runs in": "torch, a process of its own",
        "Hash": _hash(checkpoint, checkpoint.stat().st_mtime_ns),
    }


def _fitting(checkpoint: Path, study: Study) -> tuple[PrepSpec, str]:
    """As `inference.fitting`, for the process that torch runs in."""
    name, config = checkpoint.parent.name, _config(checkpoint.parent)
    net = from_mapping(NetSpec, config["net"], name)
    prep = from_mapping(PrepSpec, config["prep"], name)
    graph = layout(net)
    _, size = network_stack(turned([study.volume], prep)[0], prep)

    def check(tile: int) -> None:
        window = (min(size[0], tile), min(size[1], tile))
        needed, free = TORCH_BYTES + HELD * net_cost(graph, window).peak_activation_bytes, available_bytes()
        if needed > free:
            raise UserError(
                f"{name} in float may need {needed / 2**20:.0f} MiB of memory with tiles of {tile} pixels, but "
                f"{free / 2**20:.0f} MiB are free: close other programs, or take a quantized model."
            )

    return largest_tile(prep, 1 << net.depth, check)


@contextmanager
def _handed(checkpoint: Path, study: Study) -> Iterator[Path]:
    """The study as a temporary NIfTI for the process."""
    if _about(checkpoint.parent)[1].get("spacing") and not study.volume.knows_spacing:
        raise UserError(
            f"{study.name} says no pixel size, but {checkpoint.parent.name} works at one: it cannot run here."
        )
    with tempfile.TemporaryDirectory(prefix="unetq-") as name:
        image, array = Path(name) / "study.nii", study.volume.array
        plain = array if array.dtype.itemsize <= 4 and array.dtype.kind in "iuf" else array.astype(np.float64)
        nib.save(nib.Nifti1Image(plain.T, study.volume.affine), image)
        yield image


def _said(words: list[str], on_tile: Step | None) -> dict[str, Any]:
    """What a verb says of its work with torch."""
    return _finished([sys.executable, "-P", "-m", "unetq.cli", *words, "--engine", "torch", "--json"], on_tile)


def _finished(command: list[str], on_tile: Step | None) -> dict[str, Any]:
    """What a verb says in JSON when it has ended; it is stopped when `on_tile` raises."""
    heard = _Heard()
    environment = {**os.environ, "UNETQ_PROGRESS": "lines"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    )
    atexit.register(process.kill)  # a server that is stopped takes its thread away without a word
    pipes = process.stdout, process.stderr
    listeners = [threading.Thread(target=heard.listen, args=(pipe,), daemon=True) for pipe in pipes]
    try:
        for listener in listeners:
            listener.start()
        while True:
            if on_tile:
                on_tile(*heard.step)
            try:
                process.wait(POLL)
                break
            except subprocess.TimeoutExpired:
                continue
    finally:
        process.kill()
        process.wait()
        atexit.unregister(process.kill)
        for listener in listeners:
            listener.join()
    out, told = (heard.lines[pipe] for pipe in pipes)
    if process.returncode:
        words = [line.strip() for line in told if line.strip()]
        raise UserError(words[-1].removeprefix("unetq: ") if words else "The float network's process was stopped.")
    said: dict[str, Any] = json.loads("".join(out))
    return said


class _Heard:
    """What a process says, read in threads so that neither pipe fills up.

    Attributes:
        step: (tiles done, tiles in all).
        lines: by pipe, without those on the step.
    """

    def __init__(self) -> None:
        self.step = (0, 1)
        self.lines: defaultdict[IO[str] | None, list[str]] = defaultdict(list)

    def listen(self, pipe: IO[str]) -> None:
        """Reads a pipe to its end."""
        with pipe:
            for line in pipe:
                found = STEP.fullmatch(line.strip())
                if found:
                    self.step = int(found[1]), max(int(found[2]), 1)
                else:
                    self.lines[pipe].append(line)


def _config(run: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _about(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Quantizer and preparation of a run; empty where its configuration is not readable."""
    config = _config(run)
    net, prep = config.get("net"), config.get("prep")
    quant = net.get("quant") if isinstance(net, dict) else None
    return quant if isinstance(quant, dict) else {}, prep if isinstance(prep, dict) else {}


@cache
def _hash(checkpoint: Path, changed: int) -> str:
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest()
