"""`unetq uncertainty`: its files, its JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.app.made import Made, add_float, make
from tests.cli.test_bad_input import refused, unetq
from unetq.image.read import read, read_mask
from unetq.image.sure import sure_maps
from unetq.runtime.model import open_model

KINDS = ("probability", "entropy")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("uncertainty"))


@pytest.mark.parametrize("flips", [False, True])
def test_json_names_the_files_and_they_hold_the_maps(flips: bool, made: Made, tmp_path: Path) -> None:
    model = open_model(made.models[0])
    words = ["--flips"] if flips else []
    done = unetq("uncertainty", made.models[0], made.nifti, "--out", tmp_path / "new/maps", "--json", *words)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said) == {"input", "engine", *KINDS}
    assert (said["input"], said["engine"]) == (str(made.nifti), "native")
    want = sure_maps([read(made.nifti)], model.meta.prep, model.run, flips)
    for kind in KINDS:
        assert Path(said[kind]) == tmp_path / f"new/maps/{kind}.nii.gz"
        assert np.array_equal(read_mask(said[kind]), want[kind.capitalize()])
        assert np.allclose(nib.load(said[kind]).affine, nib.load(made.nifti).affine), "the study's own geometry"


def test_without_json_standard_output_is_empty_and_the_files_are_named(made: Made, tmp_path: Path) -> None:
    done = unetq("uncertainty", made.models[0], made.png, "--out", tmp_path)
    assert done.returncode == 0 and done.stdout == ""
    for kind in KINDS:
        assert f"{kind}.nii.gz" in done.stderr and read_mask(tmp_path / f"{kind}.nii.gz").shape == (1, 96, 96)


def test_the_reference_and_the_native_runtime_agree(made: Made, tmp_path: Path) -> None:
    for engine in ("native", "reference"):
        done = unetq("uncertainty", made.models[0], made.png, "--out", tmp_path / engine, "--engine", engine, "--json")
        assert json.loads(done.stdout)["engine"] == engine
    for kind in KINDS:
        native, reference = (read_mask(tmp_path / engine / f"{kind}.nii.gz") for engine in ("native", "reference"))
        assert np.array_equal(native, reference), "bit for bit"


def test_what_cannot_be_done_is_a_sentence(made: Made, tmp_path: Path) -> None:
    run = add_float(made)
    text = tmp_path / "text.tif"
    text.write_text("no image")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(made.models[0].read_bytes()[:-9])
    (tmp_path / "file").write_text("")
    out, good = tmp_path / "maps", (made.models[0], made.png)
    for words, sentence in (
        (("none.gguf", made.png, "--out", out), "none.gguf"),
        ((damaged, made.png, "--out", out), "damaged.gguf"),
        ((made.models[0], "none.png", "--out", out), "none.png"),
        ((made.models[0], text, "--out", out), "text.tif"),
        ((*good, "--out", out, "--engine", "natve"), 'There is no engine "natve"'),
        ((run, made.png, "--out", out), "has no model.gguf"),
        ((made.models[0].parent, made.png, "--out", out, "--engine", "torch"), "best.pt"),
        ((*good, "--out", tmp_path / "file"), "file"),
    ):
        done = unetq("uncertainty", *words, "--json")
        refused(done, sentence)
        assert done.stdout == ""
    assert not out.exists(), "nothing is left of what was not done"


def test_the_folder_must_be_named(made: Made) -> None:
    done = unetq("uncertainty", made.models[0], made.png)
    assert done.returncode == 2 and "--out" in done.stderr and "Traceback" not in done.stderr
