"""Weight codes at their own width: the bit stream of docs/model-file.md."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unetq.cost import packed_bytes
from unetq.errors import UserError
from unetq.graph import WeightKind

__all__ = ["pack_codes", "unpack_codes"]


def pack_codes(codes: NDArray[np.int8], bits: int, kind: WeightKind) -> NDArray[np.uint8]:
    """Codes of any shape, in C order -> bytes: code i takes bits i*bits .. (i+1)*bits - 1 of a little-endian stream.

    >>> pack_codes(np.array([1, -1, 0, 1], np.int8), 2, "ternary").tolist()
    [77]
    """
    flat = np.ascontiguousarray(codes, np.int8).reshape(-1)
    raw = (flat > 0).astype(np.uint8) if kind == "binary" else flat.view(np.uint8)
    planes = (raw[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(planes, bitorder="little")


def unpack_codes(packed: NDArray[np.uint8], count: int, bits: int, kind: WeightKind) -> NDArray[np.int8]:
    """`count` codes of a stream made by `pack_codes`, int8 (count,).

    Raises:
        UserError: the stream has another length.
    """
    if packed.nbytes != packed_bytes(count, bits):
        raise UserError(
            f"{count} codes of {bits} bits need {packed_bytes(count, bits)} bytes, but there are {packed.nbytes}."
        )
    planes = np.unpackbits(packed, bitorder="little", count=count * bits).reshape(count, bits)
    value = np.zeros(count, np.uint8)
    for bit in range(bits):
        value |= planes[:, bit] << bit
    if kind == "binary":
        return np.where(value, np.int8(1), np.int8(-1))
    spare = 8 - bits  # shifted up and back down, the highest bit of a code becomes its sign
    return (value << spare).view(np.int8) >> spare
