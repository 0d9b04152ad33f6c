"""The real page under Streamlit's AppTest: a study, two models, a truth; and what a user gets wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import unetq.app.main
from tests.app.made import Made, make
from unetq.app.panels import kept_results
from unetq.app.study import open_study
from unetq.runtime.model import open_model
from unetq.runtime.predict import predict

testing = pytest.importorskip("streamlit.testing.v1")
TRUTH_PATH = "truth_path"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("viewer"))


@pytest.fixture
def page(made: Made, monkeypatch: pytest.MonkeyPatch) -> testing.AppTest:
    monkeypatch.setattr(sys, "argv", ["main.py", "--models", str(made.runs)])
    return testing.AppTest.from_file(str(unetq.app.main.__file__), default_timeout=60)


def words(page: testing.AppTest) -> str:
    return " ".join(element.value for element in page.markdown)


def segmented(page: testing.AppTest, study: Path, *more: tuple[str, Path]) -> testing.AppTest:
    """The page after opening a study (and more path fields by key) and pressing the button."""
    page.run()
    page.text_input(key="study_path").set_value(str(study))
    for key, path in more:
        page.text_input(key=key).set_value(str(path))
    page.run()
    page.button[0].click().run()
    assert not page.exception and not page.error
    return page


def test_first_page(page: testing.AppTest) -> None:
    page.run()
    assert not page.exception and not page.error
    assert "not a medical device" in words(page)
    assert page.selectbox(key="model_a").options == ["W2A2", "W4A6"]
    assert page.button[0].disabled


def test_a_study_before_and_after_segmenting(page: testing.AppTest, made: Made) -> None:
    page.run()
    page.text_input(key="study_path").set_value(str(made.tiff)).run()
    assert "study.tif" in words(page) and "96 x 96, 3 slices" in words(page)
    assert [box.value for box in page.selectbox if box.label == "View"] == ["Image only"]
    page.button[0].click().run()
    assert not page.exception and not page.error
    assert [box.value for box in page.selectbox if box.label == "View"] == ["Overlay: W2A2"]
    assert ", share" in words(page) and "Dice" not in words(page)
    assert len(page.image) == 1


def test_two_models_and_a_truth(page: testing.AppTest, made: Made) -> None:
    page.run()
    page.selectbox(key="model_b").set_value("W4A6")
    segmented(page, made.nifti, (TRUTH_PATH, made.truth))
    view = next(box for box in page.selectbox if box.label == "View")
    assert view.value == "Overview"
    assert view.options[1:4] == [
        "Difference: W2A2 and W4A6",
        "Difference: W2A2 and Ground truth",
        "Difference: W4A6 and Ground truth",
    ]
    assert "Dice, study" in words(page) and "Dice, slice" in words(page)
    assert len(page.image) == 4
    view.set_value("Difference: W4A6 and Ground truth").run()
    assert "only W4A6" in words(page) and "only Ground truth" in words(page)
    assert len(page.image) == 1
    for label, value in (("Slice", 3), ("Opacity", 0.8), ("Level", 100.0), ("Window", 50.0)):
        next(slider for slider in page.slider if slider.label == label).set_value(value).run()
        assert not page.exception
    assert len(page.dataframe[0].value) == 3


def test_the_mask_is_that_of_predict(page: testing.AppTest, made: Made) -> None:
    page.run()
    page.selectbox(key="model_a").set_value("W4A6")
    segmented(page, made.nifti)
    study = open_study(made.nifti)
    kept = kept_results().get(study, made.models[0])
    assert kept is not None
    assert (kept.mask == predict(open_model(made.models[0]), study.volume)).all()
    assert kept.memory_bytes > 0 and kept.bytes_file == made.models[0].stat().st_size


@pytest.mark.parametrize(
    ("key", "file", "sentence"),
    [
        ("study_path", "none.tif", "There is no file"),
        ("study_path", "text.tif", "text.tif"),
        ("model_path", "none.gguf", "There is no model file"),
        ("truth_path", "none.tif", "There is no file"),
    ],
)
def test_errors_are_sentences(
    key: str, file: str, sentence: str, page: testing.AppTest, made: Made, tmp_path: Path
) -> None:
    (tmp_path / "text.tif").write_text("no image")
    page.run()
    page.text_input(key="study_path").set_value(str(made.nifti))
    page.text_input(key=key).set_value(str(tmp_path / file)).run()
    assert not page.exception
    assert len(page.error) == 1 and sentence in page.error[0].value


def test_damaged_model_and_foreign_truth(page: testing.AppTest, made: Made, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(made.models[0].read_bytes()[:-9])
    page.run()
    page.text_input(key="study_path").set_value(str(made.nifti))
    page.text_input(key="model_path").set_value(str(bad)).run()
    page.button[0].click().run()
    assert not page.exception and "bad.gguf" in page.error[0].value
    page.text_input(key="model_path").set_value("")
    page.text_input(key=TRUTH_PATH).set_value(str(made.png)).run()
    assert not page.exception and "open the mask of this study" in page.error[0].value


def test_no_model_is_said(page: testing.AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", "--models", str(tmp_path)])
    page.run()
    assert "No model file found" in page.info[0].value
    assert page.button[0].disabled
