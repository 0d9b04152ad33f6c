"""What a training run is asked to do: one frozen dataclass, one YAML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict

import unetq
from unetq.errors import UserError, nearest
from unetq.files import atomic_text
from unetq.spec import NetSpec, PrepSpec, QuantSpec, from_mapping, load_yaml, to_mapping

__all__ = ["AugmentSpec", "TrainConfig", "load_config", "presets", "save_config"]


@dataclass(frozen=True)
class AugmentSpec:
    """Probabilities and strengths of the random changes to a training crop; 0 switches one off.

    Attributes:
        flip: flips and quarter turns, probability of each.
        affine: probability of a small rotation, scaling and shear, edges mirrored.
        elastic: probability of a light elastic deformation.
        intensity: probability of each change of brightness, contrast and gamma.
        noise: probability of Gaussian noise.
        bias: probability of a smooth bias field, as a coil's shading.
        contrast: probability of a smooth random map of the intensities, as another scanner's or sequence's contrast.
        blur: probability of a lower resolution.
        deform: factor of the ranges of shear and scale (0.1 and 0.15) and of the elastic shifts (2 pixels); 0 to 4.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    flip: float = 0.5
    affine: float = 0.3
    elastic: float = 0.2
    intensity: float = 0.3
    noise: float = 0.2
    bias: float = 0.0
    contrast: float = 0.0
    blur: float = 0.0
    deform: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.deform <= 4.0:
            raise UserError(f"augment.deform is {self.deform}, but must be 0 to 4.")
        for name, value in asdict(self).items():
            if name != "deform" and not 0.0 <= value <= 1.0:
                raise UserError(f"augment.{name} is {value}, but a probability must be 0 to 1.")


# Largest share of a training with TernaryNet's tanh in which batch norm's statistics stand still.
TANH_FREEZE = 0.2
# Keys that only a quantized training reads.
QUANTIZED_ONLY = ("finetune_iterations", "finetune_lr", "freeze_bn", "distill", "calibrate", "init")
# Keys that only a training with TernaryNet's tanh reads.
TANH_ONLY = ("tanh_iterations",)


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        name: name of the setting, for tables.
        dataset: name of the data set.
        net: the network and its quantization.
        prep: what happens to a slice before the network.
        iterations, lr: steps and highest learning rate from random weights (a float network, or without a twin).
        finetune_iterations, finetune_lr: the same for quantization-aware training from a float checkpoint.
        tanh_iterations: steps of a network with TernaryNet's tanh, which learns most anew even from a twin; None = as
            `iterations`.
        batch: crops in a step, over all processes.
        crop: side of a crop in pixels.
        foreground: share of the crops that hold a pixel of a label, for labels that fill little of a slice.
        warmup: share of the steps in which the learning rate rises; then it falls along a cosine to `lr_floor` of it.
        weight_decay: of AdamW; on convolution weights only.
        dropout: share of the channels of the network's deepest level that a training step leaves out, for small sets.
        clip: highest norm of the gradient.
        ema: decay of an exponential mean of the weights, which is then what is validated and kept; 0 = off.
        freeze_bn: last share of a quantized training in which batch norm's statistics stand still, so that the weights
            are trained for the codes of inference; 1 = all through. Networks with TernaryNet's tanh freeze them for
            the last fifth at most (`frozen_share`); what the calibration does to them says `keeps_statistics`.
        distill: share of the loss of a quantized training that is the distance to the probabilities of its float twin, which
            knows more of a small set than the labels say; 0 = labels only.
        calibrate: batches that set the activation quantizers before a quantized training.
        fold: which entry of the data set's splits_final.json.
        seed: of the weights, the crops and the augmentation.
        init: float = a quantized network starts from a float twin; scratch = from random weights; auto = scratch where the
            activation is TernaryNet's tanh, which a ReLU twin prepares badly, else float.
        validate_every, save_every: steps between validations, and between saves for `--resume`.
        augment: random changes to the crops.
        precision: auto = bfloat16 autocast where the processor has the instructions, else float32.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str = "em"
    dataset: str = "em"
    net: NetSpec = field(default_factory=NetSpec)
    prep: PrepSpec = field(default_factory=PrepSpec)
    iterations: int = 1000
    lr: float = 3e-3
    finetune_iterations: int = 500
    finetune_lr: float = 1e-3
    tanh_iterations: int | None = None
    batch: int = 4
    crop: int = 192
    foreground: float = 0.0
    warmup: float = 0.05
    lr_floor: float = 0.01
    weight_decay: float = 1e-4
    dropout: float = 0.0
    clip: float = 1.0
    ema: float = 0.0
    freeze_bn: float = 0.2
    distill: float = 0.0
    calibrate: int = 4
    fold: int = 0
    seed: int = 0
    init: Literal["auto", "float", "scratch"] = "auto"
    validate_every: int = 100
    save_every: int = 50
    augment: AugmentSpec = field(default_factory=AugmentSpec)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        for key in ("iterations", "finetune_iterations", "batch", "calibrate", "validate_every", "save_every"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)}, but must be at least 1.")
        if self.tanh_iterations is not None and self.tanh_iterations < 1:
            raise UserError(f"tanh_iterations is {self.tanh_iterations}, but must be at least 1.")
        if self.crop < 8:
            raise UserError(f"crop is {self.crop} pixels, but must be at least 8.")
        if not (self.lr > 0 and self.finetune_lr > 0 and self.clip > 0):
            raise UserError("lr, finetune_lr and clip must be above 0.")
        for key in ("warmup", "lr_floor", "ema", "dropout", "distill"):
            if not 0.0 <= getattr(self, key) < 1.0:
                raise UserError(f"{key} is {getattr(self, key)}, but must be from 0 to below 1.")
        for key in ("foreground", "freeze_bn"):
            if not 0.0 <= getattr(self, key) <= 1.0:
                raise UserError(f"{key} is {getattr(self, key)}, but a share must be 0 to 1.")
        if self.weight_decay < 0:
            raise UserError(f"weight_decay is {self.weight_decay}, but must not be negative.")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed is {self.seed}, but must be from 0 to below 2**31.")

    @property
    def is_float(self) -> bool:
        """True where no layer is quantized, so that there is nothing to calibrate or to start from."""
        return self.net.quant.is_float and all(spec.is_float for spec in self.net.layers.values())

    @property
    def needs_twin(self) -> bool:
        """True for a quantized network that starts from its float twin."""
        wanted = self.init == "float" or (self.init == "auto" and self.net.quant.acts != "tht")
        return wanted and not self.is_float

    @property
    def frozen_share(self) -> float:
        """Last share of the steps without new batch-norm statistics.

        A twin's statistics are those of its ReLU: a network with TernaryNet's tanh has to learn its own first.
        """
        if self.is_float:
            return 0.0
        return min(self.freeze_bn, TANH_FREEZE) if self.net.quant.acts == "tht" else self.freeze_bn

    @property
    def keeps_statistics(self) -> bool:
        """Whether the calibration, too, leaves batch norm's statistics as they are: the twin's, to stand still all through.

        Weights of 1 and 2 bits have another variance than the twin's, and so have the layers' sums: these need new ones.
        """
        return self.frozen_share == 1.0 and self.net.quant.wbits > 2

    @property
    def steps(self) -> int:
        """Steps of this run itself, its twin's not counted."""
        if self.net.quant.acts == "tht":
            return self.tanh_iterations or self.iterations
        return self.finetune_iterations if self.needs_twin else self.iterations

    @property
    def peak_lr(self) -> float:
        """Highest learning rate of this run."""
        return self.finetune_lr if self.needs_twin else self.lr

    def without_unread(self) -> TrainConfig:
        """The same training, with the keys that only another kind of training reads at their defaults.

        So it stays the same training, and need not be repeated, where only another kind's is changed.
        """
        unread = QUANTIZED_ONLY + TANH_ONLY if self.is_float else TANH_ONLY if self.net.quant.acts != "tht" else ()
        return replace(self, **{key: getattr(TrainConfig, key) for key in unread})

    def twin(self) -> TrainConfig:
        """The same training without any quantization, and without what only a quantized one reads."""
        net = replace(self.net, quant=QuantSpec.of("float"), layers={}, float_first_last=False)
        return replace(self, name=f"{self.name} float", net=net).without_unread()


def load_config(source: Path | str) -> TrainConfig:
    """Reads a preset by name (`em`), or a YAML file by path.

    Raises:
        UserError: no such preset or file, an unknown key (with the nearest valid name), or a wrong value.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = _preset_folder() / f"{source}.yaml"
        if not path.is_file():
            raise UserError(f'There is no configuration "{source}": {nearest(str(source), presets())}')
    return from_mapping(TrainConfig, load_yaml(path), str(path))


def save_config(config: TrainConfig, path: Path) -> None:
    """Writes the YAML that `load_config` reads back to an equal configuration."""
    atomic_text(path, yaml.safe_dump(_plain(to_mapping(config)), sort_keys=False))


def presets() -> list[str]:
    """Names of the configurations that come with unetq."""
    return sorted(path.stem for path in _preset_folder().glob("*.yaml"))


def _preset_folder() -> Path:
    """Beside the package's modules once installed; beside the package in a source tree."""
    package = Path(unetq.__file__).parent
    return next((folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir()), package)


def _plain(value: Any) -> Any:
    """Tuples at any depth as lists, which is what YAML has."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
