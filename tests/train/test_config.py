from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.made import config
from unetq.errors import UserError
from unetq.graph import layout
from unetq.spec import QuantSpec, from_mapping
from unetq.train.config import TrainConfig, load_config, presets, save_config
from unetq.train.schedule import freezes_bn, learning_rate, slope


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"iteratons": 3}, 'Unknown key "iteratons" in x.yaml: did you mean "iterations"?'),
        ({"net": {"bse": 3}}, 'Unknown key "net.bse" in x.yaml: did you mean "base"?'),
        ({"augment": {"flp": 1}}, 'Unknown key "augment.flp" in x.yaml: did you mean "flip"?'),
        ({"augment": {"flip": 2}}, "a probability must be 0 to 1"),
        ({"iterations": 0}, "iterations is 0, but must be at least 1"),
        ({"lr": -1}, "above 0"),
        ({"init": "flot"}, '"init" in x.yaml is'),
        ({"ema": 1.0}, "from 0 to below 1"),
        ({"crop": 4}, "at least 8"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        from_mapping(TrainConfig, values, "x.yaml")
    assert sentence in str(error.value)


def test_presets_are_valid() -> None:
    assert presets() == ["default", "demo", "em", "gm", "nih", "paper"]
    for name in presets():
        layout(load_config(name).net)
    em = load_config("em")
    assert (em.net.base, em.net.depth, em.net.cap, em.batch, em.crop, em.iterations) == (16, 3, 64, 4, 192, 1500)
    paper = load_config("paper").net
    assert [paper.channels(level) for level in range(4)] == [64, 128, 256, 256]
    with pytest.raises(UserError, match="valid are: default, demo, em, gm, nih, paper"):
        load_config("nothing")


def test_yaml_round_trip(tmp_path: Path) -> None:
    made = config(QuantSpec.of("lsq", 2, 3), ema=0.9)
    save_config(made, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == made


def test_a_quantized_run_from_float_has_a_float_twin() -> None:
    quantized = config(QuantSpec.of("fixed", 4, 6))
    assert quantized.needs_twin and quantized.steps == quantized.finetune_iterations
    twin = quantized.twin()
    assert twin.is_float and not twin.needs_twin and twin.steps == twin.iterations
    # The same twin serves another quantized training.
    other = replace(quantized, finetune_iterations=9, distill=0.5, freeze_bn=0.5, calibrate=1, init="float")
    assert replace(other, tanh_iterations=90).twin() == twin
    scratch = config(QuantSpec.of("fixed", 4, 6), init="scratch")
    assert not scratch.needs_twin and scratch.peak_lr == scratch.lr
    ternary = config(QuantSpec.of("ternarynet"))
    assert not ternary.needs_twin and replace(ternary, init="float").needs_twin
    # It learns as long as a float network, whatever it starts from: a twin of ReLUs is little of a start for a tanh.
    anew = replace(ternary, init="float", iterations=80, lr=0.01, finetune_iterations=7, finetune_lr=0.001)
    assert (anew.steps, anew.peak_lr) == (80, 0.001)
    # Or as long as it is told to; which leaves every other training as it was.
    longer = replace(anew, tanh_iterations=90)
    assert longer.steps == 90 and longer.without_unread() == longer
    relu = replace(longer, net=quantized.net)
    assert relu.steps == 7 and relu.without_unread() == replace(relu, tanh_iterations=None)
    with pytest.raises(UserError, match="tanh_iterations is 0, but must be at least 1"):
        config(tanh_iterations=0)


def test_schedule() -> None:
    long = config(iterations=100, warmup=0.1, lr_floor=0.01)
    rates = [learning_rate(long, step) for step in range(100)]
    assert rates[9] == rates[10] == max(rates) == long.lr
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01 * long.lr)
    # The slope of TernaryNet goes from 3 to 8, linearly (REFERENCES 2).
    assert [slope(long, step) for step in (0, 99)] == [3.0, 8.0]
    assert slope(long, 50) - slope(long, 49) == pytest.approx(5 / 99)
    quantized = config(QuantSpec.of("fixed", 4, 6), finetune_iterations=100, freeze_bn=0.2)
    assert [freezes_bn(quantized, step) for step in (0, 79, 80, 99)] == [False, False, True, True]
    assert not freezes_bn(long, 99)
    still = replace(quantized, freeze_bn=1.0)
    assert freezes_bn(still, 0)
    assert still.keeps_statistics and not quantized.keeps_statistics
    assert not replace(still, net=replace(still.net, quant=QuantSpec.of("fixed", 2, 4))).keeps_statistics
    # The twin's statistics are of a ReLU: a network with the ternary tanh moves them for four fifths, whatever is wanted.
    tanh = config(QuantSpec.of("ternarynet"), init="float", iterations=100, freeze_bn=1.0)
    assert [freezes_bn(tanh, step) for step in (0, 79, 80)] == [False, False, True]
    assert not freezes_bn(replace(tanh, freeze_bn=0.0), 99)
