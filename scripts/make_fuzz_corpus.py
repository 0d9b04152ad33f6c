"""Writes small model files of every kind, as seeds for the fuzzer: `python scripts/make_fuzz_corpus.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import models
from unetq.spec import NetSpec, QuantSpec

SCHEMES = (("fixed", 4, 6), ("fixed", 8, 8), ("lsq", 2, 3), ("ternary", 2, 1), ("ternarynet", 2, 2), ("binary", 1, 4))


def main(folder: Path) -> None:
    """One file for each scheme and upsampling; tiny, because the fuzzer changes bytes at random."""
    folder.mkdir(parents=True, exist_ok=True)
    for scheme, wbits, abits in SCHEMES:
        quant = QuantSpec.of(scheme, wbits, abits)
        nets = {
            "nearest": NetSpec(1, 1, 2, 1, 3, "nearest", 3, quant),
            "bilinear": NetSpec(2, 2, 2, 1, 3, "bilinear", 1, quant),
            "transposed": NetSpec(1, 3, 2, 1, 3, "transposed", 3, quant),
        }
        for name, net in nets.items():
            models.write(models.random_graph(net, 0), folder / f"{scheme}{wbits}{abits}-{name}.gguf")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
