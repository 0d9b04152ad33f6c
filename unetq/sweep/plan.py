"""Which runs a sweep is made of, and in which order; no torch in here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unetq.data_prep.registry import preset, resolve
from unetq.errors import UserError, nearest
from unetq.runtime.dataset import Dataset
from unetq.spec import SCHEMES, QuantSpec, to_mapping
from unetq.train.config import TrainConfig, load_config
from unetq.train.runlog import RunFolder

__all__ = ["Job", "SweepSpec", "names", "parse_folds", "plan", "settings_of"]

WIDTHS = re.compile(r"W(\d+)A(\d+)")
# Quantizers with widths of the user's choice; the other words of SCHEMES are settings of their own.
QUANTIZERS = ("fixed", "lsq")
OWN = tuple(name for name in SCHEMES if name not in QUANTIZERS)
FLOAT = "float"


@dataclass(frozen=True)
class SweepSpec:
    """What is to be trained: every setting on every data set, for each fold and seed.

    Attributes:
        datasets: names of data sets, or prepared folders.
        settings: float, WxAy, ternarynet, ternary, binary.
        quantizers: fixed, lsq: each multiplies the WxAy settings.
        seeds: number of seeds, 0, 1, ...
        folds: entries of splits_final.json; None for all that a data set has; () for those that test other cases than the
            ones before: all where each subject is left out in turn, the first where every fold has one test.
        configs: YAML files or presets: none for the data sets' own, one for all, or one each.
        data: folder of the data, as `--data` of the other verbs.
        out: folder of the runs: OUT/<dataset>/<setting>[-lsq]-f<fold>-s<seed>.
    """

    datasets: tuple[str, ...] = ("em",)
    settings: tuple[str, ...] = (FLOAT, "W4A6")
    quantizers: tuple[str, ...] = ("fixed",)
    seeds: int = 1
    folds: tuple[int, ...] | None = ()
    configs: tuple[str, ...] = ()
    data: Path | None = None
    out: Path = Path("runs/sweep")

    def __post_init__(self) -> None:
        for option, given in (("dataset", self.datasets), ("settings", self.settings), ("quantizer", self.quantizers)):
            if not given:
                raise UserError(f"A sweep needs at least one name in --{option}.")
        for name in self.quantizers:
            if name not in QUANTIZERS:
                hint = "name it in --settings" if name in OWN else nearest(name, QUANTIZERS)
                raise UserError(f'"{name}" is no quantizer of the WxAy settings: {hint}.')
        if self.seeds < 1:
            raise UserError(f"--seeds is {self.seeds}, but must be at least 1.")
        if len(self.configs) not in (0, 1, len(self.datasets)):
            raise UserError(
                f"--config names {len(self.configs)} configurations for {len(self.datasets)} data sets: name one for all "
                "of them, or one for each, in their order."
            )


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        folder: of the run.
        config: what to train.
        data: prepared data set.
        init_from: the float run that it starts from, which must be finished first; None where it needs none.
    """

    folder: Path
    config: TrainConfig
    data: Path
    init_from: Path | None = None

    @property
    def name(self) -> str:
        """Data set and setting: em/W4A6-f0-s0."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def finished(self) -> bool:
        """True once its test split is scored."""
        return RunFolder(self.folder).finished


def names(text: str) -> tuple[str, ...]:
    """The names in a list with commas, each once.

    >>> names("em, gm,em")
    ('em', 'gm')
    """
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse_folds(text: str) -> tuple[int, ...] | None:
    """Folds by number; None for "all"; () for "tests" (`SweepSpec.folds`).

    Raises:
        UserError: neither.

    >>> parse_folds("0,2"), parse_folds("all"), parse_folds("tests")
    ((0, 2), None, ())
    """
    if text in ("all", "tests"):
        return None if text == "all" else ()
    if not names(text) or not all(re.fullmatch(r"[0-9]+", name) for name in names(text)):
        raise UserError(f'--folds is "{text}", but must be numbers like 0 or 0,1, or all, or tests.')
    return tuple(dict.fromkeys(int(name) for name in names(text)))


def settings_of(settings: Sequence[str], quantizers: Sequence[str]) -> dict[str, QuantSpec]:
    """Folder name of each setting -> its quantization; two words for one thing are one setting, under the first word.

    Raises:
        UserError: an unknown setting, or widths that its quantizer cannot have.

    >>> list(settings_of(["float", "W4A6", "binary"], ["fixed", "lsq"]))
    ['float', 'W4A6', 'W4A6-lsq', 'binary']
    """
    found: dict[str, QuantSpec] = {}
    for setting in settings:
        for name, quant in _variants(setting, quantizers):
            if quant not in found.values():
                found[name] = quant
    return found


def _variants(setting: str, quantizers: Sequence[str]) -> Iterator[tuple[str, QuantSpec]]:
    widths = WIDTHS.fullmatch(setting)
    if widths:
        for quantizer in quantizers:
            quant = QuantSpec.of(quantizer, int(widths[1]), int(widths[2]))
            yield setting if quantizer == QUANTIZERS[0] else f"{setting}-{quantizer}", quant
    elif setting in OWN:
        yield setting, QuantSpec.of(setting)
    elif setting in QUANTIZERS:
        raise UserError(f'"{setting}" is a quantizer: name it in --quantizer, and the bits in --settings, like W4A6.')
    else:
        raise UserError(f'There is no setting "{setting}": name bits like W4A6, or one of {", ".join(OWN)}.')


def plan(spec: SweepSpec) -> tuple[Job, ...]:
    """The runs in the order to start them in: by seed, so that a sweep that is cut short has whole tables of fewer seeds.

    The float run of a data set, fold and seed comes before the quantized runs that start from it; it is planned even where
    float is not among the settings.

    Raises:
        UserError: no such data set, fold, setting or configuration, or a run in `out` is of another configuration.
    """
    settings = settings_of(spec.settings, spec.quantizers)
    sources = [_Source.open(spec, index, dataset) for index, dataset in enumerate(spec.datasets)]
    names = [source.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f'The data set "{twice}" is named twice; name each once.')
    jobs = [
        job
        for seed in range(spec.seeds)
        for source in sources
        for fold in source.folds
        for job in _block(source, settings, spec.out, fold, seed)
    ]
    for job in jobs:
        if (job.folder / "config.yaml").is_file():
            _refuse_other_training(job)
    return tuple(jobs)


@dataclass(frozen=True)
class _Source:
    """One data set of a sweep: its name, prepared folder, folds and configuration."""

    name: str
    folder: Path
    folds: tuple[int, ...]
    config: TrainConfig

    @staticmethod
    def open(spec: SweepSpec, index: int, dataset: str) -> _Source:
        name, folder = resolve(dataset, spec.data)
        config = spec.configs[min(index, len(spec.configs) - 1)] if spec.configs else preset(name)
        folds = spec.folds or _folds(folder, every=spec.folds is None)
        for fold in folds:
            Dataset.open(folder, fold)
        return _Source(name, folder.resolve(), folds, replace(load_config(config), dataset=name))


def _block(source: _Source, settings: Mapping[str, QuantSpec], out: Path, fold: int, seed: int) -> Iterator[Job]:
    """The runs of one data set, fold and seed, float first."""

    def job(setting: str, config: TrainConfig, init_from: Path | None = None) -> Job:
        return Job(out.resolve() / source.name / f"{setting}-f{fold}-s{seed}", config, source.folder, init_from)

    config = replace(source.config, fold=fold, seed=seed)
    twin = job(FLOAT, replace(config.twin(), name=config.name))
    quantized = {
        name: replace(config, net=replace(config.net, quant=quant)).without_unread()
        for name, quant in settings.items()
        if not quant.is_float
    }
    if len(quantized) < len(settings) or any(wanted.needs_twin for wanted in quantized.values()):
        yield twin
    for name, wanted in quantized.items():
        yield job(name, wanted, twin.folder if wanted.needs_twin else None)


def _folds(folder: Path, every: bool) -> tuple[int, ...]:
    """Every fold, or each that tests other cases than those before it."""
    folds: Any = json.loads((folder / "splits_final.json").read_text(encoding="utf-8"))
    folds = folds if isinstance(folds, list) else [folds]
    tests = [frozenset(fold.get("test", ())) for fold in folds]
    return tuple(index for index, test in enumerate(tests) if every or test not in tests[:index])


def _refuse_other_training(job: Job) -> None:
    """Refuses a run that is there but was not trained as planned: it would pass for one of this sweep in the table.

    Raises:
        UserError: names a key that differs.
    """
    from unetq.train.data import fitted  # reaches torch, which a first start of a sweep does not need

    config = fitted(job.config, Dataset.open(job.data, job.config.fold))
    saved, wanted = (_flat(to_mapping(c)) for c in (load_config(job.folder / "config.yaml"), config))
    for key in sorted(saved.keys() | wanted.keys()):
        if saved.get(key) != wanted.get(key):
            raise UserError(
                f"The run in {job.folder} is of another configuration ({key} is {saved.get(key)}, not {wanted.get(key)}): "
                "choose another --out, or delete that run."
            )


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, sequences as lists."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
