"""Everything that the study page has on the table at once; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.app.inference import Result
from unetq.app.scene import TRUTH, Scene
from unetq.app.study import Mask, Study
from unetq.runtime.meta import Label

__all__ = ["Bench"]


@dataclass(frozen=True)
class Bench:
    """A study with its results.

    Attributes:
        models: name -> file of the chosen models.
        results: of those that have run.
        masks: of the models, of the corrections, and of the ground truth.
        coded: the labels 1, 2, ... with their SNOMED CT codes.
        maps: name -> probability or entropy.
        truth_hash: of the ground truth, "" without one.
    """

    study: Study
    models: Mapping[str, Path]
    results: Mapping[str, Result]
    masks: Mapping[str, Mask]
    coded: tuple[Label, ...]
    maps: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    truth_hash: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels 1, 2, ..."""
        return tuple(label.name for label in self.coded)

    @property
    def scene(self) -> Scene:
        """What can be shown."""
        return Scene(self.study, self.masks, self.labels, self.maps)

    @property
    def truth(self) -> Mask | None:
        """The ground truth."""
        return self.masks.get(TRUTH)

    @property
    def judged(self) -> dict[str, Mask]:
        """The masks that can be measured against the truth, or by themselves."""
        return {name: mask for name, mask in self.masks.items() if name != TRUTH}

    def key(self, name: str) -> tuple[str, ...]:
        """What a mask's measures depend on: the study, and the model or the mask's own name."""
        return self.results[name].key if name in self.results else (self.study.hash, name)
