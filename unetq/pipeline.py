"""What the command line's verbs compose of the floors below: a run with its export, its evaluation and its timing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.data_prep.registry import DATASETS, locate
from unetq.errors import UserError, nearest
from unetq.files import atomic_text, make_folder
from unetq.graph import layout
from unetq.image.read import read, write_mask
from unetq.image.segment import network_stack, segment, turned
from unetq.image.sure import sure_maps
from unetq.image.tiles import tile_count
from unetq.image.volume import Volume
from unetq.report.recommend import Limits
from unetq.runtime.dataset import Dataset
from unetq.runtime.evaluate import Predictor, evaluate
from unetq.runtime.meta import Label, ModelMeta
from unetq.runtime.model import open_model
from unetq.runtime.predict import PredictOptions, predict_file, segment_file
from unetq.runtime.reference import run_reference
from unetq.spec import NetSpec, PrepSpec

__all__ = [
    "ENGINES",
    "complete_run",
    "evaluate_model",
    "export_onnx",
    "export_run",
    "find_images",
    "predict_study",
    "report_runs",
    "uncertainty_study",
]

ONNX_FORMS = ("onnx", "onnx-int8")
ENGINES = ("native", "reference", "torch")
BENCH_SIZE = (512, 512)
# Odd, so that cut windows and edges are in the check of an export.
CHECK_SIZE = (93, 77)
INTENDED_USE = "Research use only, not a medical device."


def export_run(run: Path, out: Path) -> Path:
    """Writes a run's checkpoint as a model file, with where it comes from, and checks it against torch and the reference.

    Raises:
        UserError: no checkpoint, a network that only torch can run, or `out` cannot be written.
        RuntimeError: the written file computes something else than the network: a fault of unetq.
    """
    from unetq.deploy.export import export
    from unetq.deploy.parity import compare
    from unetq.train.evaluate import load_run

    model, config = load_run(run)
    environment, val, test = (_json(run / name) for name in ("environment.json", "val.json", "test.json"))
    data = environment.get("data", {})
    provenance = {
        "dataset": config.dataset,
        "data_hash": data.get("hash"),
        "setting": config.net.quant.label,
        "fold": config.fold,
        "seed": config.seed,
        "commit": environment.get("commit"),
        "packages": environment.get("packages"),
        "val_dice": val.get("dice"),
        "test_dice": test.get("dice"),
    }
    meta = ModelMeta(config.prep, _labels(data.get("folder")), provenance, INTENDED_USE)
    export(model, meta, out)
    image = np.random.default_rng(0).standard_normal((config.net.in_channels, *CHECK_SIZE), dtype=np.float32)
    parity = compare(model, open_model(out), [image])
    if not parity.kept:
        raise RuntimeError(f"{out} does not compute what {run} does: {parity}; please report this.")
    return out


def export_onnx(target: Path, out: Path | None, form: str, size: tuple[int, int] | None) -> dict[str, Any]:
    """Writes a run's network, or a model file's, for other engines.

    Args:
        target: run folder or model file.
        out: file to write; default: model.onnx in the run, or beside the model file under its name.
        form: one of `ONNX_FORMS`.
        size: (height, width) of the image; default: a tile of the model.

    Returns:
        {file, format, size, bytes_file}

    Raises:
        UserError: unknown form, no such run or file, a float network as int8, or the package onnx is missing.
    """
    from unetq.deploy import onnx

    if form not in ONNX_FORMS:
        raise UserError(f'There is no format "{form}": {nearest(form, ("gguf", *ONNX_FORMS))}')
    out = out or (target / "model.onnx" if target.is_dir() else target.with_suffix(".onnx"))
    layers: Mapping[str, Any] = {}
    if target.is_dir():
        from unetq.deploy.lower import fold, lower
        from unetq.train.evaluate import load_run

        model, config = load_run(target)
        graph, tile = model.graph, config.prep.tile
        if form == "onnx":
            layers = fold(model)
        else:
            graph = lower(model)
    else:
        opened = open_model(target)
        graph, tile = opened.graph, opened.meta.prep.tile
        layers = onnx.float_layers(graph)
    size = size or (tile, tile)
    if form == "onnx":
        onnx.write_float(graph, layers, size, out)
    else:
        onnx.write_int8(graph, onnx.Int8Form(size), out)
    return {"file": str(out), "format": form, "size": f"{size[0]}x{size[1]}", "bytes_file": out.stat().st_size}


def evaluate_model(target: Path, dataset: str | None, data: Path | None, split: str, engine: str) -> dict[str, Any]:
    """Scores a run or a model file on a split, through one of `ENGINES`; an opening of a run's test split is recorded.

    Raises:
        UserError: unknown engine, no such run or file, or data that does not fit.
    """
    if engine not in ENGINES:
        raise UserError(f'There is no engine "{engine}": {nearest(engine, ENGINES)}')
    if not target.exists():
        raise UserError(f"There is no run or model file {target}.")
    predictor, prep, trained = _engine(target, engine)
    name = dataset or str(trained.get("dataset", ""))
    own = None if dataset or data or name in DATASETS else _trained_on(target)
    opened = Dataset.open(own or locate(name, data), int(trained.get("fold", 0)))
    if target.is_dir() and split == "test":
        from unetq.train.runlog import record_test_opening

        record_test_opening(target, engine)
    return evaluate(predictor, prep, opened, split, engine)


def complete_run(run: Path, threads: int = 1) -> None:
    """Adds to a finished run what a report needs: model.gguf where the network can be exported, and bench.json.

    Raises:
        UserError: not a run with a checkpoint.
    """
    model, bench = run / "model.gguf", run / "bench.json"
    if bench.is_file() and (model.is_file() or not (run / "best.pt").is_file()):
        return  # without a checkpoint it is the record of a run elsewhere: its numbers are what there is
    from unetq.train.bench import bench_run
    from unetq.train.evaluate import load_run

    exportable = layout(load_run(run)[1].net).is_integer
    if exportable and not model.is_file():
        export_run(run, model)
    if not bench.is_file():
        from unetq.runtime.bench import bench as bench_model

        timed = bench_model(model, BENCH_SIZE, threads=threads) if exportable else bench_run(run, BENCH_SIZE, threads)
        timed["bytes_file"] = model.stat().st_size if exportable else None
        atomic_text(bench, json.dumps(timed, indent=1) + "\n")


def report_runs(
    runs: Sequence[Path],
    out: Path,
    data: Path | None = None,
    threads: int = 1,
    advance: Callable[[int, int], None] | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Exports and times a run of each setting that is not yet, then writes the report of all of them into `out`.

    Args:
        runs: finished runs.
        out: folder of the report.
        data: folder of the test images, in place of the one that each run recorded.
        threads: of the latency column.
        advance: called with (runs completed, runs).
        limits: what a recommended setting may cost.

    Raises:
        UserError: a folder is no finished run, or the runs fit no common report.
    """
    from unetq.report.collect import read_run
    from unetq.report.report import ReportOptions, report

    images = find_images(runs, data)
    settings: list[tuple[str, NetSpec]] = []
    for index, run in enumerate(runs):
        if advance:
            advance(index, len(runs))
        record = read_run(run)
        # What a network costs, it costs in every fold and seed.
        if (record.dataset, record.net) not in settings:
            settings.append((record.dataset, record.net))
            complete_run(run, threads)
    return report(runs, out, ReportOptions(data=images, limits=limits or Limits()))


def find_images(runs: Sequence[Path], data: Path | None) -> dict[str, Path]:
    """Data set -> prepared folder with its test images, for a report; {} where `data` is None: each run's own record holds.

    Raises:
        UserError: the data of one of the runs is not in the named folder.
    """
    if data is None:
        return {}
    names = dict.fromkeys(str(_json(run / "test.json").get("dataset", "")) for run in runs)
    return {name: locate(name, data) for name in names}


def predict_study(
    target: Path,
    files: tuple[Path, Path],
    options: PredictOptions,
    engine: str = "native",
    advance: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Segments a file with a model file or a run.

    Args:
        target: model file, or run folder: of its exported model.gguf, or with torch of its checkpoint, float ones too.
        files: study, and the mask to write.
        options: threads, tile, spacing.
        engine: native or torch.
        advance: called with (tiles done, tiles in all).

    Returns:
        As `unetq.runtime.predict.predict_file`, and {"engine"}; of torch also {"labels": [{name, snomed}]}.

    Raises:
        UserError: unknown engine, a target that it cannot run, or as `unetq.runtime.predict.predict_file`.
    """
    if engine not in ("native", "torch"):
        raise UserError(f'There is no engine "{engine}": {nearest(engine, ("native", "torch"))}')
    if engine == "native":
        return predict_file(_model_file(target), *files, options, advance) | {"engine": engine}
    network, prep, about = _engine(target, "torch")
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    tile, stride = options.tile or prep.tile, about["stride"]
    if tile % stride:
        raise UserError(f"The tile of {tile} pixels does not fit this network: use a multiple of {stride}.")
    if about["channels"] != 1:
        raise UserError(f"{target.name} wants {about['channels']} channels, but an image file holds one.")

    def mask_of(volume: Volume, prep: PrepSpec) -> NDArray[np.uint8]:
        depth, size = network_stack(turned([volume], prep)[0], prep)
        done, total = count(1), depth * tile_count(size, prep)
        return segment([volume], prep, network, lambda: advance(next(done), total) if advance else None)

    meta = ModelMeta(prep, _labels(_json(target / "environment.json").get("data", {}).get("folder")), {}, "")
    result = segment_file(*files, options, meta, mask_of)
    return result | {"engine": engine, "labels": [asdict(label) for label in meta.labels]}


def uncertainty_study(
    target: Path,
    files: tuple[Path, Path],
    flips: bool = False,
    engine: str = "native",
    advance: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes how sure a model file or a run is of each voxel of a study (`unetq.image.sure`).

    Args:
        target: as of `predict_study`.
        files: study, and the folder to write probability.nii.gz and entropy.nii.gz to, uint8, 255 = 1.
        flips: average over mirror images.
        engine: one of `ENGINES`.
        advance: called with (tiles done, tiles in all).

    Returns:
        {input, engine, probability, entropy}: paths of the files.

    Raises:
        UserError: unknown engine, a target that it cannot run, a study that it cannot take, or a folder not to be written.
    """
    if engine not in ENGINES:
        raise UserError(f'There is no engine "{engine}": {nearest(engine, ENGINES)}')
    source, folder = files
    network, prep, _ = _engine(target, engine)
    volume = read(source)
    maps = sure_maps([volume], prep, network, flips, advance)
    make_folder(folder)
    paths = {name.lower(): folder / f"{name.lower()}.nii.gz" for name in maps}
    for name, values in maps.items():
        write_mask(values, volume, paths[name.lower()])
    return {"input": str(source), "engine": engine, **{name: str(path) for name, path in paths.items()}}


def _model_file(target: Path) -> Path:
    path = target / "model.gguf" if target.is_dir() else target
    if target.is_dir() and not path.is_file():
        raise UserError(f"{target} has no model.gguf: write it with `unetq export {target}`.")
    return path


def _trained_on(run: Path) -> Path | None:
    """The data folder that a run recorded, for a data set that has no place of its own; None where it is gone."""
    folder = _json(run / "environment.json").get("data", {}).get("folder") if run.is_dir() else None
    return Path(folder) if folder and Path(folder).is_dir() else None


def _engine(target: Path, engine: str) -> tuple[Predictor, PrepSpec, Mapping[str, Any]]:
    """The engine as a callable, how images are prepared for it, and what is known of the network: dataset, fold, and more."""
    if engine == "torch":
        if not target.is_dir():
            raise UserError(f"{target} is a model file; the torch engine runs a run folder.")
        from unetq.train.evaluate import load_run, torch_predictor

        network, config = load_run(target)
        about = {"dataset": config.dataset, "fold": config.fold}
        about |= {"stride": 1 << config.net.depth, "channels": config.net.in_channels}
        return torch_predictor(network), config.prep, about
    model = open_model(_model_file(target))
    if engine == "native":
        return model.run, model.meta.prep, model.meta.provenance

    def reference(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(run_reference(model.graph, image)["head"], np.float32)

    return reference, model.meta.prep, model.meta.provenance


def _labels(folder: str | None) -> tuple[Label, ...]:
    """Names and SNOMED CT codes of the labels 1, 2, ... of a prepared data set."""
    about = _json(Path(folder or ".") / "dataset.json")
    codes = about.get("unetq", {}).get("snomed", {})
    named = sorted((int(value), str(name)) for name, value in about.get("labels", {"foreground": 1}).items())
    return tuple(Label(name, str(codes.get(name, ""))) for value, name in named if value > 0)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object of a run, or {} where the run has no such file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}.") from None
    return values if isinstance(values, dict) else {}
