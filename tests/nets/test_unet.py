"""The U-Net: the paper's size, any image size, evaluation is the integer graph, fake quantization is its shadow."""

from __future__ import annotations

import pytest
import torch

from unetq.errors import UserError
from unetq.nets import UNet, build, calibrate, codes, load_float_weights, set_slope
from unetq.quant.acts import ThtActs
from unetq.spec import NetSpec, QuantSpec


def parameters(model: UNet) -> int:
    """Weights, biases and batch norms, without the quantizers' steps."""
    return sum(p.numel() for name, p in model.named_parameters() if "wq." not in name and "quantizers." not in name)


def test_paper_network_has_its_published_size() -> None:
    net = NetSpec(base=64, cap=256, upsampling="bilinear", quant=QuantSpec.of("float"))
    with torch.device("meta"):
        model = build(net)
    assert parameters(model) == 4_837_249


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear", "transposed"])
@pytest.mark.parametrize("scheme", ["fixed", "lsq", "ternary", "binary", "ternarynet", "float"])
def test_every_scheme_runs_and_learns_on_any_size(scheme: str, upsampling: str) -> None:
    torch.manual_seed(0)
    model = build(NetSpec(base=4, depth=2, upsampling=upsampling, quant=QuantSpec.of(scheme)))  # type: ignore[arg-type]
    calibrate(model, [torch.randn(2, 1, 16, 16)])
    model.train()(torch.randn(2, 1, 13, 10)).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    with torch.inference_mode():
        for size in ((1, 1), (5, 9)):
            assert model.eval()(torch.randn(1, 1, *size)).shape == (1, 1, *size)


@pytest.mark.parametrize("mixed", [("fixed", "float", 4, 32), ("float", "fixed", 32, 6)])
def test_one_side_may_stay_float(mixed: tuple[str, str, int, int]) -> None:
    model = build(NetSpec(base=4, depth=1, quant=QuantSpec(*mixed)))  # type: ignore[arg-type]
    model.train()(torch.randn(2, 1, 8, 8))
    assert model.eval()(torch.randn(1, 1, 8, 8)).isfinite().all()


def test_published_ternarynet_keeps_first_and_last_layer_float() -> None:
    model = build(NetSpec(base=4, depth=1, quant=QuantSpec.of("ternarynet"), float_first_last=True))
    assert model.layer("enc0.conv1").wq is None and model.layer("head").wq is None
    assert model.layer("enc0.conv2").wq is not None
    assert model.eval()(torch.randn(1, 1, 8, 8)).isfinite().all()


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear", "transposed"])
def test_evaluation_equals_fake_quantization_but_for_rounding_ties(upsampling: str) -> None:
    """The float shadow that is trained and the integers that are shipped are one network."""
    torch.manual_seed(0)
    model = build(NetSpec(base=8, depth=2, upsampling=upsampling, quant=QuantSpec.of("fixed", 4, 4)))  # type: ignore[arg-type]
    calibrate(model, [torch.randn(2, 1, 32, 32) for _ in range(3)])
    image = torch.randn(1, 1, 40, 36)
    whole = model.eval().tensors(image)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        fake = model.tensors(image)
    for name, (value, quantizer) in whole.items():
        if quantizer is not None:
            assert (value == fake[name].value).float().mean() > 0.999, name


def test_tensors_of_one_quantizer_share_one_step() -> None:
    model = build(NetSpec(base=4, depth=2))
    values = model.tensors(torch.randn(1, 1, 8, 8))
    for level in range(2):
        assert (
            values[f"cat{level}"].quantizer is values[f"enc{level}.conv2"].quantizer is values[f"up{level}"].quantizer
        )


def test_float_twin_hands_over_its_weights() -> None:
    torch.manual_seed(0)
    twin = build(NetSpec(base=4, depth=1, quant=QuantSpec.of("float")))
    model = build(NetSpec(base=4, depth=1, quant=QuantSpec.of("fixed", 8, 8)))
    load_float_weights(model, twin.state_dict())
    assert torch.equal(model.layer("mid.conv1").weight, twin.layer("mid.conv1").weight)
    batches = [torch.randn(4, 1, 16, 16) for _ in range(4)]
    calibrate(model, batches)
    twin.train()
    for batch in batches:
        twin(batch)
    image = torch.randn(1, 1, 16, 16)
    close = (model.eval()(image) - twin.eval()(image)).abs().mean() / twin(image).abs().mean()
    assert close < 0.1, "8-bit codes of the float weights make nearly the same logits"
    other = build(NetSpec(base=6, depth=1, quant=QuantSpec.of("float")))
    with pytest.raises(UserError, match="do not fit"):
        load_float_weights(model, other.state_dict())


def test_a_calibration_without_statistics_passes_the_batches_as_at_inference() -> None:
    torch.manual_seed(0)
    twin = build(NetSpec(base=4, depth=2, quant=QuantSpec.of("float")), dropout=0.5)
    twin.train()
    for _ in range(20):
        twin(3.0 * torch.randn(4, 1, 16, 16) + 1.0)
    batch = 3.0 * torch.randn(8, 1, 16, 16) + 1.0
    models = []
    for _ in range(2):
        model = build(NetSpec(base=4, depth=2, quant=QuantSpec.of("fixed", 8, 8)), dropout=0.5)
        load_float_weights(model, twin.state_dict())
        calibrate(model, [batch], statistics=False)
        assert model.training and all(module.training for module in model.modules()), "modes are as before"
        models.append(model.state_dict())
    kept = [name for name in twin.state_dict() if "running" in name or "num_batches" in name]
    assert kept and all(torch.equal(models[0][name], twin.state_dict()[name]) for name in kept)
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items()), "no dropout drew a number"
    # Most of what the network then meets lies inside the ranges of the codes: its logits are nearly the twin's.
    image = 3.0 * torch.randn(4, 1, 16, 16) + 1.0
    model.eval()
    twin.eval()
    assert (model(image) - twin(image)).abs().mean() < 0.2 * twin(image).abs().mean()


def test_slope_reaches_every_activation() -> None:
    model = build(NetSpec(base=4, depth=1, quant=QuantSpec.of("ternarynet")))
    set_slope(model, 5.0)
    slopes = {float(m.slope) for m in model.modules() if isinstance(m, ThtActs)}
    assert slopes == {5.0}


def test_codes_are_those_of_every_tensor() -> None:
    model = build(NetSpec(base=4, depth=1, quant=QuantSpec.of("fixed", 4, 3)))
    calibrate(model, [torch.randn(2, 1, 16, 16)])
    found = codes(model, torch.randn(1, 1, 9, 7))
    assert set(found) == set(model.graph.tensors) - {"image"}
    inner = found["dec0.conv2"]
    assert inner.dtype == torch.int32 and int(inner.min()) >= 0 and int(inner.max()) <= 7


def test_two_bits_overfit_one_image() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 1, 16, 16)
    truth = (torch.nn.functional.avg_pool2d(image, 5, 1, 2) > 0).float()
    model = build(NetSpec(base=8, depth=2, quant=QuantSpec.of("fixed", 2, 2)))
    calibrate(model, [image])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    for _ in range(120):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(image), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = ((model(image) > 0) == (truth > 0.5)).float().mean()
    assert right > 0.9


def test_dropout_leaves_out_channels_of_the_deepest_level_in_training_only() -> None:
    torch.manual_seed(1)
    net = NetSpec(base=8, depth=2, quant=QuantSpec.of("float"))
    model, plain = build(net, dropout=0.5), build(net)
    image = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        values = model.train().tensors(image)
        plain.load_state_dict(model.state_dict())
        assert torch.equal(model.eval()(image), plain.eval()(image))
        without = plain.train().tensors(image)

    def dropped(name: str) -> bool:
        return not torch.equal(values[name].value, without[name].value)

    assert not any(dropped(name) for name in ("enc0.conv2", "enc1.conv2", "pool1"))
    for name in ("mid.conv1", "mid.conv2"):
        assert (values[name].value.flatten(2).abs().amax(2) == 0).float().mean() > 0.2, name
