"""Whole networks: every tensor of the native runtime equals the numpy reference, for every width, ISA and thread count."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.models import random_graph, write
from unetq import _native
from unetq.graph import Graph, Op, Params, Tensor
from unetq.runtime.reference import run_reference
from unetq.spec import NetSpec, QuantSpec

ISAS = _native.isas()
UPSAMPLINGS = ["nearest", "bilinear", "transposed"]
# (packs, streams): skips packed at their own bits, image and logits inside the arena.
WAYS = [(False, False), (True, False), (False, True), (True, True)]


def picture(channels: int, size: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1.5, (channels, *size)).astype(np.float32)


class Net:
    """A made-up network, its file and the reference's tensors for one image."""

    def __init__(self, folder: Path, net: NetSpec, size: tuple[int, int], seed: int = 0) -> None:
        self.graph: Graph = random_graph(net, seed)
        self.path = folder / "model.gguf"
        write(self.graph, self.path)
        self.image = picture(net.in_channels, size, seed)
        self.want = run_reference(self.graph, self.image)

    def check(self, threads: int = 1) -> None:
        got = _native.Model(str(self.path), threads).dump(self.image)
        assert set(got) == {name for name in self.graph.tensors if name != "image"}
        for name, value in got.items():
            np.testing.assert_array_equal(value, self.want[name], name)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("UNETQ_ISA", request.param)
    return str(request.param)


@pytest.mark.parametrize("wbits", range(1, 9))
def test_every_pair_of_widths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wbits: int) -> None:
    for abits in range(1, 9):
        net = NetSpec(
            base=5, depth=1, cap=9, upsampling=UPSAMPLINGS[abits % 3], quant=QuantSpec.of("fixed", wbits, abits)
        )
        case = Net(tmp_path, net, (8, 6) if abits % 2 == 0 else (9, 7), seed=8 * wbits + abits)
        for name in ISAS:
            monkeypatch.setenv("UNETQ_ISA", name)
            case.check(threads=1 + abits % 4)


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("scheme", ["fixed", "ternarynet", "binary"])
def test_schemes_and_upsampling(tmp_path: Path, isa: str, scheme: str, upsampling: Any) -> None:
    net = NetSpec(base=16, depth=3, cap=48, upsampling=upsampling, quant=QuantSpec.of(scheme))
    Net(tmp_path, net, (37, 50)).check(threads=2)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (17, 1), (5, 33), (24, 24), (31, 65)])
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_sizes(tmp_path: Path, isa: str, upsampling: Any, size: tuple[int, int]) -> None:
    Net(tmp_path, NetSpec(base=8, depth=2, cap=20, upsampling=upsampling), size).check()


@pytest.mark.parametrize(
    "net",
    [
        NetSpec(in_channels=3, out_channels=4, base=6, depth=2, cap=30),
        NetSpec(in_channels=2, out_channels=5, base=16, depth=1, last_kernel=1),
        NetSpec(in_channels=5, out_channels=19, base=64, depth=1, cap=80, upsampling="transposed"),
        NetSpec(base=32, depth=2, quant=QuantSpec.of("lsq", 8, 8)),
        NetSpec(
            base=16, depth=2, quant=QuantSpec.of("ternary", abits=4), layers={"mid.conv1": QuantSpec.of("fixed", 8, 8)}
        ),
        NetSpec(base=1, depth=1, cap=1),
    ],
)
def test_shapes(tmp_path: Path, isa: str, net: NetSpec) -> None:
    Net(tmp_path, net, (21, 26)).check(threads=3)


def uncommon_graph(seed: int) -> Graph:
    """What a U-Net has not: sides 5 and 7, a tensor in two concatenations, nested ones, a dead branch."""
    rng = np.random.default_rng(seed)
    tensors = {
        "image": Tensor("image", 2, 0, "float", 32, "image"),
        "input": Tensor("input", 2, 0, "signed", 8, "input"),
    }
    ops = [Op("input", "quantize", ("image",), "input")]

    def add(name: str, kind: Any, inputs: tuple[str, ...], channels: int, kernel: int = 0) -> None:
        width = {"wbits": 4, "weights": "twos"} if kernel else {}
        ops.append(Op(name, kind, inputs, name, kernel, **width))
        level = tensors[inputs[0]].level + (kind == "maxpool") - (kind in ("nearest", "transposed"))
        tensors[name] = Tensor(name, channels, level, "unsigned", 5, "shared")

    add("a", "conv", ("input",), 7, 5)
    add("b", "conv", ("a",), 6, 3)
    add("c", "conv", ("b",), 7, 3)
    add("ac", "concat", ("a", "c"), 14)
    add("ab", "concat", ("a", "b"), 13)
    add("aba", "concat", ("ab", "ac"), 27)
    add("dead", "conv", ("ab",), 9, 1)
    add("low", "maxpool", ("ab",), 13)
    add("up", "transposed", ("low",), 5, 2)
    add("all", "concat", ("aba", "up"), 32)
    ops.append(Op("head", "conv", ("all",), "head", 7, 8, "twos"))
    tensors["head"] = Tensor("head", 3, 0, "float", 32, "head")
    params = {"input": Params(np.zeros(0, np.int8), np.array([20.0], np.float32), np.zeros(0, np.float32))}
    for op in ops:
        if op.kernel:
            out, cin, half = tensors[op.output].channels, tensors[op.inputs[0]].channels, 2 ** (op.wbits - 1)
            codes = rng.integers(-half, half, (out, op.kernel, op.kernel, cin)).astype(np.int8)
            m = rng.uniform(0.5, 2, out) * 4 / (half * op.kernel * np.sqrt(cin))
            params[op.name] = Params(
                codes, (m / (8 if op.name == "a" else 1)).astype(np.float32), np.full(out, 9, np.float32)
            )
    return Graph(tensors, tuple(ops), params, dict.fromkeys(tensors, 1.0))


def test_uncommon_graph(tmp_path: Path, isa: str) -> None:
    graph = uncommon_graph(0)
    write(graph, tmp_path / "model.gguf")
    image = picture(2, (23, 18))
    want = run_reference(graph, image)
    model = _native.Model(str(tmp_path / "model.gguf"), 3)
    for name, value in model.dump(image).items():
        np.testing.assert_array_equal(value, want[name], name)
    copied = {row["name"] for row in model.profile(image) if row["kernel"].startswith("copy_")}
    assert copied == {"ab"}, "only what is in a second place is copied"


def test_threads_do_not_change_the_result(tmp_path: Path, isa: str) -> None:
    case = Net(tmp_path, NetSpec(base=8, depth=2), (45, 38))
    for threads in (1, 2, 3, 4):
        case.check(threads)


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("size", [(21, 10), (32, 24), (1, 7), (39, 3)])
def test_strips_do_not_change_the_result(tmp_path: Path, isa: str, upsampling: Any, size: tuple[int, int]) -> None:
    """Every height of a strip, down to one row of the image, with skips as bytes and packed."""
    case = Net(tmp_path, NetSpec(base=6, depth=3, cap=20, out_channels=2, upsampling=upsampling), size)
    for threads in (1, 3):
        model = _native.Model(str(case.path), threads)
        for rows in (*range(1, size[0] + 2), 1 << 30):
            packs, streams = WAYS[(rows + threads) % 4]
            got = model.run(case.image, rows, packs, streams)
            np.testing.assert_array_equal(got, case.want["head"], f"{rows} {packs} {streams}")


@pytest.mark.parametrize("bits", [(4, 6), (2, 2), (6, 7)])
def test_upsamplings_that_are_not_made(tmp_path: Path, isa: str, bits: tuple[int, int]) -> None:
    """64 and more channels behind a nearest upsampling: Winograd reads the image before it, in strips of even rows."""
    size = (40, 36)
    case = Net(tmp_path, NetSpec(base=32, depth=2, cap=128, quant=QuantSpec.of("fixed", *bits)), size)
    model = _native.Model(str(case.path), 1)
    kernels = {row["name"]: row["kernel"] for row in model.profile(case.image)}
    for level in (0, 1):
        behind, other = (kernels[f"dec{level}.{conv}"].split("_")[0] for conv in ("conv1", "conv2"))
        assert (kernels[f"up{level}"] == "in_place") == behind.startswith("winograd")
        assert behind == {"winograd4x3": "winograd2x4"}.get(other, other)  # tiles 3 wide gain nothing from it
    for threads in (1, 3):
        model = _native.Model(str(case.path), threads)
        for rows in (0, *range(1, size[0] + 2), 1 << 30):
            got = model.run(case.image, rows, *WAYS[(rows + threads) % 4])
            np.testing.assert_array_equal(got, case.want["head"], str(rows))


def test_strips_of_an_uncommon_graph(tmp_path: Path, isa: str) -> None:
    for seed in range(3):
        graph = uncommon_graph(seed)
        write(graph, tmp_path / "model.gguf")
        image = picture(2, (23, 18), seed)
        model = _native.Model(str(tmp_path / "model.gguf"), 2)
        want = run_reference(graph, image)["head"]
        for rows in range(1, 25):
            np.testing.assert_array_equal(model.run(image, rows, *WAYS[rows % 4]), want, str(rows))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_strips_of_any_network(data: st.DataObject) -> None:
    net = NetSpec(
        base=data.draw(st.one_of(st.integers(1, 9), st.just(32))),
        depth=data.draw(st.integers(1, 4)),
        cap=data.draw(st.one_of(st.integers(9, 70), st.just(64))),
        upsampling=data.draw(st.sampled_from(UPSAMPLINGS)),
        last_kernel=data.draw(st.sampled_from([1, 3])),
        quant=QuantSpec.of("fixed", data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))),
    )
    size = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 40))
    with tempfile.TemporaryDirectory() as folder:
        case = Net(Path(folder), net, size, data.draw(st.integers(0, 9)))
        model = _native.Model(str(case.path), data.draw(st.integers(1, 4)))
        for rows in data.draw(st.lists(st.integers(1, 75), min_size=2, max_size=4)):
            packs, streams = data.draw(st.booleans()), data.draw(st.booleans())
            np.testing.assert_array_equal(model.run(case.image, rows, packs, streams), case.want["head"], str(rows))


@pytest.mark.parametrize("setting", ["W1A1", "W2A3", "W4A6", "W8A7", "ternarynet"])
def test_packed_skips_take_their_bits(tmp_path: Path, setting: str) -> None:
    """Skips fill the arena of a large image: packed, it shrinks nearly by their share."""
    quant = (
        QuantSpec.of(setting) if setting == "ternarynet" else QuantSpec.of("fixed", int(setting[1]), int(setting[3]))
    )
    case = Net(tmp_path, NetSpec(base=8, depth=1, quant=quant), (640, 512))
    bits = 2 if setting == "ternarynet" else int(setting[3])
    model = _native.Model(str(case.path), 1)
    whole, packed = (model.plan(640, 512, packs=packs)["arena_bytes"] for packs in (False, True))
    assert whole - packed == pytest.approx(640 * 512 * 8 * (1 - bits / 8), rel=0.2)
    np.testing.assert_array_equal(model.run(case.image, packs=True), case.want["head"])


def test_a_large_image_runs_in_strips_by_itself(tmp_path: Path) -> None:
    case = Net(tmp_path, NetSpec(base=8, depth=2), (200, 130))
    model = _native.Model(str(case.path), 2)
    rolling = [row for row in model.buffers(200, 130) if row["rows"] < row["height"]]
    assert {name for row in rolling for name in row["tensors"]} >= {"enc0.conv1", "dec0.conv1", "dec0.conv2", "cat0"}
    np.testing.assert_array_equal(model.run(case.image), case.want["head"])


def test_one_model_serves_images_of_changing_size(tmp_path: Path) -> None:
    case = Net(tmp_path, NetSpec(base=8, depth=2), (30, 20))
    model = _native.Model(str(case.path), 2)
    for size in ((30, 20), (7, 9), (64, 31), (30, 20)):
        image = picture(1, size)
        np.testing.assert_array_equal(model.run(image), run_reference(case.graph, image)["head"])


def test_one_model_in_two_threads(tmp_path: Path) -> None:
    case = Net(tmp_path, NetSpec(base=8, depth=2), (33, 40))
    model = _native.Model(str(case.path), 2)
    images = [picture(1, (33, 40), 1), picture(1, (26, 18), 2)]
    wanted = [run_reference(case.graph, image)["head"] for image in images]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(50) if not np.array_equal(model.run(images[i]), wanted[i]))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_profile_and_plan(tmp_path: Path) -> None:
    case = Net(tmp_path, NetSpec(base=16, depth=2), (32, 32))
    model = _native.Model(str(case.path), 1)
    rows = model.profile(case.image)
    assert [row["name"] for row in rows] == [op.name for op in case.graph.ops]
    assert all(row["ms"] >= 0 for row in rows)
    table = {row["name"] for row in _native.kernels()}
    assert {row["kernel"] for row in rows if row["op"] != "concat"} <= table
    # Producers write into the concatenation: nothing is copied.
    assert {row["kernel"] for row in rows if row["op"] == "concat"} == {"in_place"}
    assert next(row["macs"] for row in rows if row["name"] == "enc0.conv1") == 32 * 32 * 9 * 16
    plan = model.plan(512, 512)
    assert plan["arena_bytes"] > 0 and 0 < plan["scratch_bytes"] < 2**21 and plan["weights_bytes"] > 0


@pytest.mark.parametrize("size", [(32, 64), (31, 64), (32, 63)])
def test_products_behind_a_nearest_upsampling(tmp_path: Path, isa: str, size: tuple[int, int]) -> None:
    case = Net(tmp_path, NetSpec(base=16, depth=2, quant=QuantSpec.of("fixed", 4, 6)), size)
    row = next(row for row in _native.Model(str(case.path), 1).profile(case.image) if row["name"] == "dec0.conv1")
    kernel = next(kernel for kernel in _native.kernels() if kernel["name"] == row["kernel"])
    # 32 of its 48 channels come from below; a last row or column of its own is not doubled.
    doubled = 32 if size == (32, 64) else 0
    share = (doubled * kernel["products_doubled"] + (48 - doubled) * kernel["products"]) / 48
    assert row["products"] == pytest.approx(share * size[0] * size[1] * 9 * 48 * 16, abs=1)


def test_arena_holds_little_more_than_what_is_alive_at_once(tmp_path: Path) -> None:
    from unetq.cost import net_cost

    case = Net(tmp_path, NetSpec(base=16, depth=3), (16, 16))
    alive = net_cost(case.graph, (512, 512)).peak_activation_bytes
    # The image and the logits are the caller's; halos and what kernels read beyond the end are ours.
    assert _native.Model(str(case.path), 1).plan(512, 512)["arena_bytes"] < 1.1 * alive


WIDTHS = ((1, 1), (1, 2), (2, 2), (2, 3), (4, 6), (6, 7), (8, 8))
W1A1, W1A2, W2A2, W2A3, W4A6, W6A7, W8A8 = (QuantSpec.of("fixed", *bits) for bits in WIDTHS)
TERNARY = QuantSpec.of("ternary", abits=2)
# (instruction set, widths, channels, family of the kernel): what docs/performance.md found fastest.
FASTEST = [
    ("avx512amx", W1A1, 64, "direct"),
    ("avx512amx", W4A6, 16, "direct"),
    ("avx512icelake", W1A1, 16, "bitserial"),
    ("avx512icelake", TERNARY, 16, "winograd4x3"),
    ("avx512icelake", W2A2, 64, "winograd4x3"),
    ("avx512icelake", W2A3, 64, "winograd2x4"),
    ("avx512icelake", W4A6, 16, "winograd2x2"),
    ("avx512icelake", W6A7, 64, "winograd1x2"),
    ("avx512icelake", W8A8, 64, "direct"),
    ("avx512vnni", W1A1, 64, "winograd4x3"),
    ("avxvnni", W2A2, 64, "winograd2x2"),
    ("avxvnni", W8A8, 64, "direct"),
    ("avx2", W1A2, 32, "lut"),
    ("avx2", W1A2, 16, "winograd2x2"),
    ("avx2", W2A2, 64, "winograd2x2"),
    ("avx2", W8A8, 64, "direct"),
]


@pytest.mark.parametrize(
    ("isa", "quant", "channels", "family"), [row for row in FASTEST if row[0] in ISAS], indirect=["isa"]
)
def test_the_family_that_is_fastest(tmp_path: Path, isa: str, quant: QuantSpec, channels: int, family: str) -> None:
    case = Net(tmp_path, NetSpec(base=channels, depth=1, cap=channels, quant=quant), (9, 11))
    case.check()
    kernels = {row["name"]: row["kernel"] for row in _native.Model(str(case.path), 1).profile(case.image)}
    assert kernels["enc0.conv2"].startswith(family)


def test_isa_is_what_the_environment_says(tmp_path: Path, isa: str) -> None:
    case = Net(tmp_path, NetSpec(base=4, depth=1), (8, 8))
    model = _native.Model(str(case.path), 1)
    assert model.isa == isa
    order = ISAS.index(isa)
    unused = {"avxvnni"} - {isa}  # the one that those after it need not have
    used = {row["kernel"] for row in model.profile(case.image)} - {"in_place"}
    isas = {row["isa"] for row in _native.kernels() if row["name"] in used}
    assert all(ISAS.index(one) <= order for one in isas) and not isas & unused


@pytest.mark.parametrize(
    ("value", "message"),
    [("sse9", 'UNETQ_ISA is "sse9", which is no instruction set of unetq; use one of: scalar'), ("AVX2", "UNETQ_ISA")],
)
def test_unknown_isa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    case = Net(tmp_path, NetSpec(base=4, depth=1), (8, 8))
    monkeypatch.setenv("UNETQ_ISA", value)
    with pytest.raises(ValueError, match=message):
        _native.Model(str(case.path))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), "has 2 channels, but the model wants 1"),
        (np.zeros((8, 8), np.float32), "three axes"),
        (np.zeros((1, 0, 8), np.float32), "empty"),
        (np.full((1, 8, 8), np.nan, np.float32), "not finite"),
        (np.full((1, 8, 8), -np.inf, np.float32), "not finite"),
        (np.broadcast_to(np.float32(0), (1, 1, 2**21)), "1048576"),
    ],
)
def test_bad_images(tmp_path: Path, image: NDArray[np.float32], message: str) -> None:
    case = Net(tmp_path, NetSpec(base=4, depth=1), (8, 8))
    with pytest.raises(ValueError, match=message):
        _native.Model(str(case.path), 1).run(image)


def test_bad_thread_count(tmp_path: Path) -> None:
    case = Net(tmp_path, NetSpec(base=4, depth=1), (8, 8))
    for threads in (-1, 1000):
        with pytest.raises(ValueError, match="threads is"):
            _native.Model(str(case.path), threads)
