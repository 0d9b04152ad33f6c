"""A trained network to the integer graph: codes, and batch norm, bias and steps folded into m and b; or to float layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from unetq.deploy.numbers import FloatLayer
from unetq.errors import UserError
from unetq.graph import Graph, Params, check
from unetq.nets import UNet

__all__ = ["fold", "lower"]


def lower(model: UNet) -> Graph:
    """The integer graph with the numbers of a network: those that its own evaluation computes with.

    Raises:
        UserError: the network has float layers, or its training diverged.
    """
    graph = model.graph
    if not graph.is_integer:
        raise UserError("The network has float layers, so it runs in torch only; quantize all layers to export it.")
    source = model.quantizer("input")
    one = np.zeros(0, np.float32)
    params = {"input": Params(np.zeros(0, np.int8), np.asarray([(1 / source.step).item()], np.float32), one)}
    for op in graph.weighted:
        layer = model.layer(op.name)
        assert layer.wq is not None
        m, b = layer.affine(model.quantizer(graph.tensors[op.inputs[0]].quantizer))
        codes = layer.wq.codes(layer.weight.detach()).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        params[op.name] = Params(codes, m.cpu().numpy(), b.cpu().numpy())
    quantized = [tensor for name, tensor in graph.tensors.items() if name not in ("image", "head")]
    steps = {tensor.name: float(model.quantizer(tensor.quantizer).step) for tensor in quantized}
    lowered = replace(graph, params=params, steps=steps)
    check(lowered)
    return lowered


def fold(model: UNet) -> dict[str, FloatLayer]:
    """The weighted layers of a network whose layers may be float, batch norm folded in (in float64); by operation's name."""
    layers = {}
    with torch.no_grad():
        for op in model.graph.weighted:
            layer = model.layer(op.name)
            weight = (layer.weight if layer.wq is None else layer.wq(layer.weight)).double()
            bias, norm = layer.bias.double(), layer.norm
            if norm is not None and norm.running_var is not None and norm.running_mean is not None:
                gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
                weight, bias = (
                    weight * gain.view(-1, 1, 1, 1),
                    (bias - norm.running_mean.double()) * gain + norm.bias.double(),
                )
            layers[op.name] = FloatLayer(
                weight.permute(0, 2, 3, 1).float().contiguous().cpu().numpy(), bias.float().cpu().numpy()
            )
    return layers
