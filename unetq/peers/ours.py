"""The native runtime as a contender."""

from __future__ import annotations

from unetq.peers.worker import Entrant, Job
from unetq.runtime.model import open_model

__all__ = ["load"]


def load(job: Job) -> Entrant:
    """Opens the model file."""
    model = open_model(job.file, job.threads)
    # The image has one channel axis and no batch.
    return Entrant(lambda image: model.run(image[0])[None], dict)
