"""What a model file says beside its numbers: how to prepare an image, what the labels mean, where the model comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unetq.spec import PrepSpec

__all__ = ["Label", "ModelMeta"]


@dataclass(frozen=True)
class Label:
    """One label of the mask; `snomed` is its SNOMED CT code, "" where there is none."""

    name: str
    snomed: str = ""


@dataclass(frozen=True)
class ModelMeta:
    """Metadata of a model file.

    Attributes:
        prep: what happens to an image before the network.
        labels: meaning of the mask values 1, 2, ...
        provenance: plain values (JSON): data set and its hash, seed, Dice per case, commit, versions.
        intended_use: a sentence for the reader.
    """

    prep: PrepSpec = field(default_factory=PrepSpec)
    labels: tuple[Label, ...] = (Label("foreground"),)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    intended_use: str = ""
