"""Networks, an image each, and the logits that the numpy reference makes: `python scripts/arm/make_cases.py FOLDER [MODEL...]`.

The folder gets, for each, NAME.gguf, NAME.image and NAME.logits (float32, channels first), and `logits.txt` with
"NAME CHANNELS HEIGHT WIDTH" a line. MODEL: further model files, such as trained ones.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.models import random_graph, write
from unetq.graph import Graph
from unetq.runtime.model import open_model
from unetq.runtime.reference import run_reference
from unetq.spec import NetSpec, QuantSpec

NETS = {
    "W4A6": NetSpec(base=16, depth=3, quant=QuantSpec.of("fixed", 4, 6)),
    "W2A2": NetSpec(base=16, depth=3, quant=QuantSpec.of("lsq", 2, 2)),
    "W2A6": NetSpec(base=32, depth=1, out_channels=3, upsampling="bilinear", quant=QuantSpec.of("lsq", 2, 6)),
    "W8A8": NetSpec(base=16, depth=2, upsampling="transposed", quant=QuantSpec.of("fixed", 8, 8)),
    "W1A1": NetSpec(base=64, depth=1, quant=QuantSpec.of("binary", 1, 1)),
    "ternarynet": NetSpec(base=16, depth=2, upsampling="bilinear", last_kernel=1, quant=QuantSpec.of("ternarynet")),
}
# Odd, so that strips, tiles of Winograd and panels end inside.
SIZE = (45, 53)


def save(name: str, graph: Graph, folder: Path) -> str:
    """Image and logits of a network; its line of logits.txt."""
    channels = next(iter(graph.tensors.values())).channels
    image = np.random.default_rng(0).standard_normal((channels, *SIZE), dtype=np.float32)
    image.tofile(folder / f"{name}.image")
    np.asarray(run_reference(graph, image)["head"], np.float32).tofile(folder / f"{name}.logits")
    return f"{name} {channels} {SIZE[0]} {SIZE[1]}"


def main(folder: Path, models: list[Path]) -> None:
    """All of them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for seed, (name, net) in enumerate(NETS.items()):
        graph = random_graph(net, seed)
        write(graph, folder / f"{name}.gguf")
        lines.append(save(name, graph, folder))
    for number, path in enumerate(models):
        name = f"given{number}"
        shutil.copyfile(path, folder / f"{name}.gguf")
        lines.append(save(name, open_model(path, 1).graph, folder))
    (folder / "logits.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
