"""Whole U-Nets on emulated ARM cores: instructions of one inference, ours beside ONNX Runtime's, one thread, as Markdown.

    scripts/arm/networks.py [--cores cortex-a72,cortex-a76] [--settings W4A6,W2A2] [--peer int8 | float] [--side 256] [--detail]

The network is scripts/peers_table.py's base16 (depth 4, up to 256 channels) with made-up weights. Ours runs from the cross
builds of scripts/build_standalone.sh. --peer adds ONNX Runtime, with our own ONNX file (int8: QDQ, logits in bytes; float is slow
to emulate: --side 64), in the emulated Python that scripts/arm/build_wheel.sh leaves (64 bits only). What a run of two
inferences takes more than a run of one is one inference: start-up, and what is done once, are not in it. --detail: by mnemonic
and function.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from count import print_detail
from emulate import ROOT, Core, Counts, count, link, plugin

sys.path.insert(0, str(ROOT))

from tests.models import random_graph, write
from unetq.deploy.onnx import Int8Form, float_layers, write_float, write_int8
from unetq.runtime.model import open_model
from unetq.spec import NetSpec, QuantSpec

SETTINGS = {
    "W4A6": QuantSpec.of("fixed", 4, 6),
    "W2A2": QuantSpec.of("fixed", 2, 2),
    "ternarynet": QuantSpec.of("ternarynet"),
}
SIDE = 256
WORK = ROOT / "build/arm/networks"
WHEEL, PEER = ROOT / "build/arm/wheel/cart", ROOT / "build/arm/peer"
SYSROOT = ROOT / "build/sysroot/python-aarch64"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
# What ONNX Runtime reads of the machine, one core of ARM: it takes this machine's for an error, and features from the system.
MACHINE = {
    "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\nCPU revision\t: 1\n\n",
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
}
PARTS = {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b"}


@dataclass(frozen=True)
class Network:
    """Files of one network, and the side of its square image."""

    model: Path
    image: Path
    side: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.side, self.side

    def peer(self, form: str) -> Path:
        """The same network as ONNX: "float" or "int8"."""
        path, model = self.model.with_suffix(f".{self.side}.{form}.onnx"), open_model(self.model, 1)
        if form == "float":
            return write_float(model.graph, float_layers(model.graph), self.size, path)
        logits = model.run(np.fromfile(self.image, np.float32).reshape(1, *self.size))
        return write_int8(model.graph, Int8Form(self.size, True, float(np.abs(logits).max()) / 127), path)


def network(setting: str, side: int = SIDE) -> Network:
    """Writes a network with made-up weights and an image."""
    WORK.mkdir(parents=True, exist_ok=True)
    found = Network(WORK / f"{setting}.gguf", WORK / f"image{side}", side)
    np.random.default_rng(0).standard_normal(found.size, dtype=np.float32).tofile(found.image)
    write(random_graph(NetSpec(base=16, depth=4, cap=256, quant=SETTINGS[setting]), 0), found.model)
    return found


def one_inference(command: list[object], image: Path, environment: dict[str, str] | None = None) -> Counts:
    """Of a command whose last word is the number of inferences."""
    return count([*command, 2], image, environment) - count([*command, 1], image, environment)


def counter(core: Core, detail: bool = False) -> Callable[[Network], Counts]:
    """What counts one inference of our runtime."""
    folder = ROOT / "build" / core.preset
    program = link(core, ROOT / "tests/native/logits.c", folder)
    emulator = core.emulator("-plugin", f"{plugin(folder)}{',detail=1' if detail else ''}")
    return lambda net: one_inference([*emulator, program, net.model, 1, *net.size, 1], net.image)


def theirs(core: Core, net: Network, form: str, detail: bool) -> Counts:
    """One inference of ONNX Runtime."""
    for name, text in MACHINE.items():
        (SYSROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (SYSROOT / name).write_text(text.format(part=PARTS.get(core.name, "0xd49")), encoding="utf-8")
    emulator = core.emulator("-L", SYSROOT, "-plugin", f"{plugin(WORK)}{',detail=1' if detail else ''}")
    settings = {"PYTHONPATH": f"{PEER}:{WHEEL}", "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    words = [SYSROOT / "usr/bin" / PYTHON, ROOT / "scripts/arm/run_onnxruntime.py", net.peer(form), *net.size]
    return one_inference([*emulator, *words], net.image, {**os.environ, **settings, "PYTHONHASHSEED": "0"})


def install_peer() -> str:
    """ONNX Runtime for 64-bit ARM, in the version that this machine has; the version."""
    if not (WHEEL / "unetq").exists():
        raise SystemExit("--peer runs in the Python that scripts/arm/build_wheel.sh leaves: run that first.")
    wanted = f"onnxruntime=={version('onnxruntime')}"
    platforms = [f"--platform=manylinux_{tag}_aarch64" for tag in ("2_28", "2_27", "2_17")]
    abi = "cp" + PYTHON.removeprefix("python").replace(".", "")
    words = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--implementation=cp"]
    words += [f"--python-version={PYTHON.removeprefix('python')}", f"--abi={abi}", *platforms]
    if not list(PEER.glob(f"{wanted.replace('==', '-')}.dist-info")):
        subprocess.run([sys.executable, "-m", "pip", "install", *words, "--target", PEER, wanted], check=True)
    return wanted.replace("==", " ")


def main() -> None:
    """Prints a line for each network and core."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default="cortex-a72,cortex-a76")
    parser.add_argument("--settings", default="W4A6,W2A2")
    parser.add_argument("--peer", choices=("int8", "float"))
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--detail", action="store_true")
    given = parser.parse_args()
    nets = {setting: network(setting, given.side) for setting in given.settings.split(",")}
    peer = f"{install_peer()} {given.peer}" if given.peer else "peer"
    print(f"| core | network | unetq, M | {peer}, M |\n| --- | --- | --- | --- |")
    for core in map(Core, given.cores.split(",")):
        # Networks of one shape take it the same instructions, whatever the bits.
        other = theirs(core, next(iter(nets.values())), given.peer, given.detail) if given.peer else None
        ours = counter(core, given.detail)
        for setting, net in nets.items():
            counts = ours(net)
            total = counts["total", "all"]
            beside = f"{other['total', 'all'] / 1e6:.1f}: {other['total', 'all'] / total:.2f}x" if other else ""
            print(f"| {core.name} | {setting} | {total / 1e6:.1f} | {beside} |", flush=True)
            if given.detail:
                print_detail(counts)
        if other and given.detail:
            print(f"  {peer}")
            print_detail(other)


if __name__ == "__main__":
    main()
