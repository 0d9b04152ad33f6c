"""The runs of a sweep as tasks of a Ray cluster, whose nodes see the data and the runs under the same paths."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from unetq.errors import UserError
from unetq.sweep.job import RunJob, run_job
from unetq.sweep.local import Machine
from unetq.sweep.plan import Job
from unetq.sweep.queue import Outcome

__all__ = ["RayPool"]

LOCAL, AUTO = "local", "auto"
THREADS = 4
QUIET: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
# Seconds in which a cluster's head must answer; Ray itself would wait for minutes.
PATIENCE = 5.0


class RayPool:
    """Tasks of a cluster: one that was started for this machine ("local"), or the one at an address."""

    def __init__(self, address: str, workers: int = 0, threads: int = 0) -> None:
        """Connects to the cluster.

        Args:
            address: "local"; "auto" for the one that this machine is a node of; or HOST:PORT of its head.
            workers: trainings at a time; 0 = as many as the cluster's cores hold.
            threads: cores of each; 0 = 4, or what the smallest node has; on this machine as without Ray.

        Raises:
            UserError: Ray is not installed, or there is no cluster at the address, or none with so many cores.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a hospital's machine is reported anywhere
        try:
            import ray
        except ImportError:
            raise UserError("--ray needs the package ray: install unetq[cluster].") from None
        self.ray: Any = ray  # untyped in parts
        if address == LOCAL:
            machine = Machine.of(workers, threads)
            workers, self.threads = machine.workers, machine.threads
            self.ray.init(LOCAL, num_cpus=workers * self.threads, include_dashboard=False, **QUIET)
        else:
            cores = self._join(address)
            self.threads = threads or max(1, min(THREADS, *cores))
            workers = workers or sum(n // self.threads for n in cores)
            if max(cores) < self.threads:
                self.ray.shutdown()
                raise UserError(
                    f"No node of the Ray cluster at {address} has {self.threads} cores: ask for fewer --threads."
                )
        self.workers = workers
        self._running: dict[Any, Job] = {}
        self.use(run_job)

    def use(self, run: RunJob) -> None:
        """What a task does with a run."""
        gpus = min(1.0, self.ray.cluster_resources().get("GPU", 0.0) / self.workers)
        self._task = self.ray.remote(run).options(num_cpus=self.threads, num_gpus=gpus, max_retries=0)

    def _join(self, address: str) -> list[int]:
        """Connects to a cluster; the cores of its nodes."""
        try:
            _refuse_silent(address)
            self.ray.init(address, **QUIET)
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            reason = str(error).split("\n")[0].rstrip(".")
            raise UserError(
                f"No Ray cluster can be used at {address} ({reason}): start one, or leave --ray out."
            ) from None
        cores = [int(node["Resources"].get("CPU", 0)) for node in self.ray.nodes() if node["Alive"]]
        return [n for n in cores if n] or [0]

    @property
    def free(self) -> int:
        """Runs that could be started now."""
        return self.workers - len(self._running)

    def start(self, job: Job) -> None:
        """Hands a run to the cluster."""
        self._running[self._task.remote(job, self.threads)] = job

    def wait(self, seconds: float) -> list[tuple[Job, Outcome]]:
        """The runs that ended, after at most `seconds`; none where none did."""
        if not self._running:
            time.sleep(seconds)
            return []
        ready, _ = self.ray.wait(list(self._running), timeout=seconds)
        return [(self._running.pop(task), self._outcome(task)) for task in ready]

    def stop(self) -> None:
        """Asks the running trainings to save themselves and end; `wait` tells when they have."""
        for task in self._running:
            self.ray.cancel(task, force=False)

    def close(self) -> None:
        """Leaves the cluster; what still runs is ended at once."""
        for task in self._running:
            self.ray.cancel(task, force=True)
        self._running = {}
        self.ray.shutdown()

    def _outcome(self, task: Any) -> Outcome:
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(task)
        except errors.TaskCancelledError:
            return Outcome("stopped")
        except errors.RayTaskError as error:  # an error of the program, which would come again
            return Outcome("failed", str(error).strip().split("\n")[-1])
        except errors.RayError as error:  # a worker, or its node, is gone
            return Outcome("lost", f"its Ray worker ended ({str(error).split(chr(10))[0].rstrip('. ')})")
        return outcome


def _refuse_silent(address: str) -> None:
    """Refuses an address that is none, or where nobody answers.

    Raises:
        OSError: nobody answers.
        ValueError: not HOST:PORT.
    """
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("an address is local, auto or HOST:PORT")
    with socket.create_connection((host, int(port)), PATIENCE):
        pass
