"""Writes model files and studies that reach every family of kernels: `python scripts/make_sanitizer_cases.py FOLDER`.

The folder gets `cases.txt`: a model, a study and the mask's name in each line.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.models import random_graph
from unetq.deploy.container import write_model
from unetq.runtime.meta import Label, ModelMeta
from unetq.spec import NetSpec, PrepSpec, QuantSpec

# Odd widths of all sorts: pixels that are padded, panels that are not full, heads of few and of many channels.
NETS = (
    NetSpec(base=5, depth=2, cap=21, upsampling="bilinear", quant=QuantSpec.of("fixed", 4, 6)),
    NetSpec(base=16, depth=2, cap=40, out_channels=6, upsampling="nearest", quant=QuantSpec.of("fixed", 8, 8)),
    NetSpec(base=32, depth=1, out_channels=3, upsampling="transposed", quant=QuantSpec.of("lsq", 7, 7)),
    NetSpec(base=8, depth=2, last_kernel=1, upsampling="bilinear", quant=QuantSpec.of("ternarynet")),
    NetSpec(base=12, depth=1, upsampling="transposed", quant=QuantSpec.of("binary", 1, 4)),
    NetSpec(base=64, depth=1, upsampling="nearest", quant=QuantSpec.of("ternary", 2, 2)),
)
PREPS = (PrepSpec(tile=512), PrepSpec(tile=48, orientation="LPS", spacing=0.8), PrepSpec(tile=32, normalise="unit"))


def main(folder: Path) -> None:
    """Models and studies; sizes that begin several strips and end inside one."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    affine = np.diag([0.7, -0.9, 2.0, 1.0])[[1, 0, 2, 3]]
    nib.save(nib.Nifti1Image(rng.integers(0, 999, (53, 61, 2)).astype(np.int16), affine), folder / "a.nii.gz")
    np.save(folder / "b.npy", rng.normal(size=(67, 45)).astype(np.float32))
    (folder / "c.pgm").write_bytes(b"P5\n66 90\n65535\n" + rng.integers(0, 65535, (90, 66)).astype(">u2").tobytes())
    lines = []
    for i, net in enumerate(NETS):
        for j in (i % 3, (i + 1) % 3):  # two of the three: each meets each kind of net
            prep = PREPS[j]
            labels = tuple(Label(f"label {k}") for k in range(max(1, net.out_channels - 1)))
            path = write_model(random_graph(net, i), ModelMeta(prep, labels), folder / f"model{i}{j}.gguf")
            study = "a.nii.gz" if prep.spacing else ("b.npy", "c.pgm")[j // 2]
            lines.append(f"{path.name} {study} {path.stem}-{study}")
    (folder / "cases.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
