"""A trained network to the integer graph: codes, and batch norm, bias and steps folded into m and b."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unetq.errors import UserError
from unetq.graph import Graph, Params, check
from unetq.nets import UNet

__all__ = ["lower"]


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
