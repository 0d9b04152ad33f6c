"""Scoring whole cases (`unetq.runtime.evaluate`, `unetq.runtime.dataset`) and reading a run back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.train.made import config, dataset, disc, write_case
from unetq.errors import UserError
from unetq.nets.unet import build
from unetq.pipeline import evaluate_model
from unetq.runtime.dataset import Dataset
from unetq.runtime.evaluate import evaluate
from unetq.spec import PrepSpec
from unetq.train.evaluate import load_run, torch_predictor
from unetq.train.loop import TrainOptions, train

PREP = PrepSpec(tile=64)


def bright(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An engine that needs no training: the disc is bright."""
    return image - 0.5


def nothing(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.full_like(image, -1.0)


def test_the_record_of_a_split(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    record = evaluate(bright, PREP, Dataset.open(data), "test", "bright", tmp_path / "masks")
    scored = ["n_cases", "n_empty", "dice", "classes"]
    assert list(record) == ["dataset", "split", "fold", "engine", *scored, "subjects", "seconds"]
    assert record["subjects"] == {"c7": "c7", "c8": "c8"}
    assert (record["dataset"], record["split"], record["engine"]) == ("discs", "test", "bright")
    scores = record["dice"]["per_case"]
    assert list(scores) == ["c7", "c8"] and 0.5 < record["dice"]["mean"] < 1
    for name, score in scores.items():
        predicted = np.asarray(nib.load(tmp_path / f"masks/{name}.nii.gz").dataobj)
        truth = np.asarray(nib.load(data / f"labelsTr/{name}.nii.gz").dataobj)
        assert score == pytest.approx(2 * (predicted * truth).sum() / (predicted.sum() + truth.sum()))
    assert record["dice"]["std"] == pytest.approx(np.std(list(scores.values()), ddof=1))
    json.dumps(record)


def test_empty_on_empty_is_1_and_counted_apart(tmp_path: Path) -> None:
    """In the code of arXiv 1908.01073 an empty slice that is predicted empty scores 0."""
    data = dataset(tmp_path)
    write_case(data, "c7", disc(99)[0], np.zeros((1, 40, 40), np.uint8))
    record = evaluate(nothing, PREP, Dataset.open(data), "test", "nothing")
    assert record["dice"]["per_case"] == {"c7": 1.0, "c8": 0.0} and record["n_empty"] == 1


def test_dice_is_of_the_whole_case_not_the_mean_of_its_slices(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    image, mask = disc(3)
    stack = np.concatenate([image, disc(4)[0]])
    write_case(data, "c7", stack, np.concatenate([mask, np.zeros_like(mask)]))
    per_case = evaluate(bright, PREP, Dataset.open(data), "test", "bright", tmp_path / "m")["dice"]["per_case"]
    predicted = np.asarray(nib.load(tmp_path / "m/c7.nii.gz").dataobj).transpose(2, 1, 0)
    both = 2 * (predicted[0] * mask[0]).sum() / (predicted.sum() + mask.sum())
    assert per_case["c7"] == pytest.approx(both)


def test_several_labels_are_averaged(tmp_path: Path) -> None:
    def left_and_right(image: NDArray[np.float32]) -> NDArray[np.float32]:
        left = np.broadcast_to(np.arange(image.shape[2]) < 20, image.shape[1:])
        inside = image[0] > 0.5
        return np.stack([~inside, inside & ~left, inside & left]).astype(np.float32)

    record = evaluate(left_and_right, PREP, Dataset.open(dataset(tmp_path, labels=2)), "val", "two")
    assert 0.5 < record["dice"]["mean"] <= 1


def test_only_the_image_reaches_the_network(tmp_path: Path) -> None:
    """The crop of the code of arXiv 1908.01073 is centred using the label; here changing the label changes no input."""
    data = dataset(tmp_path)
    seen: list[NDArray[np.float32]] = []

    def watch(image: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(image.copy())
        return bright(image)

    evaluate(watch, PREP, Dataset.open(data), "test", "watch")
    for index, name in ((7, "c7"), (8, "c8")):
        write_case(data, name, disc(index)[0], np.roll(disc(index)[1], 9, axis=2))
    evaluate(watch, PREP, Dataset.open(data), "test", "watch")
    assert len(seen) == 4 and all(np.array_equal(a, b) for a, b in zip(seen[:2], seen[2:]))
    assert seen[0].shape == (1, 40, 40)  # the whole slice


def test_the_same_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    """The 60 released EM tiles of arXiv 1908.01073 are 30 images stored twice."""
    data = dataset(tmp_path)
    before = Dataset.open(data).fingerprint()
    assert before == Dataset.open(data).fingerprint()
    write_case(data, "c8", *disc(1))
    with pytest.raises(
        UserError, match=r"case c1 of the split train holds a slice that is also in c8 of the split test"
    ):
        Dataset.open(data).fingerprint()
    write_case(data, "c8", *disc(77))
    assert Dataset.open(data).fingerprint() != before
    blank = np.zeros((1, 40, 40), np.uint8)  # air is no evidence
    write_case(data, "c8", np.concatenate([blank, disc(77)[0]]), np.concatenate([blank, blank]))
    write_case(data, "c0", np.concatenate([blank, disc(78)[0]]), np.concatenate([blank, blank]))
    Dataset.open(data).fingerprint()


def test_a_case_in_two_splits_is_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path, {"train": ["c0", "c1"], "val": ["c1"], "test": ["c2"]})
    with pytest.raises(UserError, match=r"Case c1 of .* is in two splits, train and val"):
        Dataset.open(data)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("dataset.json", None, "is no prepared data set .*dataset.json"),
        ("dataset.json", "{", "is not valid JSON"),
        ("dataset.json", "{}", "is not in the nnU-Net raw format"),
        ("dataset.json", '{"channel_names": {"0": "a"}, "labels": {"background": 0, "x": 3}}', "without a gap"),
        ("splits_final.json", "[]", "is not in the nnU-Net raw format"),
        ("splits_final.json", '[{"train": ["c0"], "val": ["c1"]}]', 'has no split "test": valid are: train, val'),
        ("splits_final.json", '[{"train": ["c0"], "val": ["c1"], "test": []}]', 'The split "test" of .* holds no case'),
    ],
)
def test_a_folder_that_is_not_prepared(name: str, text: str | None, sentence: str, tmp_path: Path) -> None:
    data = dataset(tmp_path)
    (data / name).unlink()
    if text is not None:
        (data / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        evaluate(bright, PREP, Dataset.open(data), "test", "bright")


def test_image_and_label_that_do_not_fit(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    write_case(data, "c7", disc(7)[0], disc(7)[1] * 2)
    with pytest.raises(UserError, match="other values than 0 to 1"):
        evaluate(bright, PREP, Dataset.open(data), "test", "bright")
    write_case(data, "c7", disc(7)[0], disc(7, size=20)[1])
    with pytest.raises(UserError, match="has shape"):
        evaluate(bright, PREP, Dataset.open(data), "test", "bright")


def test_the_torch_engine_is_in_evaluation_mode_whatever_the_network_is_in() -> None:
    """In train mode batch norm would use the statistics of the very image that is scored."""
    torch.manual_seed(0)
    model = build(config().net)
    image = np.random.default_rng(0).normal(3, 2, (1, 40, 40)).astype(np.float32)
    model.train()
    for _ in range(3):
        model(torch.randn(2, 1, 32, 32))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    first = torch_predictor(model)(image)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())  # no statistics moved
    with torch.no_grad():
        assert np.array_equal(first, model.eval()(torch.from_numpy(image)[None])[0].numpy())
    assert first.shape == (1, 40, 40) and first.dtype == np.float32


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "holds no checkpoint best.pt"), (b"PK\x03\x04 no", "is damaged")]
)
def test_a_run_without_a_good_checkpoint(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        load_run(tmp_path)
    with pytest.raises(UserError, match="There is no run"):
        load_run(tmp_path / "absent")


def test_no_torch_in_the_evaluation() -> None:
    code = "import sys, unetq.runtime.evaluate; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_fold_has_its_own_test_and_a_run_scores_that_one(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    first = json.loads((data / "splits_final.json").read_text())[0]
    second = {"train": [*first["train"][1:], *first["test"]], "val": first["val"], "test": first["train"][:1]}
    (data / "splits_final.json").write_text(json.dumps([first, second]))
    about = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps({**about, "unetq": {"dataset": "em"}}))
    result = train(config(dataset="em", fold=1, iterations=1), data, tmp_path / "run", TrainOptions(progress=False))
    assert list(result.test["dice"]["per_case"]) == second["test"] and result.test["fold"] == 1
    again = evaluate_model(tmp_path / "run", None, data, "test", "torch")
    assert again["dice"] == result.test["dice"] and again["fold"] == 1


def test_a_subject_in_two_splits_is_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    about = json.loads((data / "dataset.json").read_text())
    about["unetq"]["subjects"] = {"c1": "anna", "c8": "anna"}
    (data / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"Subject anna \(cases c1 and c8\) of .* is in two splits, train and test"):
        Dataset.open(data)
