"""Which runs a sweep is made of, and in which order the queue gives them out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sweep.made import job
from tests.train.made import dataset
from unetq.errors import UserError
from unetq.spec import SCHEMES, QuantSpec
from unetq.sweep.plan import SweepSpec, names, parse_folds, plan, settings_of
from unetq.sweep.queue import BUSY_PAUSE, TRIES, Outcome, Queue
from unetq.train.config import load_config, save_config

PAPER = "float,W8A8,W6A6,W4A6,W4A4,W3A3,W2A4,W2A2,ternarynet,binary"
SPLITS = {"train": ["c0"], "val": ["c1"], "test": ["c2"]}
WORDS = [name for name in SCHEMES if name not in ("fixed", "lsq")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared em (two folds) and gm (one)."""
    folder = tmp_path_factory.mktemp("data")
    for name, folds in (("em", 2), ("gm", 1)):
        place = dataset(folder / name, SPLITS, size=16)
        about = json.loads((place / "dataset.json").read_text())
        (place / "dataset.json").write_text(json.dumps({**about, "unetq": {"dataset": name}}))
        (place / "splits_final.json").write_text(json.dumps([SPLITS] * folds))
    return folder


@pytest.fixture
def spec(data: Path, tmp_path: Path) -> SweepSpec:
    return SweepSpec(data=data, out=tmp_path)


def test_the_issues_own_command(spec: SweepSpec) -> None:
    spec = replace(spec, datasets=("em", "gm"), settings=names(PAPER), quantizers=("fixed", "lsq"), seeds=3, folds=None)
    jobs = plan(spec)
    assert len(jobs) == 3 * (2 + 1) * (1 + 2 * 7 + 2)
    assert [j.name for j in jobs[:4]] == ["em/float-f0-s0", "em/W8A8-f0-s0", "em/W8A8-lsq-f0-s0", "em/W6A6-f0-s0"]
    by_folder = {j.folder: j for j in jobs}
    assert len(by_folder) == len(jobs)
    for j in jobs:
        name, fold, seed = re.fullmatch(r"(.*)-f(\d)-s(\d)", j.folder.name).groups()  # type: ignore[union-attr]
        assert (j.config.fold, j.config.seed, j.config.dataset) == (int(fold), int(seed), j.folder.parent.name)
        assert j.config.net.quant.is_float == (name == "float")
        if name == "float" or (name == "ternarynet" and j.config.init == "auto"):  # gm starts it from the twin
            assert j.init_from is None
        else:
            assert j.init_from == j.folder.with_name(f"float-f{fold}-s{seed}")
            assert j.config.twin().net == by_folder[j.init_from].config.net
    # Steps of the tanh are in the configuration of its own runs only: to change them leaves every other run as it was.
    assert {j.folder.name[:-6] for j in jobs if j.config.tanh_iterations} == {"ternarynet"}
    assert [j.config.seed for j in jobs] == sorted(j.config.seed for j in jobs), "a whole table of seed 0 first"


def test_the_float_run_is_planned_where_a_quantized_one_needs_it(spec: SweepSpec) -> None:
    assert [j.folder.name for j in plan(replace(spec, settings=("W4A6",)))] == ["float-f0-s0", "W4A6-f0-s0"]
    assert [j.folder.name for j in plan(replace(spec, settings=("ternarynet",)))] == ["ternarynet-f0-s0"]


WIDTHS = st.tuples(st.integers(1, 8), st.integers(1, 8)).map("W%dA%d".__mod__)


@given(
    st.lists(st.one_of(st.sampled_from(WORDS), WIDTHS), max_size=9),
    st.sampled_from([("fixed",), ("lsq",), ("fixed", "lsq")]),
)
def test_settings(words: list[str], quantizers: tuple[str, ...]) -> None:
    found = settings_of(words, quantizers)
    assert len(set(found.values())) == len(found), "nothing is trained twice"
    wanted = [QuantSpec.of(word) for word in words if word in WORDS]
    for word in words:
        if word not in WORDS:
            wbits, abits = map(int, re.findall(r"\d+", word))
            wanted += [QuantSpec.of(quantizer, wbits, abits) for quantizer in quantizers]
    assert set(found.values()) == set(wanted)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"settings": ("W4A66",)}, "abits is 66, but must be 1 to 8"),
        ({"settings": ("w4a6",)}, 'There is no setting "w4a6": name bits like W4A6, or one of ternary, '),
        ({"settings": ("lsq",)}, '"lsq" is a quantizer: name it in --quantizer'),
        ({"settings": ()}, "at least one name in --settings."),
        ({"quantizers": ("lqs",)}, 'did you mean "lsq"?'),
        ({"quantizers": ("ternarynet",)}, "name it in --settings"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"folds": (0, 5)}, "no fold 5"),
        ({"datasets": ("emm",)}, 'There is no data set "emm": did you mean "em"?'),
        ({"configs": ("em", "gm")}, "--config names 2 configurations for 1 data sets"),
    ],
)
def test_mistakes_are_sentences(change: dict[str, object], sentence: str, spec: SweepSpec) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        plan(replace(spec, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "x", "1,x", "-1", "1.5"])
def test_folds_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="must be numbers like 0 or 0,1, or all"):
        parse_folds(text)


def test_folds_with_one_test_are_one_fold_and_subjects_left_out_in_turn_are_all(spec: SweepSpec, data: Path) -> None:
    """Else a mean over folds would count the same test cases again, or a mean over one fold leave subjects out."""
    spec = replace(spec, datasets=("em",), settings=("float",))
    splits = data / "em/splits_final.json"
    kept = splits.read_text()
    try:
        splits.write_text(json.dumps([SPLITS, {"train": ["c1"], "val": ["c0"], "test": ["c2"]}]))
        assert [j.config.fold for j in plan(spec)] == [0]
        assert [j.config.fold for j in plan(replace(spec, folds=None))] == [0, 1]
        splits.write_text(json.dumps([SPLITS, {"train": ["c2"], "val": ["c0"], "test": ["c1"]}]))
        assert [j.config.fold for j in plan(spec)] == [0, 1]
    finally:
        splits.write_text(kept)


def test_one_configuration_for_each_data_set(spec: SweepSpec) -> None:
    spec = replace(spec, datasets=("em", "gm"), settings=("float",))
    assert [j.config.name for j in plan(spec)] == ["em", "gm"]
    assert [j.config.name for j in plan(replace(spec, configs=("demo",)))] == ["demo", "demo"]
    assert [j.config.name for j in plan(replace(spec, configs=("gm", "em")))] == ["gm", "em"]


def test_a_run_of_another_configuration_is_refused(spec: SweepSpec) -> None:
    first = plan(spec)[0]
    first.folder.mkdir(parents=True)
    save_config(first.config, first.folder / "config.yaml")
    assert load_config(first.folder / "config.yaml") == first.config and plan(spec)[0] == first
    save_config(replace(first.config, lr=0.5), first.folder / "config.yaml")
    with pytest.raises(
        UserError, match=r"float-f0-s0 is of another configuration \(lr is 0.5, not 0.003\): choose another"
    ):
        plan(spec)


KINDS = st.sampled_from(["done", "failed", "busy", "lost", "stopped"])


@given(st.data(), st.integers(1, 4), st.integers(1, 3))
def test_queue(data: st.DataObject, twins: int, workers: int) -> None:
    """Whatever happens: no run before its float run is done, no run twice at a time, each ends as done or failed."""
    jobs = []
    for index in range(twins):
        jobs.append(twin := job(Path("/out"), f"float{index}"))
        jobs += [job(Path("/out"), f"w{index}.{k}", twin.folder) for k in range(2)]
    finished = [j for j in jobs if data.draw(st.booleans())]
    queue, now, attempts = Queue(jobs, finished), 0.0, 0
    while queue.is_open:
        now += 1.0
        while len(queue.running) < workers and (started := queue.next(now)):
            done = {j.folder for j in queue.done}
            assert started.folder not in done and queue.running.count(started) == 1
            assert started.init_from is None or started.init_from in done
        if queue.running:
            attempts += 1
            kind = data.draw(KINDS) if attempts < 60 else "done"
            last = data.draw(st.sampled_from(queue.running))
            became = queue.settle(last, Outcome(kind, "said"), now)
            assert became.kind in (kind, "failed")
    ended = [j.folder for j in queue.done] + list(queue.failed)
    assert sorted(ended) == sorted(j.folder for j in jobs)


def test_a_lost_run_is_retried_a_few_times_first(tmp_path: Path) -> None:
    one, two = job(tmp_path, "one"), job(tmp_path, "two")
    queue = Queue([one, two])
    for attempt in range(TRIES):
        assert queue.next(0.0) == one
        kind = queue.settle(one, Outcome("lost", "killed"), 0.0).kind
        assert kind == ("failed" if attempt == TRIES - 1 else "lost")
    assert queue.failed == {one.folder: f"killed {TRIES} times"} and queue.next(0.0) == two


def test_a_busy_run_waits_while_others_go_on(tmp_path: Path) -> None:
    one, two = job(tmp_path, "one"), job(tmp_path, "two")
    queue = Queue([one, two])
    queue.next(0.0)
    queue.settle(one, Outcome("busy"), 0.0)
    assert queue.next(0.0) == two and queue.next(0.0) is None and queue.next(BUSY_PAUSE) == one
