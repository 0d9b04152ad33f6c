"""The command line: each verb parses, calls one function and prints. `--json` puts the machine-readable result on standard
output; everything meant for a person goes to standard error."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from unetq.cli.common import Data, Json, Threads, emit, note, progress, verbs
from unetq.cli.data import data_app
from unetq.errors import UserError
from unetq.spec import QuantSpec

__all__ = ["app", "main"]

app = verbs(
    "unetq",
    "Quantized U-Nets for medical image segmentation: train, export to one small file, run natively, report, view.",
)
app.add_typer(data_app, name="data")
SHOW_WARNING = warnings.showwarning


def main() -> None:
    """Runs the command line; a `UserError` is one sentence and exit code 2."""
    warnings.showwarning = _warn
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UserError as error:
        _refuse(str(error))
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except MemoryError:
        _refuse("There is not enough memory for this; try a smaller --tile or --size.")
    except OSError as error:  # a full disk or a vanished folder, wherever it shows
        _refuse(f"{error.filename or 'A file'} cannot be read or written: {error.strerror or error}.")
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors: unknown option, missing argument
            _refuse(error.format_message())
        raise


def _warn(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """A warning to the user is a sentence, without the line of code that it comes from."""
    if issubclass(category, UserWarning):
        note.print(f"unetq: {message}", markup=False, soft_wrap=True)
    else:
        SHOW_WARNING(message, category, *where, **more)


def _refuse(sentence: str) -> None:
    if sentence:  # a verb's group without a verb has shown its help already
        note.print(f"unetq: {sentence}", markup=False, soft_wrap=True)
    sys.exit(2)


@app.command()
def train(
    dataset: Annotated[
        str, typer.Option("--dataset", help="em, gm, nih, or a folder in the nnU-Net raw format.")
    ] = "em",
    wbits: Annotated[int | None, typer.Option(help="Bits of a weight, 1 to 8; 32 = float.")] = None,
    abits: Annotated[int | None, typer.Option(help="Bits of an activation, 1 to 8; 32 = float.")] = None,
    quantizer: Annotated[
        str | None, typer.Option(help="fixed (default), lsq, ternary, binary, ternarynet or float.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="YAML file or preset; default: the data set's own.")] = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default: runs/<dataset>-<setting>.")] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="Float run to start from; else a float twin is trained first.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the configuration's.")] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Which split of the data set, in place of 0.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this unfinished run, to the same weights.")] = None,
    as_json: Json = False,
) -> None:
    """Train a network: float first, then quantized; the test split is scored once, with the checkpoint of validation."""
    from unetq.data_prep.registry import preset, resolve
    from unetq.train import loop
    from unetq.train.config import load_config

    options = loop.TrainOptions(init_from=init_from)
    given_bits = (quantizer, wbits, abits) != (None, None, None)
    try:
        if resume is not None:
            result = loop.resume(resume, options)
        else:
            # What is written wrong is said before any data is prepared.
            quant = QuantSpec.of(quantizer or "fixed", wbits, abits) if given_bits else None
            wanted = load_config(config) if config else None
            name, folder = resolve(dataset, data)
            wanted = wanted or load_config(preset(name))
            quant = quant or wanted.net.quant
            wanted = replace(wanted, dataset=name, net=replace(wanted.net, quant=quant))
            given: dict[str, Any] = {"seed": seed, "fold": fold, "init": "float" if init_from else None}
            wanted = replace(wanted, **{key: value for key, value in given.items() if value is not None})
            run = out or Path("runs") / f"{name}-{quant.label.replace(' ', '-')}"
            result = loop.train(wanted, folder, run, options)
    except KeyboardInterrupt as stop:  # the run is saved, and the sentence says how to go on
        note.print(str(stop) or "Stopped.", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        return
    scored = result.test["dice"]
    emit(
        result.to_json(),
        as_json,
        f"{result.run}: test Dice {scored['mean']:.4f} ± {scored['std']:.4f} over {len(scored['per_case'])} cases, "
        f"best validation Dice {result.best_val_dice:.4f}, {result.seconds:.0f} s",
    )


@app.command()
def evaluate(
    target: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="Run folder or model file.")],
    dataset: Annotated[str | None, typer.Option(help="Default: the one it was trained on.")] = None,
    data: Data = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    engine: Annotated[str, typer.Option(help="native, reference or torch.")] = "native",
    as_json: Json = False,
) -> None:
    """Score a run or a model file on a split: Dice per case."""
    from unetq.pipeline import evaluate_model

    result = evaluate_model(target, dataset, data, split, engine)
    dice = result["dice"]
    line = f"{target}, {result['dataset']} {split}, {engine}: Dice {dice['mean']:.6f} ± {dice['std']:.4f}"
    emit(result, as_json, f"{line} over {result['n_cases']} cases ({result['n_empty']} empty)")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="Run folder; or a model file, to ONNX.")],
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: RUN/model.gguf or .onnx.")] = None,
    to: Annotated[
        str, typer.Option("--format", help="gguf: for our runtime; onnx, in float, or onnx-int8: for other engines.")
    ] = "gguf",
    size: Annotated[
        str | None, typer.Option(help="ONNX: height x width in pixels; default: a tile of the model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run's network to one small file for the native runtime, or as ONNX for others."""
    from unetq.pipeline import export_onnx, export_run
    from unetq.runtime.bench import parse_size
    from unetq.runtime.model import open_model

    if to != "gguf":
        written = export_onnx(run, out, to, None if size is None else parse_size(size))
        line = f"{written['file']}: {written['bytes_file']:,} bytes, for an image of {written['size']}"
        return emit(written, as_json, line)
    if size is not None:
        raise UserError("A model file takes images of any size: --size is for ONNX.")
    path = export_run(run, out or run / "model.gguf")
    result = open_model(path).info()
    share = result["bytes_float32"] / result["bytes_file"]
    return emit(result, as_json, f"{path}: {result['bytes_file']:,} bytes, 1/{share:.2f} of the float32 network")


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    memory: Annotated[str | None, typer.Option("--memory", help="Show what an image of HEIGHTxWIDTH takes.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a model file holds: provenance, bits, nominal and honest bytes per layer; and what a run of it takes."""
    from unetq.report.tables import info_table, memory_table
    from unetq.runtime.bench import parse_size
    from unetq.runtime.footprint import footprint
    from unetq.runtime.model import open_model

    opened = open_model(model)
    result = opened.info()
    taken = footprint(opened, *parse_size(memory)) if memory else None
    if as_json:
        return emit(result | ({"memory": taken} if taken else {}), True)
    note.print(info_table(result, opened.meta))
    if taken:
        note.print(memory_table(taken))
    return None


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL|RUN", help="Model file, or run folder.")],
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="TIFF, PNG, JPEG, NIfTI, or a DICOM series' folder.")],
    out: Annotated[Path, typer.Option("--out", help="Mask to write, in the input's own format and geometry.")],
    threads: Threads = 0,
    tile: Annotated[int | None, typer.Option(help="Side of a tile in pixels, in place of the model's own.")] = None,
    spacing: Annotated[float | None, typer.Option(help="mm of a pixel, in place of what the file says.")] = None,
    engine: Annotated[str, typer.Option(help="native, or torch: a run's checkpoint, also a float one.")] = "native",
    as_json: Json = False,
) -> None:
    """Segment a study, with the native runtime or, from a run's checkpoint, with torch."""
    from unetq.pipeline import predict_study
    from unetq.runtime.predict import PredictOptions

    with progress("predict") as advance:
        result = predict_study(model, (image, out), PredictOptions(threads, tile, spacing), engine, advance)
    voxels = ", ".join(f"{n} x {label}" for label, n in result["voxels_per_label"].items())
    emit(
        result, as_json, f"{out}: {voxels}; {result['seconds']:.2f} s, peak {result['peak_rss_bytes'] / 2**20:.0f} MiB"
    )


@app.command()
def uncertainty(
    model: Annotated[Path, typer.Argument(metavar="MODEL|RUN", help="Model file, or run folder.")],
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="TIFF, PNG, JPEG, NIfTI, or a DICOM series' folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for probability.nii.gz and entropy.nii.gz; 255 = 1.")],
    flips: Annotated[bool, typer.Option("--flips", help="Average over mirror images: 4 times as long.")] = False,
    engine: Annotated[str, typer.Option(help="native, reference or torch.")] = "native",
    as_json: Json = False,
) -> None:
    """Write how sure a network is of each voxel: probability of the foreground, and entropy."""
    from unetq.pipeline import uncertainty_study

    with progress("uncertainty") as advance:
        result = uncertainty_study(model, (image, out), flips, engine, advance)
    emit(result, as_json, f"{result['probability']}, {result['entropy']}")


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    size: Annotated[str, typer.Option(help="Height x width in pixels.")] = "512x512",
    threads: Threads = 1,
    repeats: Annotated[int, typer.Option(min=3, help="Timed runs after the warm-up.")] = 15,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers", help="In turns with OpenVINO, ONNX Runtime and torch, float and int8, where installed."
        ),
    ] = False,
    cap_isa: Annotated[str | None, typer.Option(help="Hold all to older instructions: avx2, avx512vnni.")] = None,
    as_json: Json = False,
) -> None:
    """Time a model file: median and spread, kernel, ms and GMAC/s per layer, peak memory of a fresh process."""
    from unetq.peers.contenders import cap
    from unetq.report.tables import bench_table, peers_table
    from unetq.runtime.bench import bench as run_bench
    from unetq.runtime.bench import parse_size

    pixels = parse_size(size)
    if peers:
        from unetq.peers.race import RaceOptions, bench_peers

        with progress("bench") as advance:
            result = bench_peers(model, RaceOptions(pixels, threads, repeats, cap_isa), advance)
    else:
        result = run_bench(model, pixels, threads, repeats, cap(cap_isa))
    if as_json:
        return emit(result, True)
    note.print(bench_table(result))
    if peers:
        note.print(peers_table(result))
    return None


@app.command()
def tune(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    size: Annotated[str | None, typer.Option(help="Height x width in pixels; default: a tile of the model.")] = None,
    threads: Threads = 0,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="File for the times; default: $UNETQ_TIMINGS, or below ~/.cache.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Time the kernels that could run each layer on this machine; later runs of that size take the fastest."""
    from unetq.report.tables import tune_table
    from unetq.runtime.bench import parse_size
    from unetq.runtime.tune import tune as run_tune

    with progress("tune") as advance:
        result = run_tune(model, parse_size(size) if size else None, threads, cache, advance)
    if as_json:
        return emit(result, True)
    note.print(tune_table(result))
    return None


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for table.csv, runs.csv, table.json and index.html.")],
    data: Data = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the latency column.")] = 1,
    max_loss: Annotated[float, typer.Option(help="Points of Dice that a recommended setting may lose.")] = 1.0,
    max_memory: Annotated[float, typer.Option(help="MB that its parameters may take, honest.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Put runs, pooled over folds and seeds, into one table, plot and page: Dice against memory and latency."""
    from unetq.pipeline import report_runs
    from unetq.report.recommend import Limits

    limits = Limits(max_loss, max_memory)
    with progress("export and time") as advance:
        result = report_runs(runs, out, data, threads, advance, limits)
    if as_json:
        return emit(result, True)
    _show_report(result, out / "index.html")
    return None


def _show_report(result: dict[str, Any], page: Path) -> None:
    from unetq.report.tables import rich_table

    note.print(rich_table(result["rows"]))
    sentences = [*(advice["sentence"] for advice in result["recommended"].values()), *result["left_out"]]
    for line in (*sentences, str(page)):
        note.print(line, markup=False, soft_wrap=True)


@app.command()
def sweep(
    dataset: Annotated[str, typer.Option("--dataset", help="Names, or prepared folders.")] = "em",
    settings: Annotated[str, typer.Option(help="float, WxAy, ternarynet, ternary, binary.")] = "float,W4A6,ternarynet",
    quantizer: Annotated[str, typer.Option(help="fixed, lsq, or both, of the WxAy settings.")] = "fixed",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds: 0, 1, ...")] = 1,
    folds: Annotated[str, typer.Option(help="Numbers, all, or tests = one for each test split.")] = "tests",
    config: Annotated[str | None, typer.Option(help="One for all data sets, or one each; default: their own.")] = None,
    data: Data = None,
    out: Annotated[Path, typer.Option(help="Folder of runs and report; the same one goes on.")] = Path("runs/sweep"),
    workers: Annotated[int, typer.Option(min=0, help="Trainings at a time; 0 = one a GPU, or for every 4 cores.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Of each training; 0 = the cores shared out.")] = 0,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster, or local, in place of processes.")] = None,
    as_json: Json = False,
) -> None:
    """Train every setting on every data set (lists with commas), then report; what is finished is not trained again."""
    from unetq.sweep.plan import SweepSpec, names, parse_folds
    from unetq.sweep.sweep import SweepOptions
    from unetq.sweep.sweep import sweep as run_sweep

    lists = (names(dataset), names(settings), names(quantizer))
    spec = SweepSpec(*lists, seeds, parse_folds(folds), names(config or ""), data, out)
    try:
        result = run_sweep(spec, SweepOptions(workers, threads, ray))
    except KeyboardInterrupt as stop:
        note.print(str(stop) or "Stopped.", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if result["report"] and not as_json:
        _show_report(result, Path(result["report"]))
    failed = [f"{run} failed: {said}" for run, said in result["failed"].items()]
    emit(result, as_json, *failed, f"{len(result['done'])} of {result['total']} runs are finished.")
    raise typer.Exit(1 if failed else 0)


@app.command()
def view(
    folder: Annotated[
        list[Path] | None, typer.Argument(help="Folders with model files, runs or reports; default: ./runs.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Studies below it may be opened; else $UNETQ_DATA, ./data, or here.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Folder of reviews, corrections and audit log; default: ~/.local/share/unetq.")
    ] = None,
    port: Annotated[int, typer.Option(help="TCP port.")] = 8501,
    address: Annotated[
        str, typer.Option(help="Another one than 127.0.0.1 needs --password or --proxy-header.")
    ] = "127.0.0.1",
    password: Annotated[
        Path | None, typer.Option(help="File with the password's hash; asked for and made if new.")
    ] = None,
    proxy_header: Annotated[str, typer.Option(help="HTTP header in which a reverse proxy names the user.")] = "",
    upload: Annotated[int, typer.Option(min=1, help="MB that an upload may have.")] = 1024,
) -> None:
    """Open the viewer in the browser, on this machine only unless a password or a proxy guards it."""
    from unetq.app.launch import Server, launch
    from unetq.app.settings import Settings, default_store

    models = folder or [path for path in (Path("runs"),) if path.is_dir()]
    default = next((path for path in (Path(os.environ.get("UNETQ_DATA") or "data"),) if path.is_dir()), Path())
    settings = Settings(tuple(models), data or default, store or default_store(), password, proxy_header)
    launch(Server(address, port, upload, settings))
