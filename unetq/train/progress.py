"""The progress bar of a training, on standard error."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Bar"]


class Bar:
    """Step, loss, validation Dice and time left; silent if not `shown`."""

    def __init__(self, title: str, steps: int, done: int, shown: bool) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  val Dice {task.fields[dice]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=Console(stderr=True), disable=not shown)
        self.task = self.progress.add_task(title, total=steps, completed=done, loss=float("nan"), dice="-")

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def step(self, done: int, loss: float) -> None:
        """Shows a finished step."""
        self.progress.update(self.task, completed=done, loss=loss)

    def validated(self, dice: float) -> None:
        """Shows the last validation."""
        self.progress.update(self.task, dice=f"{dice:.4f}")
