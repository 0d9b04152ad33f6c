"""From torch to the file: native == reference bit for bit (promise A), torch equal but for ties (promise B)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unetq.deploy.export import export
from unetq.deploy.lower import lower
from unetq.deploy.parity import compare
from unetq.errors import UserError
from unetq.nets import UNet, build, calibrate
from unetq.runtime.meta import Label, ModelMeta
from unetq.runtime.model import Model, open_model
from unetq.spec import NetSpec, QuantSpec

SCHEMES = [
    ("fixed", 4, 6),
    ("fixed", 2, 2),
    ("fixed", 8, 8),
    ("fixed", 5, 1),
    ("lsq", 4, 6),
    ("lsq", 3, 7),
    ("ternary", None, 4),
    ("binary", None, 3),
    ("ternarynet", None, None),
]


def images(channels: int, count: int = 2, size: tuple[int, int] = (45, 38)) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    rough = [rng.normal(size=(channels, size[0] // 4 + 1, size[1] // 4 + 1)) for _ in range(count)]
    smooth = [each.repeat(4, 1).repeat(4, 2)[:, : size[0], : size[1]] for each in rough]
    return [(each + 0.3 * rng.normal(size=each.shape)).astype(np.float32) for each in smooth]


def trained(net: NetSpec, seed: int = 0) -> UNet:
    """Random weights with all that training would move: norms' scales of both signs, biases, statistics, steps."""
    torch.manual_seed(seed)
    model = build(net)
    with torch.no_grad():
        for op in model.graph.weighted:
            layer = model.layer(op.name)
            layer.bias.normal_(0, 0.2)
            if layer.norm is not None:
                layer.norm.weight.uniform_(0.5, 1.5).mul_(torch.where(torch.rand(layer.norm.weight.shape) < 0.2, -1, 1))
                layer.norm.bias.normal_(0.2, 0.3)
    calibrate(model, [torch.from_numpy(np.stack(images(net.in_channels, 4)))])
    return model.eval()


def exported(model: UNet, folder: Path) -> Model:
    labels = tuple(Label(f"label {i}") for i in range(max(1, model.net.out_channels - 1)))
    return open_model(export(model, ModelMeta(labels=labels), folder / "model.gguf"), threads=2)


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear", "transposed"])
@pytest.mark.parametrize(("scheme", "wbits", "abits"), SCHEMES)
def test_promises(scheme: str, wbits: int | None, abits: int | None, upsampling: str, tmp_path: Path) -> None:
    quant = QuantSpec.of(scheme, wbits, abits)
    model = trained(NetSpec(base=8, depth=2, cap=24, upsampling=upsampling, quant=quant))  # type: ignore[arg-type]
    parity = compare(model, exported(model, tmp_path), images(1))
    assert parity.native.exact and parity.native.logits == 0 and parity.native.dice == 1
    assert parity.torch.codes >= 0.9999, parity.torch
    assert parity.torch.dice >= 0.9999
    assert parity.kept
    assert set(parity.torch.tensors) == set(model.graph.tensors) - {"image"}


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 64)])
def test_any_size(size: tuple[int, int], tmp_path: Path) -> None:
    net = NetSpec(
        in_channels=2, out_channels=3, base=6, depth=3, cap=20, upsampling="bilinear", last_kernel=1,
        quant=QuantSpec.of("lsq", 4, 5), layers={"mid.conv1": QuantSpec.of("fixed", 8, 8)},
    )  # fmt: skip
    model = trained(net)
    assert compare(model, exported(model, tmp_path), images(2, 1, size)).kept


def test_codes_are_alive(tmp_path: Path) -> None:
    # A network whose codes are all 0 would keep every promise.
    model = trained(NetSpec(base=8, depth=2, quant=QuantSpec.of("fixed", 4, 6)))
    dump = exported(model, tmp_path).dump(images(1)[0])
    for name, codes in dump.items():
        assert len(np.unique(codes)) > 8, name


def test_lowered_graph(tmp_path: Path) -> None:
    model = trained(NetSpec(base=4, depth=1, quant=QuantSpec.of("lsq", 4, 6)))
    graph = lower(model)
    assert set(graph.params) == {"input", *(op.name for op in graph.weighted)}
    for op in graph.weighted:
        layer, params = model.layer(op.name), graph.params[op.name]
        source = model.quantizer(graph.tensors[op.inputs[0]].quantizer)
        with torch.no_grad():
            assert layer.wq is not None
            weight = layer.wq(layer.weight).numpy() / layer.wq.step(layer.weight).numpy().reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(params.codes.transpose(0, 3, 1, 2), weight, atol=1e-4)
        np.testing.assert_array_equal(params.m, layer.affine(source)[0].numpy())
    # Tensors that meet in a concatenation have one step.
    assert graph.steps["up0"] == graph.steps["enc0.conv2"] == graph.steps["cat0"]


def test_power_of_two_steps_without_a_norm_make_shifts() -> None:
    model = trained(NetSpec(base=4, depth=1, quant=QuantSpec.of("fixed", 4, 6)))
    assert (np.frexp(lower(model).params["head"].m)[0] == 0.5).all()


def test_export_does_not_depend_on_the_mode(tmp_path: Path) -> None:
    model = trained(NetSpec(base=4, depth=1))
    first = exported(model, tmp_path).hash
    assert exported(model.train(), tmp_path).hash == first


@pytest.mark.parametrize(
    "net",
    [
        NetSpec(base=4, depth=1, quant=QuantSpec.of("float")),
        NetSpec(base=4, depth=1, quant=QuantSpec.of("fixed", 32, 6)),
        NetSpec(base=4, depth=1, quant=QuantSpec.of("fixed", 4, 32)),
        NetSpec(base=4, depth=1, quant=QuantSpec.of("ternarynet"), float_first_last=True),
    ],
)
def test_float_layers_run_in_torch_only(net: NetSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="runs in torch only"):
        exported(build(net).eval(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_training_is_refused(tmp_path: Path) -> None:
    model = trained(NetSpec(base=4, depth=1))
    with torch.no_grad():
        model.layer("mid.conv1").bias[0] = torch.nan
    with pytest.raises(UserError, match=r"mid\.conv1 has a scale that is not finite"):
        exported(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_compare_finds_a_difference(tmp_path: Path) -> None:
    model = trained(NetSpec(base=8, depth=1))
    other = exported(model, tmp_path)
    with torch.no_grad():
        model.layer("dec0.conv2").bias[0] += 1
    parity = compare(model, other, images(1))
    assert parity.native.exact and not parity.kept
    assert parity.torch.tensors["dec0.conv1"] == 1 > parity.torch.tensors["dec0.conv2"]
    assert parity.torch.logits > 0
