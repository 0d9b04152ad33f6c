"""The machine a run finds: processes started by torchrun, device, autocast, and a stop that all processes agree on."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from unetq.train.data import Share

__all__ = ["Stop", "TrainingStopped", "autocast", "device", "keep_freed_memory", "world"]


# glibc's malloc.h: how much may be free at the end of the heap, and from which size a block is mapped by itself.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class TrainingStopped(KeyboardInterrupt):
    """Ctrl-C during a training, after the run was saved; the message says how to go on."""


@contextmanager
def world() -> Iterator[Share]:
    """This process's share of the work: all of it, or what `torchrun` says; joins and leaves the process group."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or dist.is_initialized():
        yield Share(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Share()
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Share(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def device() -> torch.device:
    """The GPU of this process where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def keep_freed_memory() -> None:
    """Keeps what large tensors leave for the next ones, where the C library is glibc, for the rest of the process.

    glibc returns large blocks to the kernel at once, and the next step gets them zeroed anew, page by page: a tenth of a
    step's time on a CPU, a quarter of a validation's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def autocast(where: torch.device, precision: str) -> torch.autocast:
    """bfloat16 autocast; with "auto" only where the processor multiplies bfloat16 itself, for emulation is slower."""
    if precision == "auto" and where.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif precision == "auto":
        able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell: float32
        native = any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    else:
        native = precision == "bfloat16"
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=native)


class Stop:
    """Turns the first ctrl-C (or SIGTERM) into a wish that the loop grants at the end of a step; a second ends at once."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.asked = False
        self.former: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self.former = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def agreed(self) -> bool:
        """True if any process was asked: all of them must stop at the same step, or the others wait forever."""
        if self.share.world == 1:
            return self.asked
        flag = torch.tensor(float(self.asked), device=device())
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())
