"""Programs for qemu's ARM cores, and the instructions that they execute there: exact, and the same at each run."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Core", "Counts", "compiler", "count", "link", "plugin"]

ROOT = Path(__file__).resolve().parents[2]
NARROW = {"cortex-a7", "cortex-a8", "cortex-a9", "cortex-a15"}  # 32-bit
# By (kind, name): ("total", "all"), ("op", mnemonic), ("function", symbol).
Counts = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Core:
    """A core by qemu's name: cortex-a53, cortex-a72, cortex-a76, max; cortex-a7, cortex-a9, cortex-a15."""

    name: str

    @property
    def wide(self) -> bool:
        """Whether it is a 64-bit one."""
        return self.name not in NARROW

    @property
    def preset(self) -> str:
        """CMake preset of its programs."""
        return "aarch64" if self.wide else "armv7"

    @property
    def prefix(self) -> str:
        """Of Debian's tools for it."""
        return "aarch64-linux-gnu" if self.wide else "arm-linux-gnueabihf"

    def emulator(self, *options: object) -> list[str]:
        """Command that runs a program there."""
        return ["qemu-aarch64" if self.wide else "qemu-arm", "-cpu", self.name, *map(str, options)]


def compiler(core: Core) -> str:
    """Name and version: counts are of one compiler."""
    words = [f"{core.prefix}-g++", "-dumpfullversion"]
    return f"{words[0]} {subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()}"


def plugin(folder: Path) -> Path:
    """qemu's plugin that counts, built into a folder."""
    path = folder / "libicount.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", ROOT / "scripts/arm/icount.c", "-o", path], check=True)
    return path


def link(core: Core, source: Path, folder: Path) -> Path:
    """A static program of one source and the runtime that the cross build in `folder` made, with its symbols."""
    program = folder / source.stem
    words = [f"{core.prefix}-gcc", "-O1", "-I", ROOT / "unetq/native/include", source, folder / "libunetq_runtime.a"]
    subprocess.run([*words, "-static", "-lstdc++", "-lm", "-pthread", "-o", program], check=True)
    return program


def count(command: Sequence[object], stdin: Path | None = None, environment: Mapping[str, str] | None = None) -> Counts:
    """Runs a command with the plugin in it.

    Raises:
        SystemExit: the command failed; the message is what it said.
    """
    given = None if stdin is None else stdin.read_bytes()
    words = [str(word) for word in command]
    done = subprocess.run(words, input=given, capture_output=True, check=False, env=environment)
    told = done.stderr.decode(errors="replace")
    lines = re.findall(r"^icount (\w+) (\S+) (\d+)$", told, re.MULTILINE)
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{told}")
    return Counter({(kind, key): int(number) for kind, key, number in lines})
