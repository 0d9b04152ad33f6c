"""Every row of the kernel table against its formula (unetq/graph.py), bit for bit: a new row is tested without a line here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unetq import _native

ROWS = [row for row in _native.kernels() if row["isa"] in _native.isas()]
# (in, out) channels: one, odd, below and above the vector widths, several panels' worth of blocks.
CHANNELS = [(1, 16), (1, 1), (2, 3), (3, 8), (4, 5), (5, 17), (8, 24), (16, 16), (17, 40), (32, 33), (48, 16), (70, 64)]
SIZES = [(1, 1), (1, 7), (5, 1), (3, 13), (7, 25), (9, 50)]


def rows(*ops: str) -> Any:
    chosen = [row for row in ROWS if row["op"] in ops]
    return pytest.mark.parametrize("row", chosen, ids=[row["name"] for row in chosen])


def test_names_say_the_isa_and_are_unique() -> None:
    names = [row["name"] for row in _native.kernels()]
    assert len(set(names)) == len(names)
    assert all(row["name"].endswith("_" + row["isa"]) for row in _native.kernels())


@pytest.mark.parametrize("op", ["quantize", "conv", "transposed", "maxpool", "nearest", "bilinear", "concat", "argmax"])
def test_every_operation_has_a_scalar_kernel(op: str) -> None:
    assert any(row["op"] == op and row["isa"] == "scalar" and row["max_bits"] == 16 for row in _native.kernels())


# ---- convolutions


def requantized(acc: NDArray[np.int64], m: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        product: NDArray[np.float32] = acc.astype(np.int32).astype(np.float32) * m[:, None, None]
        return product + b[:, None, None]


def conv(codes: NDArray[np.int16], weights: NDArray[np.int8]) -> NDArray[np.int64]:
    side = weights.shape[1]
    r = side // 2
    padded = np.pad(codes.astype(np.int64), ((0, 0), (r, r), (r, r)))
    height, width = codes.shape[1:]
    acc = np.zeros((weights.shape[0], height, width), np.int64)
    for dy in range(side):
        for dx in range(side):
            window = padded[:, dy : dy + height, dx : dx + width]
            acc += np.einsum("oc,cyx->oyx", weights[:, dy, dx].astype(np.int64), window)
    return acc


def transposed(codes: NDArray[np.int16], weights: NDArray[np.int8], size: tuple[int, int]) -> NDArray[np.int64]:
    height, width = codes.shape[1:]
    acc = np.zeros((weights.shape[0], 2 * height, 2 * width), np.int64)
    for dy in range(2):
        for dx in range(2):
            one = np.einsum("oc,cyx->oyx", weights[:, dy, dx].astype(np.int64), codes.astype(np.int64))
            acc[:, dy::2, dx::2] = one
    return acc[:, : size[0], : size[1]]


class Case:
    """Random or extreme numbers for one convolution; `settings` are those of run_kernel."""

    def __init__(self, row: dict[str, Any], rng: np.random.Generator, **fixed: Any) -> None:
        pick = fixed.get
        self.side = row["kernel"] or int(rng.choice([1, 3, 3, 5, 7]))
        cin, out = pick("channels") or CHANNELS[rng.integers(len(CHANNELS))]
        out = min(out, row["max_out"])
        self.size = pick("size") or SIZES[rng.integers(len(SIZES))]
        wbits, abits = pick("bits") or random_bits(row, rng)
        kind = pick("kind") or str(rng.choice(["unsigned", "signed", "ternary"] if abits > 1 else ["unsigned"]))
        if kind == "ternary":
            abits = 2
        low, zero = {"unsigned": (0, 0), "signed": (-(2 ** (abits - 1)), 2 ** (abits - 1)), "ternary": (-1, 1)}[kind]
        high = 1 if kind == "ternary" else low + 2**abits - 1
        fill = pick("fill") or "random"
        shape = (out, self.side, self.side, cin)
        least, most = (-1, 1) if wbits == 1 else (-(2 ** (wbits - 1)), 2 ** (wbits - 1) - 1)
        ternary = wbits == 2 and row["codes"] == "signs"
        if ternary:
            least = -1
        if (wbits, abits) in row["checked"]:  # this row takes only weights whose transforms stay in 8 bits
            least, most = max(least, -row["limit"]), min(most, row["limit"])
        self.weights = rng.integers(least, most + 1, shape).astype(np.int8)
        self.codes = rng.integers(low, high + 1, (cin, *self.size)).astype(np.int16)
        if wbits == 1 or fill == "corners":
            self.weights = rng.choice(np.array([least, most], np.int8), shape)
        if fill == "corners":
            self.codes = rng.choice(np.array([low, high], np.int16), self.codes.shape)
        elif fill != "random":
            self.codes[:] = high if "high" in fill else low
            self.weights[:] = least if "negative" in fill else max(1, most)
        doubled = pick("doubled") or 0  # first channels as behind a nearest upsampling
        if doubled:
            self.codes[:doubled] = self.codes[:doubled, ::2, ::2].repeat(2, 1).repeat(2, 2)
        spread = 2.0 ** (wbits + abits) * np.sqrt(cin * self.side**2)
        self.m = (rng.uniform(-1, 4, out) * 64 / spread).astype(np.float32)
        self.b = rng.uniform(-40, 80, out).astype(np.float32)
        self.settings = {"wbits": wbits, "abits": abits, "in_zero": zero, "threads": int(rng.integers(1, 5))}
        self.settings |= {"ternary": int(ternary), "doubled": doubled}
        self.target(rng)
        if row["op"] == "transposed":
            cut = rng.integers(0, 2, 2)
            self.out_size = (max(1, 2 * self.size[0] - int(cut[0])), max(1, 2 * self.size[1] - int(cut[1])))
            self.settings |= {"out_height": self.out_size[0], "out_width": self.out_size[1]}
            self.acc = transposed(self.codes, self.weights, self.out_size)
        else:
            self.acc = conv(self.codes, self.weights)

    def target(self, rng: np.random.Generator) -> None:
        """Output codes: any width and zero, in a place inside a wider buffer or not."""
        bits = int(rng.integers(1, 9))
        self.lo, self.hi, zero = [(0, 2**bits - 1, 0), (-1, 1, 1), (-128, 127, 128)][int(rng.choice([0, 0, 0, 1, 2]))]
        self.settings |= {"lo": self.lo, "hi": self.hi, "out_zero": zero}
        if rng.random() < 0.5:
            out, cin = self.weights.shape[0], self.codes.shape[0]
            before, after = (int(v) for v in rng.integers(0, 24, 2))
            self.settings |= {"out_offset": before, "out_stride": before + out + after}
            before, after = (int(v) for v in rng.integers(0, 24, 2))
            self.settings |= {"in_offset": before, "in_stride": before + -(-cin // 4) * 4 + after}

    def check(self, name: str) -> None:
        value = requantized(self.acc, self.m, self.b)
        want = np.clip(np.rint(value), self.lo, self.hi).astype(np.int16)
        got, _ = _native.run_kernel(name, self.codes, self.weights, self.m, self.b, **self.settings)
        np.testing.assert_array_equal(got, want, str(self.settings))
        logits, _ = _native.run_kernel(name, self.codes, self.weights, self.m, self.b, logits=1, **self.settings)
        np.testing.assert_array_equal(logits, value, str(self.settings))


def bit_pairs(row: dict[str, Any]) -> list[tuple[int, int]]:
    """(wbits, abits) that the row's kernel can do."""
    return [*row["always"], *row["checked"]]


def random_bits(row: dict[str, Any], rng: np.random.Generator) -> tuple[int, int]:
    pairs = bit_pairs(row)
    return pairs[rng.integers(len(pairs))]


@rows("conv", "transposed")
def test_convolution_random(row: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        Case(row, rng).check(row["name"])


@rows("conv", "transposed")
def test_convolution_channels_and_sizes(row: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    for channels in CHANNELS:
        for size in SIZES:
            Case(row, rng, channels=channels, size=size).check(row["name"])


@rows("conv", "transposed")
def test_convolution_every_width_at_its_extremes(row: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    for bits in bit_pairs(row):
        for fill in ("high", "high negative", "corners"):
            Case(row, rng, bits=bits, fill=fill, kind="unsigned", channels=(37, 20), size=(3, 9)).check(row["name"])


@rows("conv", "transposed")
def test_convolution_signed_extremes(row: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    for fill in ("high", "high negative", "low", "low negative", "corners"):
        for kind, bits in (("signed", (8, 8)), ("signed", (4, 8)), ("ternary", (2, 2)), ("ternary", (1, 2))):
            if bits in bit_pairs(row):
                Case(row, rng, bits=bits, fill=fill, kind=kind, channels=(33, 17), size=(4, 6)).check(row["name"])


@rows("conv")
def test_convolution_behind_a_nearest_upsampling(row: dict[str, Any]) -> None:
    rng = np.random.default_rng(17)
    # Of 16, 32 and 64 channels a chunk: within one, up to its end, beyond it.
    channels = [
        (8, 4, 5),
        (16, 12, 33),
        (32, 16, 16),
        (48, 32, 16),
        (64, 32, 24),
        (72, 64, 17),
        (136, 128, 64),
        (200, 132, 40),
        (512, 260, 40),
    ]
    sizes = [(2, 2), (2, 12), (8, 2), (4, 14), (10, 50)]
    makes_use_of_them = row["products_doubled"] < row["products"]
    for cin, doubled, out in channels:
        for size in sizes if cin < 100 else sizes[-1:]:
            fill = ["random", "corners", "high"][int(rng.integers(3))]
            case = Case(row, rng, channels=(cin, out), size=size, doubled=doubled, fill=fill)
            case.check(row["name"])
            if doubled % 64 == 0 and makes_use_of_them:  # reads what is behind them instead
                case.settings["low"] = 1
                case.check(row["name"])


def test_a_row_that_makes_use_of_doubled_channels_believes_what_it_is_told() -> None:
    """Else the test above would pass without anything of it."""
    rows_that_do = [row for row in ROWS if row["products_doubled"] < row["products"]]
    assert rows_that_do
    for row in rows_that_do:
        case = Case(row, np.random.default_rng(3), channels=(48, 16), size=(6, 8), bits=(2, 2), kind="unsigned")
        case.settings["doubled"] = 32
        with pytest.raises(AssertionError):
            case.check(row["name"])


@rows("conv")
def test_convolution_several_panels(row: dict[str, Any]) -> None:
    """More weights than one panel of scratch holds."""
    rng = np.random.default_rng(5)
    bits = max(row["always"])
    Case(row, rng, bits=bits, channels=(260, 700 if row["limit"] else 300), size=(2, 5)).check(row["name"])


@rows("conv")
def test_convolution_ties_and_overflow(row: dict[str, Any]) -> None:
    """Half to even, and sums far beyond what an int32 can hold after scaling."""
    rng = np.random.default_rng(6)
    case = Case(
        row,
        rng,
        bits=min(bit_pairs(row), key=lambda pair: abs(sum(pair) - 4)),
        channels=(8, 20),
        size=(6, 11),
        kind="unsigned",
    )
    case.m[:] = 0.5
    case.b[:] = rng.integers(-3, 4, case.b.shape) * np.float32(0.5)
    case.check(row["name"])
    case.m[:] = rng.choice([-3e38, -1e30, 1e30, 3e38], case.m.shape)
    if row["limit"]:  # left to a direct kernel
        with pytest.raises(ValueError, match="exact"):
            case.check(row["name"])
    else:
        case.check(row["name"])


# ---- operations without weights


def canvas(rng: np.random.Generator, channels: int) -> dict[str, int]:
    if rng.random() < 0.3:
        return {}
    spaces = [int(v) for v in rng.integers(0, 20, 4)]
    return {
        "in_offset": spaces[0],
        "in_stride": spaces[0] + channels + spaces[1],
        "out_offset": spaces[2],
        "out_stride": spaces[2] + channels + spaces[3],
    }


def map_cases(seed: int) -> Iterator[tuple[np.random.Generator, NDArray[np.int16], dict[str, int]]]:
    """(generator, codes, settings) for all small sizes, every number of channels, and both parities of zero."""
    rng = np.random.default_rng(seed)
    shapes = [(int(rng.choice([1, 2, 3, 4, 16, 21, 64])), y, x) for y in (1, 2, 3, 8, 9) for x in (1, 2, 5, 16, 33)]
    shapes += [(channels, 3, int(rng.integers(3, 7))) for channels in (*range(1, 82), 96, 112, 127, 128, 131)]
    for shape in shapes:
        low, high, zero = [(0, 255, 0), (0, 3, 0), (-1, 1, 1), (-128, 127, 128)][rng.integers(4)]
        codes = rng.integers(low, high + 1, shape).astype(np.int16)
        settings = {"in_zero": zero, "out_zero": zero, "threads": int(rng.integers(1, 5))}
        yield rng, codes, settings | canvas(rng, shape[0])


@rows("maxpool")
def test_maxpool(row: dict[str, Any]) -> None:
    for _, codes, settings in map_cases(11):
        channels, height, width = codes.shape
        padded = np.full((channels, height + height % 2, width + width % 2), -999, np.int16)
        padded[:, :height, :width] = codes
        want = padded.reshape(channels, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2).max((2, 4))
        got, _ = _native.run_kernel(row["name"], codes, **settings)
        np.testing.assert_array_equal(got, want)


def cut(rng: np.random.Generator, codes: NDArray[np.int16]) -> tuple[int, int]:
    height, width = (2 * n - int(rng.integers(0, 2)) for n in codes.shape[1:])
    return height, width


@rows("nearest")
def test_nearest(row: dict[str, Any]) -> None:
    for rng, codes, settings in map_cases(12):
        height, width = cut(rng, codes)
        got, _ = _native.run_kernel(row["name"], codes, out_height=height, out_width=width, **settings)
        np.testing.assert_array_equal(got, codes.repeat(2, 1).repeat(2, 2)[:, :height, :width])


@rows("bilinear")
def test_bilinear(row: dict[str, Any]) -> None:
    for rng, codes, settings in map_cases(13):
        height, width = cut(rng, codes)
        edge = np.pad(codes.astype(np.float64), ((0, 0), (1, 1), (1, 1)), mode="edge")
        want = np.empty((codes.shape[0], 2 * codes.shape[1], 2 * codes.shape[2]))
        for dy in range(2):
            for dx in range(2):
                far_y, far_x = edge[:, 2 * dy :][:, : codes.shape[1]], slice(2 * dx, 2 * dx + codes.shape[2])
                near = edge[:, 1 : 1 + codes.shape[1]]
                middle = slice(1, 1 + codes.shape[2])
                total = 9 * near[:, :, middle] + 3 * near[:, :, far_x] + 3 * far_y[:, :, middle] + far_y[:, :, far_x]
                want[:, dy::2, dx::2] = np.rint(total / 16)
        got, _ = _native.run_kernel(row["name"], codes, out_height=height, out_width=width, **settings)
        np.testing.assert_array_equal(got, want[:, :height, :width].astype(np.int16))


@rows("concat")
def test_copy(row: dict[str, Any]) -> None:
    for _, codes, settings in map_cases(14):
        got, _ = _native.run_kernel(row["name"], codes, **settings)
        np.testing.assert_array_equal(got, codes)


@rows("quantize")
def test_quantize(row: dict[str, Any]) -> None:
    for rng, codes, settings in map_cases(15):
        image = rng.normal(0, 3, codes.shape).astype(np.float32)
        hard = rng.random(image.shape) < 0.2
        image[hard] = rng.choice(np.array([3e38, -3e38, 0.5, 1.5, -2.5, -0.0, 127.5, -128.5], np.float32), hard.sum())
        m = np.array([rng.choice([0.5, 1, 31.7, 3e5])], np.float32)
        with np.errstate(over="ignore"):
            want = np.clip(np.rint(image * m[0]), -128, 127).astype(np.int16)
        got, _ = _native.run_kernel(row["name"], image, m=m, lo=-128, hi=127, **(settings | {"out_zero": 128}))
        np.testing.assert_array_equal(got, want)


@rows("argmax")
def test_argmax(row: dict[str, Any]) -> None:
    for rng, codes, settings in map_cases(16):
        image = rng.normal(0, 3, codes.shape).astype(np.float32)
        ties = rng.random(codes.shape[1:]) < 0.3
        hard = np.array([0.0, -0.0, 1e-40, -1e-40, -1e-45, 3e38, -3e38, np.inf, -np.inf], np.float32)
        image[:, ties] = rng.choice(hard[: rng.integers(2, len(hard) + 1)], (len(image), int(ties.sum())))
        want = image.argmax(0) if len(image) > 1 else image[0] > 0
        got, _ = _native.run_kernel(row["name"], image, **(settings | {"out_zero": 0}))
        np.testing.assert_array_equal(got[0], want)


# ---- what the binding itself refuses


def upsampled(size: tuple[int, int]) -> tuple[Any, ...]:
    one = np.ones(1, np.float32)
    return "direct_conv_w8a8_scalar", np.zeros((8, *size), np.int16), np.zeros((1, 3, 3, 8), np.int8), one, one


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("no_such_kernel", np.zeros((1, 1, 1), np.int16)), {}, "no kernel"),
        (("copy_scalar", np.zeros((1, 1), np.int16)), {}, "rows, columns"),
        (("copy_scalar", np.zeros((1, 1, 1), np.int16)), {"speed": 1}, "no setting"),
        (("copy_scalar", np.zeros((4, 1, 1), np.int16)), {"in_stride": 3}, "do not fit"),
        (upsampled((2, 2)), {"doubled": 8}, "doubled"),
        (upsampled((2, 3)), {"doubled": 4}, "doubled"),
        (upsampled((2, 2)), {"doubled": 4, "low": 1}, "before the upsampling"),
    ],
)
def test_run_kernel_refuses(arguments: tuple[Any, ...], settings: dict[str, int], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        _native.run_kernel(*arguments, **settings)
