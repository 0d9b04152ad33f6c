"""One run of a sweep, in the process that trains it."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unetq.errors import UserError
from unetq.files import make_folder
from unetq.sweep.plan import Job
from unetq.sweep.queue import Outcome
from unetq.train.runlog import RunFolder

__all__ = ["RunJob", "claimed", "lock_of", "run_job"]

RunJob = Callable[[Job, int], Outcome]
# What `unetq.files.atomic` leaves behind when its process is killed.
LEFT_BEHIND = "." + "[0-9a-f]" * 8 + "-*"


@contextmanager
def claimed(run: Path) -> Iterator[bool]:
    """True in the block for one process at a time; the kernel takes the lock from a process that dies.

    The lock lies beside the run, and stays there: deleting it would let two processes lock two files of one name.
    It holds the number and the machine of the process that had it last.
    """
    make_folder(run.parent)
    handle = os.open(lock_of(run), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()} {platform.node()}\n".encode())
            yield True
    finally:
        os.close(handle)


def lock_of(run: Path) -> Path:
    """The lock file of a run."""
    return run.with_name(f".{run.name}.lock")


def run_job(job: Job, threads: int) -> Outcome:
    """Trains a run, or goes on with it where it was left; a finished one is done at once.

    An error that is no `UserError` ends the process, with its traceback.
    """
    try:
        with claimed(job.folder) as mine:
            if not mine:
                return Outcome("busy", "another process works on it")
            _train(job, threads)
            return Outcome("done")
    except UserError as error:
        return Outcome("failed", str(error))
    except OSError as error:
        return Outcome(
            "failed", f"{error.filename or job.folder} cannot be read or written: {error.strerror or error}."
        )
    except KeyboardInterrupt:
        return Outcome("stopped")


def _train(job: Job, threads: int) -> None:
    import torch

    from unetq.train import loop

    torch.set_num_threads(threads)  # each time: the run before may have been resumed with a number of its own
    for path in job.folder.glob(LEFT_BEHIND):
        path.unlink()
    resume = RunFolder(job.folder).config.is_file()
    loop.train(job.config, job.data, job.folder, loop.TrainOptions(job.init_from, resume, progress=False))
