"""Shared fixtures."""

from __future__ import annotations

import locale
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples each time: what fails in CI fails here. `--hypothesis-profile default` looks further.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `realdata` need the user's own copy of the public data sets."""
    if os.environ.get("UNETQ_DATA"):
        return
    skip = pytest.mark.skip(reason="set UNETQ_DATA to a folder with em/train-volume.tif to run it on real images")
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """A shell that starts the tests in the background has ctrl-C ignored, by the tests and by what they start."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real images."""
    return Path(os.environ["UNETQ_DATA"]).resolve()


@pytest.fixture(scope="session", autouse=True)
def untuned() -> Iterator[None]:
    """Kernels are chosen by the table, not by what the developer's own machine was tuned to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNETQ_TIMINGS", "off")
        yield


LOCALE = locale.setlocale(locale.LC_ALL)


@pytest.fixture(autouse=True)
def same_locale() -> None:
    """GDCM's JPEG 2000 encoder, with which some tests write, leaves the process in "C", where text files are ASCII."""
    locale.setlocale(locale.LC_ALL, LOCALE)
