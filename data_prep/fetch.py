"""Data sets from their official places, verified, an interrupted download gone on with; else what to do by hand.

Places: the EM challenge's archive at imagej.net (https://imagej.net/events/isbi-2012-segmentation-challenge); the labels of
Pancreas-CT at The Cancer Imaging Archive (https://www.cancerimagingarchive.net/collection/pancreas-ct/) and its DICOM series by
the archive's NBIA Search REST API (https://wiki.cancerimagingarchive.net/display/Public/NBIA+Search+REST+API+Guide).
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from unetq.data_prep.download import Advance, NetError, Remote, download, fetch_text, unpacked
from unetq.data_prep.em import LABELS as EM_LABELS
from unetq.data_prep.em import VOLUME
from unetq.data_prep.nih_series import WITHDRAWN
from unetq.errors import UserError, nearest
from unetq.files import atomic_text, make_folder
from unetq.image.read import read

__all__ = ["FETCHERS", "fetch"]

# The challenge names no checksum: the first download's is kept in `RECORD` (trust on first use), and its pages are counted.
EM_ARCHIVE = Remote("https://downloads.imagej.net/ISBI-2012-challenge.zip", "ISBI-2012-challenge.zip")
EM_PAGE = "https://imagej.net/events/isbi-2012-segmentation-challenge"
EM_SHAPE = (30, 512, 512)
# The archive names no checksum either; this one is kept by https://github.com/constantinpape/torch-em.
NIH_LABELS = Remote(
    "https://www.cancerimagingarchive.net/wp-content/uploads/TCIA_pancreas_labels-02-05-2017-1.zip",
    "TCIA_pancreas_labels-02-05-2017.zip",
    "cf8a553c37c80e3840ce7392987b308f7a98cd5f50019511b2ac0f3a54b0934b",
)
NIH_PAGE = "https://www.cancerimagingarchive.net/collection/pancreas-ct/"
GM_PAGE = "http://niftyweb.cs.ucl.ac.uk/program.php?p=CHALLENGE"
NBIA = "https://services.cancerimagingarchive.net/nbia-api/services/v1"
PATIENT, UID = re.compile(r"PANCREAS_(\d+)"), re.compile(r"[0-9.]+")
# In an answer of getImageWithMD5Hash, beside the slices.
HASHES = "md5hashes.csv"
RECORD, WORK = "fetched.json", ".fetch"


def fetch(dataset: str, out: Path, advance: Advance | None = None) -> list[Path]:
    """Downloads a data set, but for what is there already.

    Args:
        dataset: em, nih or gm.
        out: folder for its files, in the layout that `unetq data prepare` reads.
        advance: called with (done, total), in bytes or patients.

    Returns:
        What is there: files of em; of nih the folders of the patients and of the labels.

    Raises:
        UserError: it cannot be downloaded (the sentence says what to do by hand), or what arrived is not what it should be.
    """
    if dataset not in FETCHERS:
        raise UserError(f'There is no data set "{dataset}" to fetch: {nearest(dataset, FETCHERS)}')
    try:
        return FETCHERS[dataset](out, advance)
    finally:
        for folder in (out / WORK, out):
            with suppress(OSError):  # what came of a download is kept
                folder.rmdir()


def fetch_em(out: Path, advance: Advance | None) -> list[Path]:
    """`train-volume.tif` and `train-labels.tif` of the ISBI 2012 challenge."""
    wanted = [out / VOLUME, out / EM_LABELS]
    record = _record(out)
    if not any(path.exists() for path in wanted):
        known = Remote(EM_ARCHIVE.url, EM_ARCHIVE.name, record.get(EM_ARCHIVE.name))
        try:
            archive = download(known, out / WORK, advance)
        except NetError as reason:
            raise _by_hand(known, str(reason), EM_PAGE, f"put {VOLUME} and {EM_LABELS} of it into {out}") from None
        with unpacked(archive) as folder:
            for path in wanted:
                if not (folder / path.name).is_file():
                    raise UserError(f"{known.url} holds no {path.name}: get the data from {EM_PAGE} by hand.")
                _check_em(folder / path.name, path.name)
            digest = _sha256(archive)
            for path in wanted:
                record[path.name] = _sha256(folder / path.name)
                (folder / path.name).replace(path)
        if known.sha256 is None:
            said = f"imagej.net publishes no checksum of {known.name}: its SHA-256 {digest} is trusted,"
            warnings.warn(f"{said} and kept in {out / RECORD} for the next time.", stacklevel=2)
        atomic_text(out / RECORD, json.dumps({**record, known.name: digest}, indent=1) + "\n")
        archive.unlink()
    for path, other in zip(wanted, wanted[::-1], strict=True):
        if not path.is_file():
            raise UserError(f"{path} is missing beside {other.name}: take that away and fetch again.")
    for path in wanted:
        if path.name in record and _sha256(path) != record[path.name]:
            raise UserError(f"{path} is not what was fetched: take both files away and fetch again.")
        _check_em(path, str(path))
    return wanted


def fetch_nih(out: Path, advance: Advance | None) -> list[Path]:
    """Labels and a DICOM series a patient of Pancreas-CT."""
    labels = out / NIH_LABELS.name.removesuffix(".zip")
    by_hand = f"put the folders of the patients and of the labels into {out}, as the NBIA Data Retriever makes them"
    step = NIH_LABELS.url
    try:
        if not labels.is_dir():
            archive = download(NIH_LABELS, out / WORK, advance)
            with unpacked(archive) as folder:
                if not list(folder.glob("label*.nii*")):
                    raise UserError(
                        f"{NIH_LABELS.url} holds no label0001.nii.gz: get the labels from {NIH_PAGE} by hand."
                    )
                folder.chmod(0o755)
                folder.rename(labels)
            archive.unlink()
        step = "the list of the series"
        series = _series()
        for done, (patient, uid, slices) in enumerate(series):
            if advance:
                advance(done, len(series))
            if not [*out.glob(patient), *out.glob(f"*/{patient}")]:
                step = patient
                _fetch_series(uid, slices, out / patient)
    except NetError as reason:
        raise _by_hand(Remote(step, step), str(reason), NIH_PAGE, by_hand) from None
    if advance:
        advance(len(series), len(series))
    return [labels, *(path for patient, *_ in series for path in (*out.glob(patient), *out.glob(f"*/{patient}")))]


def fetch_gm(out: Path, _: Advance | None) -> list[Path]:
    """Says that it needs a registration.

    Raises:
        UserError: always.
    """
    raise UserError(
        f"The SCGM challenge gives its images to registered users only: register at {GM_PAGE} and unpack its train folder into "
        f"{out}; `unetq data check {out}` then shows them."
    )


FETCHERS: dict[str, Callable[[Path, Advance | None], list[Path]]] = {"em": fetch_em, "nih": fetch_nih, "gm": fetch_gm}


def _by_hand(remote: Remote, reason: str, page: str, what: str) -> UserError:
    return UserError(
        f"Cannot download {remote.url} ({reason}); run this again to go on, or get the data by hand from {page} and {what}."
    )


def _check_em(path: Path, name: str) -> None:
    """Refuses anything but the challenge's 30 pages."""
    array = read(path).array
    if array.shape != EM_SHAPE:
        shape, right = (" x ".join(map(str, some)) for some in (array.shape, EM_SHAPE))
        raise UserError(f"{name} has {shape} pixels, but the challenge's {right}: it is another file.")
    if name.endswith(EM_LABELS) and len(np.unique(array)) != 2:
        raise UserError(
            f"{name} holds {len(np.unique(array))} values, but the challenge's labels two: it is another file."
        )


def _record(out: Path) -> dict[str, str]:
    """File -> SHA-256 of what was fetched into a folder before."""
    path = make_folder(out) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return {str(name): str(digest) for name, digest in record.items()}
    except (ValueError, AttributeError):
        raise UserError(f"{path} is damaged: take it away, and what was fetched is trusted as at first.") from None


def _series() -> list[tuple[str, str, int]]:
    """(patient, series, slices) of the collection, in the order of the patients, without the withdrawn ones."""
    url = f"{NBIA}/getSeries?Collection=Pancreas-CT&Modality=CT&format=json"
    try:
        rows: Any = json.loads(fetch_text(url))
        found = [(str(row["PatientID"]), str(row["SeriesInstanceUID"]), int(row["ImageCount"])) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{url} answers something else than a list of series: get the data from {NIH_PAGE} by hand."
        ) from None
    # Names become folders, so nothing but what they must be.
    series = [
        (patient, uid, slices)
        for patient, uid, slices in found
        if (name := PATIENT.fullmatch(patient)) and UID.fullmatch(uid) and int(name[1]) not in WITHDRAWN
    ]
    if not series:
        raise UserError(f"{url} lists no series of a patient: get the data from {NIH_PAGE} by hand.")
    return sorted(series)


def _fetch_series(uid: str, slices: int, home: Path) -> None:
    """A patient's series, each slice verified by the MD5 that the archive sends with it."""
    remote = Remote(f"{NBIA}/getImageWithMD5Hash?SeriesInstanceUID={uid}", f"{uid}.zip")
    archive = download(remote, home.parent / WORK)
    with unpacked(archive) as folder:
        try:
            with (folder / HASHES).open(encoding="utf-8", newline="") as file:
                known = {Path(row["Filename"]).name: row["MD5Hash"].strip().lower() for row in csv.DictReader(file)}
        except (OSError, KeyError, ValueError, AttributeError):
            raise UserError(
                f"{remote.url} sends no {HASHES}, so {home.name} cannot be verified: fetch again."
            ) from None
        wrong = next((name for name, md5 in known.items() if _md5(folder / name) != md5), None)
        if wrong or len(known) != slices:
            what = f"{wrong} is damaged" if wrong else f"it has {len(known)} slices instead of {slices}"
            raise UserError(f"The series of {home.name} did not arrive whole ({what}): fetch again.")
        inner = make_folder(home.parent / WORK / home.name) / uid
        inner.mkdir(exist_ok=True)
        for name in known:
            (folder / name).replace(inner / name)
        inner.parent.rename(home)
    archive.unlink()


def _md5(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
