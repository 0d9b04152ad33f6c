"""Weight codes at their own width, against the definition of docs/model-file.md, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetq.cost import packed_bytes
from unetq.errors import UserError
from unetq.graph import WeightKind
from unetq.runtime.packing import pack_codes, unpack_codes

CODES: dict[tuple[WeightKind, int], list[int]] = {
    **{("twos", bits): list(range(-(1 << (bits - 1)), 1 << (bits - 1))) for bits in range(2, 9)},
    ("ternary", 2): [-1, 0, 1],
    ("binary", 1): [-1, 1],
}
EVERY = pytest.mark.parametrize(("kind", "bits"), CODES)


def by_definition(codes: list[int], bits: int, kind: WeightKind) -> bytes:
    """The stream as one large whole number."""
    stream = 0
    for i, code in enumerate(codes):
        raw = int(code > 0) if kind == "binary" else code % (1 << bits)
        stream |= raw << (i * bits)
    return stream.to_bytes((len(codes) * bits + 7) // 8, "little")


@EVERY
def test_every_code_at_every_place_of_a_byte(kind: WeightKind, bits: int) -> None:
    for before in range(9):  # 8 codes of any width fill whole bytes
        for code in CODES[kind, bits]:
            codes = [CODES[kind, bits][-1]] * before + [code]
            packed = pack_codes(np.array(codes, np.int8), bits, kind)
            assert packed.tobytes() == by_definition(codes, bits, kind)
            assert unpack_codes(packed, len(codes), bits, kind).tolist() == codes


@EVERY
@given(data=st.data())
def test_any_codes_return(data: Any, kind: WeightKind, bits: int) -> None:
    codes = data.draw(st.lists(st.sampled_from(CODES[kind, bits]), max_size=100))
    packed = pack_codes(np.array(codes, np.int8), bits, kind)
    assert packed.dtype == np.uint8 and packed.nbytes == packed_bytes(len(codes), bits)
    assert packed.tobytes() == by_definition(codes, bits, kind)
    back = unpack_codes(packed, len(codes), bits, kind)
    assert back.dtype == np.int8 and back.tolist() == codes


def test_order_is_that_of_the_array_not_of_its_memory() -> None:
    codes = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    assert pack_codes(codes.T, 4, "twos").tobytes() == by_definition(codes.T.reshape(-1).tolist(), 4, "twos")


@pytest.mark.parametrize("count", [8, 11])
def test_wrong_length_is_refused(count: int) -> None:
    with pytest.raises(
        UserError, match=rf"{count} codes of 3 bits need {packed_bytes(count, 3)} bytes, but there are 4"
    ):
        unpack_codes(np.zeros(4, np.uint8), count, 3, "twos")
