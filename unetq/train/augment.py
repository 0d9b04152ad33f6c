"""Random changes to a training crop, by MONAI, as a pure function of a seed."""

from __future__ import annotations

import numpy as np
import torch
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandBiasFieldd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandHistogramShiftd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.transforms.spatial.dictionary import Rand2DElasticd, RandAffined, RandFlipd, RandRotate90d
from monai.transforms.utility.dictionary import Lambdad
from numpy.typing import NDArray

from unetq.train.config import AugmentSpec

__all__ = ["Augment"]

BOTH = ("image", "label")
# Labels are codes, not amounts: nearest neighbour. Edges are mirrored, for a black border is nothing a microscope sees.
MODES = ("bilinear", "nearest")

# A coil's shading multiplies the signal, which is 0 about here in normalised images ("unit": exactly).
DARKEST = 1.0


class Augment:
    """The transforms of an `AugmentSpec`.

    Every call sets the state of every transform anew, so that the result depends on nothing but the arguments.
    """

    def __init__(self, spec: AugmentSpec) -> None:
        chain = [
            (spec.flip, RandFlipd(BOTH, prob=spec.flip, spatial_axis=0)),
            (spec.flip, RandRotate90d(BOTH, prob=spec.flip, max_k=3)),
            (spec.affine, _affine(spec.affine, spec.deform)),
            (spec.elastic, _elastic(spec.elastic, spec.deform)),
            (spec.intensity, RandScaleIntensityd("image", factors=0.2, prob=spec.intensity)),
            (spec.intensity, RandShiftIntensityd("image", offsets=0.2, prob=spec.intensity)),
            (spec.intensity, RandAdjustContrastd("image", gamma=(0.7, 1.4), prob=spec.intensity)),
            (spec.bias, Lambdad("image", lambda image: image + DARKEST)),
            (spec.bias, RandBiasFieldd("image", degree=3, coeff_range=(0.0, 0.3), prob=spec.bias)),
            (spec.bias, Lambdad("image", lambda image: image - DARKEST)),
            (spec.contrast, RandHistogramShiftd("image", num_control_points=(4, 8), prob=spec.contrast)),
            (spec.blur, RandGaussianSmoothd("image", (0.5, 2.0), (0.5, 2.0), (0.0, 0.0), prob=spec.blur)),
            (spec.noise, RandGaussianNoised("image", prob=spec.noise, std=0.2)),
        ]
        self.transform = Compose([transform for probability, transform in chain if probability > 0])

    def __call__(
        self, image: NDArray[np.float32], label: NDArray[np.uint8], seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Changes one crop.

        Args:
            image: (C, h, w).
            label: (h, w).
            seed: below 2**32.

        Returns:
            image float32 (C, h, w), label uint8 (1, h, w).
        """
        self.transform.set_random_state(seed=seed)
        crop = {"image": torch.from_numpy(image), "label": torch.from_numpy(label[None].astype(np.float32))}
        out = self.transform(crop)
        # MONAI's tensors carry their history along; the network needs the numbers only.
        plain = {key: torch.as_tensor(value).as_subclass(torch.Tensor) for key, value in out.items()}
        return plain["image"].float().contiguous(), plain["label"].to(torch.uint8).contiguous()


def _affine(probability: float, deform: float) -> RandAffined:
    return RandAffined(
        BOTH,
        prob=probability,
        rotate_range=np.pi / 8,
        shear_range=0.1 * deform,
        scale_range=0.15 * deform,
        mode=MODES,
        padding_mode="reflection",
    )


def _elastic(probability: float, deform: float) -> Rand2DElasticd:
    return Rand2DElasticd(
        BOTH,
        spacing=(24, 24),
        magnitude_range=(0.5 * deform, 2.0 * deform),
        prob=probability,
        mode=MODES,
        padding_mode="reflection",
    )
