"""The real pages under Streamlit's AppTest: studies, models, a truth, judging, correcting, saving; and what a user gets wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import unetq.app.main
from tests.app.made import Made, make
from unetq.app import solid_view
from unetq.app.frame import RESEARCH, kept_results
from unetq.app.gate import write_password
from unetq.app.quality import Reviews
from unetq.app.scene import DRAFT
from unetq.app.study import open_study
from unetq.app.versions import Versions
from unetq.runtime.model import open_model
from unetq.runtime.predict import predict

testing = pytest.importorskip("streamlit.testing.v1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("viewer"))


@pytest.fixture
def page(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> testing.AppTest:
    return opened(monkeypatch, "--models", made.runs, "--root", made.nifti.parent, "--store", tmp_path / "store")


def opened(monkeypatch: pytest.MonkeyPatch, *words: Any) -> testing.AppTest:
    monkeypatch.setattr(sys, "argv", ["main.py", *map(str, words)])
    kept_results.clear()
    return testing.AppTest.from_file(str(unetq.app.main.__file__), default_timeout=60).run()


def words(page: testing.AppTest) -> str:
    """Everything on the page that is text."""
    kinds = (page.markdown, page.caption, page.info, page.warning, page.error, page.text)
    html = " ".join(str(getattr(element.proto, "body", "")) for element in page.get("html"))
    return html + " ".join(element.value for elements in kinds for element in elements)


def button(page: testing.AppTest, label: str) -> Any:
    return next(one for one in page.button if one.label == label)


def box(page: testing.AppTest, label: str) -> Any:
    return next(one for one in page.selectbox if one.label == label)


def segmented(
    page: testing.AppTest, study: Path, truth: Path | None = None, models: tuple[str, ...] = ("W4A6",)
) -> None:
    """Opens a study and runs models on it."""
    page.selectbox(key="study_path").set_value(study.name)
    assert study.name in page.selectbox(key="study_path").options
    if truth:
        page.selectbox(key="truth_path").set_value(truth.name)
    page.pills(key="models").set_value(list(models))
    page.run()
    button(page, "Segment").click().run()
    finished(page)
    assert not page.exception and not page.error


def finished(page: testing.AppTest) -> None:
    """Waits for the session's job; there is none where the results were kept."""
    if "job" in page.session_state:
        assert page.session_state["job"].wait(600)
    page.run()


def typed(page: testing.AppTest, key: str, path: str) -> None:
    """Types a path that is not in the list, which AppTest knows no word for."""
    field = page.selectbox(key=key)
    if path not in field.options:
        field.options.append(path)
    field.set_value(path).run()


def panel(page: testing.AppTest, name: str) -> None:
    page.segmented_control(key="panel").set_value(name).run()
    assert not page.exception and not page.error


def shown(page: testing.AppTest, name: str = "unetq_planes") -> dict[str, Any]:
    """What a component, by default the planes, got from the server."""
    (component,) = (one for one in page.get("bidi_component") if one.proto.component_name == name)
    return json.loads(component.proto.json)


def test_it_opens_with_what_to_do(page: testing.AppTest) -> None:
    assert not page.exception
    assert RESEARCH in words(page) and "nothing leaves it" in words(page)
    assert button(page, "Segment").disabled
    assert page.selectbox(key="study_path").options[:3] == ["study.nii.gz", "study.png", "study.tif"]


def test_one_model(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti)
    assert RESEARCH in words(page)
    assert box(page, "View").options == ["Overlay: W4A6", "Image only"]
    panes = shown(page)["panes"]
    assert [pane["title"] for pane in panes] == ["Axial", "Coronal", "Sagittal"]
    assert panes[0]["letters"] == ["R", "L", "A", "P"] and panes[0]["slices"] == 3
    assert all(pane["src"].startswith("data:image/png;base64,") for pane in panes)
    text = words(page)
    for line in (
        "Volume",
        "Longest diameter",
        "Area, this slice",
        "Time",
        "Memory",
        "Model file",
        "touches the border",
    ):
        assert line in text
    log = [json.loads(line) for line in (Path(sys.argv[-1]) / "audit.jsonl").read_text().splitlines()]
    assert log[0]["event"] == "segment" and log[0]["model"] == open_model(made.models[0]).hash
    assert set(log[0]) >= {"time", "user", "study", "seconds", "peak_rss_bytes", "warnings"}
    (bits,) = {(layer["wbits"], layer["abits"]) for layer in open_model(made.models[0]).info()["layers"][1:-1]}
    assert log[0]["bits"] == "W{}A{}".format(*bits)


def test_the_mask_is_that_of_predict(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti)
    study = open_study(made.nifti)
    kept = kept_results().get(study, made.models[0])
    assert kept is not None
    assert (kept.mask == predict(open_model(made.models[0]), study.volume)).all()
    assert kept.memory_bytes > 0 and kept.bytes_file == made.models[0].stat().st_size


def test_two_models_and_a_truth(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti, made.truth, ("W2A2", "W4A6"))
    assert box(page, "View").value == "Overview"
    assert [pane["title"] for pane in shown(page)["panes"]] == ["W2A2", "W4A6", "Ground truth", "Disagreement of all"]
    for line in ("Dice, study", "Dice, slice", "HD95", "Surface Dice", "Volume error"):
        assert line in words(page)
    box(page, "View").set_value("Difference: W4A6 and Ground truth").run()
    legend = [text for _, text in shown(page)["panes"][0]["legend"]]
    assert legend == ["agree", "only W4A6", "only Ground truth"] and len(shown(page)["panes"]) == 3
    box(page, "Show").set_value("coronal").run()
    assert [pane["slices"] for pane in shown(page)["panes"]] == [96]
    assert not page.dataframe, "what is not looked at is not drawn"
    page.session_state["slice by slice"] = True
    page.run()
    assert not page.exception and len(page.dataframe[0].value) == 3, "Dice of every slice"


def test_three_d(page: testing.AppTest, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    media: dict[str, bytes] = {}

    def served(what: str, content: bytes, kind: str, real: Any = solid_view._served) -> str:
        media[real(what, content, kind)] = content
        return real(what, content, kind)

    monkeypatch.setattr(solid_view, "_served", served)
    segmented(page, made.nifti, made.truth, ("W2A2", "W4A6"))
    box(page, "Show").set_value("3-D").run()
    assert not page.exception and not page.error
    solid = shown(page, "unetq_solid")
    assert solid["title"] == "Disagreement of all" and solid["overlay"]["heat"], "of the overview its last picture"
    assert [pane["title"] for pane in shown(page)["panes"]] == ["Axial", "Coronal", "Sagittal"]
    assert shown(page)["layout"] == "row" and solid["oriented"] and not solid["thinned"]
    sizes = [len(media[solid[key]]) for key in ("library", "image")]
    assert sizes[0] > 500_000 and sizes[1] < 500 + made.image.size, "by HTTP, as media files"
    assert len(page.get("bidi_component")[0].proto.json) < 5000, "and not through the websocket"
    box(page, "View").set_value("Overlay: Ground truth").run()
    box(page, "Show").set_value("3-D").run()
    truth = shown(page, "unetq_solid")
    assert truth["image"] == solid["image"] and truth["overlay"]["colours"] == [[0], [158], [115]]
    labels = np.asarray(nib.Nifti1Image.from_bytes(media[truth["overlay"]["file"]]).dataobj)
    assert labels.sum() == made.labels.sum()
    page.segmented_control(key="solid choice").set_value("Around the mask").run()
    assert not page.exception and shown(page, "unetq_solid")["overlay"]["file"]
    page.selectbox(key="truth_path").set_value(None)
    page.selectbox(key="study_path").set_value(made.png.name).run()
    assert not page.exception and len(page.get("bidi_component")) == 1, "a picture is no body"


def test_an_empty_mask_is_shown_whole(page: testing.AppTest, made: Made) -> None:
    page.selectbox(key="study_path").set_value(made.nifti.name).run()
    panel(page, "Correct")
    box(page, "Correct").set_value("An empty mask").run()
    button(page, "Start correcting").click().run()
    box(page, "Show").set_value("3-D").run()
    page.segmented_control(key="solid choice").set_value("Around the mask").run()
    assert not page.exception and "The mask is empty" in words(page)


def test_display(page: testing.AppTest, made: Made) -> None:
    page.selectbox(key="study_path").set_value(made.nifti.name).run()
    before = shown(page)["panes"][0]
    box(page, "Window").set_value("Full range").run()
    for label, value in (("Opacity", 0.8), ("Level", 100.0), ("Window width", 50.0)):
        next(slider for slider in page.slider if slider.label == label).set_value(value).run()
        assert not page.exception
    page.radio(key="way").set_value("Neurological (L on the left)").run()
    after = shown(page)["panes"][0]
    assert after["src"] != before["src"] and after["letters"] == ["L", "R", "A", "P"]
    assert "Bone" not in box(page, "Window").options, "8-bit pixels are no HU"


def test_a_ct_series_has_presets_and_goes_out_as_dicom_seg(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom")
    from tests.image.seg_made import made as series_made

    series_made(tmp_path / "root/ct", turned=False)
    page = opened(monkeypatch, "--models", made.runs, "--root", tmp_path / "root", "--store", tmp_path / "store")
    segmented(page, tmp_path / "root/ct")
    assert {"Soft tissue", "Lung", "Bone"} <= set(box(page, "Window").options)
    box(page, "Window").set_value("Lung").run()
    panel(page, "Save")
    page.pills(key="seg options").set_value(["De-identified"]).run()
    button(page, "Save as DICOM SEG").click().run()
    assert not page.exception and not page.error
    (download,) = page.get("download_button")
    assert download.proto.label == "Download mask.dcm"


def test_save(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti)
    panel(page, "Save")
    for label in (
        "Save mask as NIfTI",
        "Save pictures (zip of PNG)",
        "Save the report (HTML)",
        "Save the report (PDF)",
    ):
        button(page, label).click().run()
        assert not page.exception and not page.error
        assert len(page.get("download_button")) == 1
    assert "highdicom" not in words(page) or "unetq[dicom]" in words(page)


def test_review_is_kept_and_found_in_the_csv(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti)
    page.text_input(key="reviewer").set_value("anna").run()
    panel(page, "Review")
    page.text_area[0].set_value("left edge <b>missed</b>").run()
    button(page, "Pass").click().run()
    button(page, "Fail").click().run()
    button(page, "Save the comment alone").click().run()
    assert "✓ Pass" in words(page) and not page.exception
    found = Reviews(Path(sys.argv[-1])).all()
    assert [review.verdict for review in found] == ["comment", "fail", "pass"]
    assert (found[0].user, found[0].name, found[0].models) == ("anna", "study.nii.gz", "W4A6")
    page.switch_page("page_reviews.py").run()
    assert not page.exception and len(page.dataframe[0].value) == 3 and RESEARCH in words(page)
    page.pills(key="verdicts").set_value(["fail"]).run()
    assert page.dataframe[0].value["Verdict"].tolist() == ["fail"]
    page.text_input(key="search").set_value("nobody").run()
    assert len(page.dataframe[0].value) == 0


def test_correct_save_a_version_and_see_it(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti)
    panel(page, "Correct")
    button(page, "Start correcting").click().run()
    assert not page.exception and box(page, "View").value == f"Overlay: {DRAFT}"
    assert shown(page)["tool"]["name"] == "brush"
    draft = page.session_state["drafts"][open_study(made.nifti).hash]
    before = draft.mask.copy()
    draft.mask[1, 20:40, 20:40] = 1
    page.run()
    page.text_input(key="correction note").set_value("a cell was missed").run()
    button(page, "Save as a new version").click().run()
    assert not page.exception and not page.error
    study, versions = open_study(made.nifti), Versions(Path(sys.argv[-1]))
    (version,) = versions.of(study)
    assert (version.base, version.note) == ("W4A6", "a cell was missed")
    mask = versions.load(study, 1)
    assert (mask[1, 20:40, 20:40] == 1).all() and np.array_equal(mask[0], before[0])
    assert f"Overlay: {version.title}" in box(page, "View").options
    button(page, "Start correcting").click().run()
    button(page, "Discard").click().run()
    assert len(versions.of(study)) == 1 and DRAFT not in " ".join(box(page, "View").options)


def test_how_sure(page: testing.AppTest, made: Made) -> None:
    segmented(page, made.nifti)
    button(page, "Show probability and entropy").click().run()
    finished(page)
    assert {"Probability: W4A6", "Entropy: W4A6"} <= set(box(page, "View").options)
    box(page, "View").set_value("Entropy: W4A6").run()
    assert not page.exception and shown(page)["panes"][0]["words"] == "Entropy: W4A6"
    log = [json.loads(line) for line in (Path(sys.argv[-1]) / "audit.jsonl").read_text().splitlines()]
    assert (log[-1]["event"], log[-1]["flips"], log[-1]["model"]) == ("uncertainty", False, log[0]["model"])


def test_models_and_tradeoff_pages(page: testing.AppTest, made: Made) -> None:
    page.switch_page("page_models.py").run()
    assert not page.exception and RESEARCH in words(page)
    for line in ("Intended use", "Trained on", "Bits", "4-bit weights" if "W4A6" in words(page) else "weights", "Hash"):
        assert line in words(page)
    page.switch_page("page_tradeoff.py").run()
    assert not page.exception and "No report found" in page.info[0].value and RESEARCH in words(page)


@pytest.mark.parametrize(
    ("key", "file", "sentence"),
    [
        ("study_path", "none.tif", "There is no file"),
        ("study_path", "text.tif", "text.tif"),
        ("study_path", "../../outside.tif", "outside of"),
        ("study_path", "/etc/passwd", "outside of"),
        ("truth_path", "none.tif", "There is no file"),
    ],
)
def test_errors_are_sentences(key: str, file: str, sentence: str, page: testing.AppTest, made: Made) -> None:
    (made.nifti.parent / "text.tif").write_text("no image")
    page.selectbox(key="study_path").set_value(made.nifti.name).run()
    typed(page, key, file)
    assert not page.exception
    assert len(page.error) == 1 and sentence in page.error[0].value


def test_damaged_model_and_foreign_truth(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "models/bad.gguf"
    bad.parent.mkdir()
    bad.write_bytes(made.models[0].read_bytes()[:-9])
    page = opened(monkeypatch, "--models", bad.parent, "--root", made.nifti.parent, "--store", tmp_path / "store")
    page.selectbox(key="study_path").set_value(made.nifti.name).run()
    button(page, "Segment").click().run()
    finished(page)
    assert not page.exception and "bad.gguf" in page.error[0].value
    page.switch_page("page_models.py").run()
    assert not page.exception and "bad.gguf" in page.error[0].value


def test_a_truth_of_another_study_is_refused(page: testing.AppTest, made: Made) -> None:
    page.selectbox(key="study_path").set_value(made.nifti.name)
    page.selectbox(key="truth_path").set_value(made.png.name).run()
    assert not page.exception and "open the mask of this study" in page.error[0].value


def test_no_model_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(monkeypatch, "--models", tmp_path, "--root", tmp_path, "--store", tmp_path / "store")
    assert "No model file found" in page.info[0].value
    assert button(page, "Segment").disabled
    for name, words_of in (("models", "No model file found"), ("reviews", "No study has been reviewed yet")):
        page.switch_page(f"page_{name}.py").run()
        assert not page.exception and words_of in page.info[0].value


def test_a_password_keeps_strangers_out(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_password(tmp_path / "password", "correct horse")
    monkeypatch.setattr("unetq.app.gate.WAIT", 0.0)
    words_ = ("--models", made.runs, "--root", made.nifti.parent, "--password", tmp_path / "password")
    page = opened(monkeypatch, *words_, "--store", tmp_path / "store")
    assert RESEARCH in words(page) and not page.selectbox
    with pytest.raises(ValueError, match="Could not find a navigation page"):
        page.switch_page("page_reviews.py")
    assert [field.label for field in page.text_input] == ["Password"]
    page.text_input[0].set_value("wrong horse")
    page.button[0].click().run()
    assert "not the password" in page.error[0].value
    page.text_input[0].set_value("correct horse")
    page.button[0].click().run()
    assert not page.exception and page.selectbox(key="study_path")
    events = [json.loads(line)["event"] for line in (tmp_path / "store/audit.jsonl").read_text().splitlines()]
    assert events == ["wrong password", "enter"]


def test_without_the_proxy_nobody_enters(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(monkeypatch, "--models", made.runs, "--proxy-header", "X-User", "--store", tmp_path / "store")
    assert "reverse proxy" in page.error[0].value and not page.selectbox
