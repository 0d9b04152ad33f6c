"""Times a training step of the same U-Net: float, our quantizers, and brevitas; on this CPU, interleaved, medians.

    python scripts/bench_train.py [--base 16 64] [--wbits 4 --abits 6] [--threads 1] [--steps 9] [--json]

A step is forward, loss, backward and AdamW on one batch of random crops. brevitas runs its usual QAT layers
(`QuantConv2d`, `QuantConvTranspose2d`, `QuantReLU` with learned scales) at the same bits, layer by layer, in the same graph.
Beside the step, the making of a batch (crops and augmentation, `configs/em.yaml`) is timed: what the loop waits for.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unetq.cost import level_size
from unetq.graph import Op, layout
from unetq.image.volume import Volume
from unetq.nets.unet import build, calibrate
from unetq.runtime.dataset import Case
from unetq.spec import NetSpec, QuantSpec
from unetq.train.config import load_config
from unetq.train.data import Crops
from unetq.train.losses import SegmentationLoss

WARM_UP = 2


class BrevitasUNet(nn.Module):
    """The same graph from brevitas's layers."""

    def __init__(self, net: NetSpec) -> None:
        super().__init__()
        self.graph = layout(net)
        self.steps = nn.ModuleDict()
        for op in self.graph.ops:
            source, out = self.graph.tensors[op.inputs[0]], self.graph.tensors[op.output]
            if op.kind == "quantize":
                self.steps[_key(op)] = qnn.QuantIdentity(bit_width=8)
            elif op.kind in ("conv", "transposed"):
                self.steps[_key(op)] = _layer(op, source.channels, out.channels, out.bits)

    def forward(self, image: Tensor) -> Tensor:
        """Logits."""
        size = (image.shape[-2], image.shape[-1])
        values = {"image": image}
        for op in self.graph.ops:
            rows, columns = level_size(size, self.graph.tensors[op.output].level)
            inputs = [values[name] for name in op.inputs]
            values[op.output] = self._run(op, inputs)[..., :rows, :columns]
        return values["head"]

    def _run(self, op: Op, inputs: list[Tensor]) -> Tensor:
        if op.kind == "concat":
            return torch.cat(inputs, 1)
        if op.kind == "maxpool":
            return F.max_pool2d(inputs[0], 2, ceil_mode=True)
        if op.kind in ("nearest", "bilinear"):
            return F.interpolate(inputs[0], scale_factor=2.0, mode=op.kind)
        out: Tensor = self.steps[_key(op)](inputs[0])
        return out


def _layer(op: Op, source: int, out: int, bits: int) -> nn.Module:
    if op.kind == "transposed":
        conv: nn.Module = qnn.QuantConvTranspose2d(source, out, 2, stride=2, bias=True, weight_bit_width=op.wbits)
    else:
        conv = qnn.QuantConv2d(source, out, op.kernel, padding=op.kernel // 2, bias=True, weight_bit_width=op.wbits)
    return conv if op.name == "head" else nn.Sequential(conv, nn.BatchNorm2d(out), qnn.QuantReLU(bit_width=bits))


def _key(op: Op) -> str:
    return op.name.replace(".", "_")


def _stepper(model: nn.Module, image: Tensor, label: Tensor) -> Callable[[], float]:
    """Seconds of one step."""
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    loss_of = SegmentationLoss(1)

    def step() -> float:
        start = time.perf_counter()
        loss = loss_of(model(image), label)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


def _models(net: NetSpec, wbits: int, abits: int, image: Tensor) -> dict[str, nn.Module]:
    models: dict[str, nn.Module] = {"float": build(replace(net, quant=QuantSpec.of("float")))}
    for scheme in ("fixed", "lsq"):
        quantized = build(replace(net, quant=QuantSpec.of(scheme, wbits, abits)))
        calibrate(quantized, [image])
        models[f"unetq {scheme}"] = quantized
    models["brevitas"] = BrevitasUNet(replace(net, quant=QuantSpec.of("fixed", wbits, abits)))
    return models


def _crop_seconds(steps: int) -> float:
    """Median seconds of making one batch as `unetq train --dataset em` does."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (1, 512, 512)).astype(np.uint8)
    volume = Volume(picture, (1.0, 1.0, 1.0), np.eye(4), "nifti")
    crops = Crops([Case("a", (volume,), (picture > 128).astype(np.uint8))], load_config("em"))
    seconds = []
    for step in range(WARM_UP + steps):
        start = time.perf_counter()
        crops.batch(step)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def measure(base: int, args: argparse.Namespace) -> dict[str, Any]:
    """Median milliseconds of a step of each network, and the ratios to the float one."""
    torch.manual_seed(0)
    image = torch.randn(args.batch, 1, args.crop, args.crop).to(memory_format=torch.channels_last)
    label = (torch.rand(args.batch, 1, args.crop, args.crop) < 0.5).to(torch.uint8)
    models = _models(NetSpec(base=base), args.wbits, args.abits, image)
    steppers = {name: _stepper(model, image, label) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(WARM_UP + args.steps):
        for name, step in steppers.items():
            seconds[name].append(step())
    medians = {name: 1000 * statistics.median(taken[WARM_UP:]) for name, taken in seconds.items()}
    return {
        "base": base,
        "ms": {name: round(ms, 1) for name, ms in medians.items()},
        "ratio_to_float": {name: round(ms / medians["float"], 3) for name, ms in medians.items()},
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=int, nargs="+", default=[16, 64])
    for name, default in (("wbits", 4), ("abits", 6), ("batch", 4), ("crop", 192), ("threads", 1), ("steps", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = {
        "cpu": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "brevitas")},
        "threads": args.threads,
        "batch": f"{args.batch} x {args.crop} x {args.crop}",
        "bits": f"W{args.wbits}A{args.abits}",
        "steps": [measure(base, args) for base in args.base],
        "crops_ms": round(1000 * _crop_seconds(3 * args.steps), 1),
    }
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{result['bits']}, batch {result['batch']}, {args.threads} thread(s), {result['versions']}")
    for each in result["steps"]:
        for name, ms in each["ms"].items():
            print(f"base {each['base']:3d}  {name:12s} {ms:9.1f} ms  {each['ratio_to_float'][name]:.2f} x float")
    print(f"a batch of crops: {result['crops_ms']} ms")


if __name__ == "__main__":
    main()
