"""The tables of docs/performance.md: untrained networks in our runtime and its peers on this machine, as Markdown.

python scripts/peers_table.py [--settings W4A6,W2A2] [--nets base64,paper] [--threads 2] [--cap-isa avx2] [--rounds 15] [--out D]

Speed does not depend on the weights' values, so the networks are random, with steps calibrated on noise. D keeps the model
files and each bench's JSON. On a machine with nothing else to do; half an hour for the defaults on one core.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch

from unetq.deploy.export import export
from unetq.nets import build, calibrate
from unetq.peers.contenders import CONTENDERS
from unetq.peers.race import RaceOptions, bench_peers
from unetq.runtime.bench import parse_size
from unetq.runtime.meta import ModelMeta
from unetq.spec import NetSpec, QuantSpec

SHAPES: dict[str, dict[str, Any]] = {f"base{b}": {"base": b, "depth": 4, "cap": 16 * b} for b in (16, 32, 64)}
SHAPES["paper"] = {"base": 64, "depth": 3, "cap": 256, "upsampling": "bilinear"}
PEERS = [name for name in dict.fromkeys(c.name for c in CONTENDERS) if name != "unetq"]


def model(shape: str, setting: str, folder: Path) -> Path:
    """A random network as a model file."""
    path = folder / f"{shape}-{setting}.gguf"
    if not path.exists():
        match = re.fullmatch(r"W(\d+)A(\d+)", setting)
        quant = QuantSpec.of("fixed", int(match[1]), int(match[2])) if match else QuantSpec.of(setting)
        torch.manual_seed(0)
        network = build(NetSpec(quant=quant, **SHAPES[shape]))
        calibrate(network, [torch.randn(1, 1, 96, 96)])
        export(network.eval(), ModelMeta(), path)
    return path


def line(name: str, turn: dict[str, Any], memory: bool) -> str:
    """One row of Markdown."""

    def cell(row: dict[str, Any] | None) -> str:
        if row is None:
            return "–"
        if memory:
            return f"{row['peak_rss_bytes'] / 2**20:.0f}"
        ratio = f" ({row['ratio']:.2f})" if "ratio" in row else ""
        return f"{row['ms_median']:.4g}{ratio}"

    return "| " + " | ".join([name, cell(turn), *(cell(turn["peers"].get(peer)) for peer in PEERS)]) + " |"


def main() -> None:
    """Runs all, prints two tables: milliseconds with the ratio to ours, and peak memory in MiB."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--settings", default="W4A6")
    parser.add_argument("--nets", default=",".join(SHAPES))
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cap-isa")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    options = RaceOptions(parse_size(args.size), args.threads, args.rounds, args.cap_isa)
    results: dict[str, dict[str, Any]] = {}
    for setting in args.settings.split(","):
        for shape in args.nets.split(","):
            path = model(shape, setting, args.out)
            print(path, file=sys.stderr)
            results[f"{shape} {setting}"] = result = bench_peers(path, options)
            name = f"{path.stem}-{args.size}-t{args.threads}{'-' + args.cap_isa if args.cap_isa else ''}.json"
            (args.out / name).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for memory, what in ((False, "ms (ratio to unetq)"), (True, "peak MiB")):
        print(f"\n| {what} | unetq | {' | '.join(PEERS)} |\n|{' --- |' * (len(PEERS) + 2)}")
        for name, result in results.items():
            turns = {result["threads"]: result, **({1: result["one_thread"]} if "one_thread" in result else {})}
            for threads, turn in turns.items():
                print(line(f"{name}, {threads} thread{'s' if threads > 1 else ''}", turn, memory))


if __name__ == "__main__":
    main()
