"""`unetq data ...`: fetch, prepare, make up and check data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unetq.cli.common import Json, emit, note, progress, verbs

__all__ = ["data_app"]

data_app = verbs(None, "Fetch and prepare data sets, check them, or make phantom studies to try things with.")
NAMES = "em, gm or nih"


@data_app.command("prepare")
def data_prepare(
    dataset: Annotated[str, typer.Argument(help=f"{NAMES}; or folder, for pairs of images and masks of your own.")],
    source: Annotated[Path, typer.Argument(help="Folder of the data set's own files, or of images/ and masks/.")],
    out: Annotated[
        Path | None, typer.Option(help="Prepared folder to make; default: the cache beside the source.")
    ] = None,
    white_matter: Annotated[bool, typer.Option("--white-matter", help="gm: white matter as label 2.")] = False,
    subject: Annotated[
        str | None, typer.Option(help="folder: regular expression that finds the subject in a file's name.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="folder: VALUE=NAME in the masks, once a label, like 255=lesion.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="folder: name of the data set; default: the folder's.")] = None,
    as_json: Json = False,
) -> None:
    """Turn a data set's own files into the nnU-Net raw format, split by subject or block."""
    from unetq.data_prep import registry
    from unetq.data_prep.folder import FolderOptions, parse_labels

    options = FolderOptions(subject, parse_labels(label or []), name)
    folder = registry.prepare(dataset, source, out, registry.PrepareOptions(white_matter, options))
    emit({"dataset": dataset, "folder": str(folder)}, as_json, f"Prepared {dataset} in {folder}")


@data_app.command("phantom")
def data_phantom(
    dataset: Annotated[str, typer.Argument(help=NAMES)],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    cases: Annotated[int, typer.Option(min=1, help="Studies (em: slices).")] = 30,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    as_json: Json = False,
) -> None:
    """Write made-up studies in a data set's own on-disk layout."""
    from unetq.data_prep.phantom import phantom

    phantom(dataset, out, cases, seed)
    result = {"dataset": dataset, "folder": str(out), "cases": cases, "seed": seed}
    emit(result, as_json, f"Wrote {cases} {dataset} phantoms to {out}")


@data_app.command("fetch")
def data_fetch(
    dataset: Annotated[str, typer.Argument(help=NAMES)],
    out: Annotated[Path | None, typer.Option(help="Folder; default: data/<dataset>.")] = None,
    as_json: Json = False,
) -> None:
    """Download a data set from its official place, verified and resumed; or say what to download by hand."""
    from unetq.data_prep.fetch import fetch

    with progress(f"fetch {dataset}") as advance:
        files = fetch(dataset, out or Path("data") / dataset, advance)
    result = {"dataset": dataset, "files": [str(path) for path in files]}
    emit(result, as_json, f"{files[0]}" + (f" and {len(files) - 1} more are there" if len(files) > 1 else " is there"))


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="Prepared folder, or a data set's own files.")],
    dataset: Annotated[str | None, typer.Option(help=f"{NAMES}; default: what the folder holds.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for montages and check.json.")] = Path("data-check"),
    as_json: Json = False,
) -> None:
    """Show what each case holds, and pictures with the mask outlined: whether the masks sit right is seen at once."""
    from unetq.data_prep.check import check, check_table
    from unetq.data_prep.registry import recognise

    with progress("check") as advance:
        result = check(recognise(folder, dataset), out, advance)
    if as_json:
        return emit(result, True)
    note.print(check_table(result))
    sheets = [f"{path}, from the top: {', '.join(cases)}" for path, cases in result["montages"].items()]
    for line in (*result["remarks"], *sheets, str(out / "check.json")):
        note.print(line, markup=False, soft_wrap=True)
    return None
