"""Opening studies, truths and models; masks as files; starting the server."""

from __future__ import annotations

import io
import os
import socket
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.app.made import Made, make
from unetq.app.export import formats, mask_file, pictures_file
from unetq.app.inference import Result, Results, segment
from unetq.app.launch import ADDRESS, Server, command, launch
from unetq.app.page_study import about
from unetq.app.render import Display
from unetq.app.settings import Settings
from unetq.app.study import find_models, model_name, open_study, open_truth, with_uploads
from unetq.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("study"))


def test_upload_is_the_same_study_as_the_path(made: Made) -> None:
    for path in (made.nifti, made.tiff, made.png):
        opened, uploaded = open_study(path), with_uploads([(f"../x/{path.name}", path.read_bytes())])
        assert uploaded.hash == opened.hash
        assert uploaded.name == opened.name == path.name
        assert np.array_equal(opened.volume.array, made.image[: opened.depth])


def test_hash_follows_pixels_and_geometry(made: Made) -> None:
    nifti, tiff = open_study(made.nifti), open_study(made.tiff)
    assert nifti.hash != tiff.hash, "the same pixels with another spacing"
    assert nifti.hash == open_study(made.nifti, "another name").hash


def test_bad_upload_names_the_upload(made: Made) -> None:
    with pytest.raises(UserError, match=r"scan\.tif") as caught:
        with_uploads([("scan.tif", b"no image")])
    assert "upload.tif" not in str(caught.value)
    with pytest.raises(UserError):
        with_uploads([("scan.exe;rm", b"")])


@pytest.mark.parametrize("kind", ["NIfTI", "TIFF", "PNG"])
@pytest.mark.parametrize("which", ["nifti", "tiff", "png"])
def test_masks_come_in_every_format_that_can_hold_them(which: str, kind: str, made: Made, tmp_path: Path) -> None:
    study = open_study(getattr(made, which))
    mask = made.labels[: study.depth]
    own = {"nifti": "NIfTI", "tiff": "TIFF", "png": "PNG"}[which]
    assert formats(study)[0] == own and ("PNG" in formats(study)) == (study.depth == 1)
    if kind not in formats(study):
        with pytest.raises(UserError, match="holds one"):
            mask_file(mask, study, kind)
        return
    name, content = mask_file(mask, study, kind)
    assert name == f"study-mask{ {'NIfTI': '.nii.gz', 'TIFF': '.tif', 'PNG': '.png'}[kind] }"
    (tmp_path / name).write_bytes(content)
    again = open_study(tmp_path / name)
    assert np.array_equal(open_truth(again, study), mask)
    if kind == own:
        assert again.volume.spacing == pytest.approx(study.volume.spacing)


def test_the_name_of_a_series_is_not_cut_at_its_point(made: Made) -> None:
    for name, want in (("p1/1.000000-Pancreas", "1.000000-Pancreas"), ("scan.v2.nii.gz", "scan.v2"), ("a.ZIP", "a")):
        study = replace(open_study(made.nifti), name=name)
        assert mask_file(made.labels, study, "NIfTI")[0] == f"{want}-mask.nii.gz"


def test_pictures_are_a_png_a_slice(made: Made) -> None:
    study = open_study(made.nifti)
    name, content = pictures_file(made.labels, study, Display(*study.window))
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        names = packed.namelist()
        assert name == "study-mask-pictures.zip" and len(names) == study.depth
        assert packed.read(names[0]).startswith(b"\x89PNG")


def test_truth_of_0_and_255_is_0_and_1(made: Made) -> None:
    study = open_study(made.tiff)
    assert np.array_equal(open_truth(open_study(made.truth_255), study), made.labels)
    with pytest.raises(UserError, match="open the mask of this study"):
        open_truth(open_study(made.png), study)


def test_models_are_found_in_runs_and_by_name(made: Made, tmp_path: Path) -> None:
    first, second = made.models
    assert find_models([made.runs]) == [second, first]
    assert find_models([first, made.runs, tmp_path / "none"]) == [first, second]
    assert model_name(first, made.models) == "W4A6"
    twin = tmp_path / "W4A6/model.gguf"
    assert model_name(first, [first, twin]) == str(first)
    assert model_name(Path("a/cells.gguf")) == "cells"


def test_a_pair_is_segmented_once_until_the_file_changes(made: Made, tmp_path: Path) -> None:
    study, results, shares = open_study(made.nifti), Results(), []
    model = tmp_path / "model.gguf"
    model.write_bytes(made.models[0].read_bytes())
    first = segment(model, study, results, lambda done, total: shares.append(done / total))
    assert shares[-1] == 1.0 and shares == sorted(shares) and len(shares) == study.depth
    assert segment(model, study, results) is first
    assert results.get(open_study(made.tiff), model) is None
    model.write_bytes(made.models[1].read_bytes())
    assert results.get(study, model) is None
    assert segment(model, study, results) is not first
    model.unlink()
    with pytest.raises(UserError, match="gone"):
        results.get(study, model)


def test_old_results_make_room(made: Made) -> None:
    results, path = Results(limit=25), made.models[0]
    for name in "abc":
        mask = np.zeros((1, 1, 10), np.uint8)
        results.put(path, Result((name, "model"), mask, 0.1, 1, (), 1, "scalar", "W4A6"))
    assert list(results._kept) == [("b", "model"), ("c", "model")]


def test_about_in_words(made: Made) -> None:
    assert about(open_study(made.nifti)) == "96 x 96, 3 slices, 50 x 4 x 4 nm, uint8"
    assert about(open_study(made.tiff)) == "96 x 96, 3 slices, no pixel size in the file, uint8"


def test_command_keeps_to_this_machine(tmp_path: Path) -> None:
    settings = Settings((tmp_path,), tmp_path, tmp_path / "store", tmp_path / "password", "X-User")
    words = command(Server(port=8600, settings=settings))
    first = words.index("--server.address")
    options = dict(zip(words[first : words.index("--") : 2], words[first + 1 :: 2]))
    assert options["--server.address"] == ADDRESS == "127.0.0.1"
    assert options["--browser.gatherUsageStats"] == "false"
    assert options["--server.headless"] == "true"
    assert options["--server.fileWatcherType"] == "none"
    assert options["--server.maxUploadSize"] == "1024"
    assert Settings.parse(words[words.index("--") + 1 :]) == settings
    assert Settings.parse(["--models", "a", "--models", "b", "--other"]).models == (Path("a"), Path("b"))


def test_launch_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("started"))
    with pytest.raises(UserError, match="no folder"):
        launch(Server(settings=Settings((tmp_path / "none",), tmp_path)))
    with pytest.raises(UserError, match="--data"):
        launch(Server(settings=Settings((), tmp_path / "none")))
    with pytest.raises(UserError, match="--password"):
        launch(Server("0.0.0.0", settings=Settings((), tmp_path)))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UserError, match="in a terminal once"):
        launch(Server(settings=Settings((), tmp_path, password=tmp_path / "new")))
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        for port in (taken.getsockname()[1], 70_000):
            with pytest.raises(UserError, match="--port"):
                launch(Server(port=port, settings=Settings((), tmp_path)))
    assert not (tmp_path / "new").exists()


def test_launch_becomes_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, words: started.append(words))
    server = Server(port=0, settings=Settings((), tmp_path))
    launch(server)
    assert started == [command(server)]
