"""The lists of studies and ground truths under AppTest: order, state, what is opened and what stays open."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.app.made import Made, make
from tests.app.test_viewer import button, finished, opened, panel, segmented, typed, words

testing = pytest.importorskip("streamlit.testing.v1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("opening"))


@pytest.fixture
def page(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> testing.AppTest:
    return opened(monkeypatch, "--models", made.runs, "--root", made.nifti.parent, "--store", tmp_path / "store")


def test_the_list_says_what_became_of_each_study(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of one name in two folders, as each patient's series has it, are not taken for one another."""
    for name, seed in (("p1", 1), ("p2", 2), ("p3", 3)):
        (tmp_path / "root" / name).mkdir(parents=True)
        array = np.random.default_rng(seed).integers(0, 255, (40, 40), np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "root" / name / "scan.png"))
    page = opened(monkeypatch, "--models", made.runs, "--root", tmp_path / "root", "--store", tmp_path / "store")

    def listed() -> list[str]:
        return list(page.selectbox(key="study_path").options)

    def open_(name: str) -> None:
        page.selectbox(key="study_path").select_index([o.split(" ")[-1] for o in listed()].index(name)).run()
        assert not page.exception and not page.error

    open_("p1/scan.png")
    assert listed() == ["p1/scan.png", "p2/scan.png", "p3/scan.png"] and "p1/scan.png" in words(page)
    panel(page, "Review")
    button(page, "Pass").click().run()
    open_("p2/scan.png")
    button(page, "Segment").click().run()
    finished(page)
    assert listed() == ["✓ p1/scan.png", "● p2/scan.png", "p3/scan.png"]
    assert "✓ passed, ● segmented" in words(page)
    panel(page, "Correct")
    button(page, "Start correcting").click().run()
    button(page, "Save as a new version").click().run()
    page.run()
    assert listed()[1] == "✎ p2/scan.png"
    (tmp_path / "root/p1/scan.png").write_bytes((tmp_path / "root/p3/scan.png").read_bytes())
    page.run()
    assert listed()[0] == "p1/scan.png", "another file now"


def test_a_part_of_a_name_is_enough(page: testing.AppTest) -> None:
    typed(page, "study_path", "dy.PNG")
    assert not page.exception and not page.error and "96 x 96" in words(page)


def test_who_comes_back_finds_the_study_open(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti, made.truth)
    page.switch_page("page_models.py").run()
    page.switch_page("page_study.py").run()
    assert not page.exception and not page.error
    assert page.selectbox(key="study_path").value == made.nifti.name and "Dice, study" in words(page)


def test_the_ground_truth_of_another_study_does_not_stay(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti, made.truth)
    page.selectbox(key="study_path").set_value(made.tiff.name).run()
    assert page.selectbox(key="truth_path").value is None and "Dice" not in words(page) and not page.error


def test_the_next_study_is_the_next_without_a_verdict(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    for file in (made.nifti, made.tiff, made.png, made.truth, made.truth_255):
        shutil.copy(file, tmp_path / "root")
    page = opened(monkeypatch, "--models", made.runs, "--root", tmp_path / "root", "--store", tmp_path / "store")
    field = page.selectbox(key="study_path")
    assert field.options == ["study.nii.gz", "study.png", "study.tif", "truth.nii.gz", "truth.tif"], "masks are last"
    field.set_value(made.nifti.name).run()
    assert page.selectbox(key="truth_path").options[:2] == ["truth.nii.gz", "truth.tif"], "and here they are first"
    panel(page, "Review")
    button(page, "Pass").click().run()
    seen = []
    for verdict in ("Fail", "Pass"):
        button(page, "Next study without a verdict").click().run()
        seen.append(page.selectbox(key="study_path").value)
        assert not page.exception and seen[-1] in words(page)
        button(page, verdict).click().run()
    page.run()
    assert seen == ["study.png", "study.tif"], "no mask, and none twice"
    assert "Next study without a verdict" not in [one.label for one in page.button]
    assert page.selectbox(key="study_path").options[:3] == ["✓ study.nii.gz", "✗ study.png", "✓ study.tif"]


def test_the_ground_truth_s_list_begins_with_what_is_named_alike(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s1-image.nii.gz", "s2-image.nii.gz"):
        shutil.copy(made.nifti, tmp_path / name)
        shutil.copy(made.truth, tmp_path / name.replace("image", "mask"))
    page = opened(monkeypatch, "--models", made.runs, "--root", tmp_path, "--store", tmp_path / "store")
    page.selectbox(key="study_path").set_value("s2-image.nii.gz").run()
    assert page.selectbox(key="truth_path").options[0] == "s2-mask.nii.gz"


def test_segment_is_offered_in_the_page_too_until_there_is_nothing_to_run(page: testing.AppTest, made: Made) -> None:
    page.selectbox(key="study_path").set_value(made.nifti.name)
    page.pills(key="models").set_value(["W4A6", "W2A2"]).run()
    button(page, "Segment with W4A6, W2A2").click().run()
    finished(page)
    assert not page.exception and not page.error and "W2A2" in words(page)
    assert button(page, "Segment").disabled and not [one for one in page.button if "Segment with" in one.label]


def test_what_was_opened_last_is_shown(page: testing.AppTest, made: Made) -> None:
    upload = page.file_uploader[0]
    upload.set_value([(made.png.name, made.png.read_bytes(), "image/png")]).run()
    assert not page.exception and "96 x 96" in words(page) and "3 slices" not in words(page)
    page.selectbox(key="study_path").set_value(made.nifti.name).run()
    assert "3 slices" in words(page)
