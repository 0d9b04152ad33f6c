"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `realdata` need the user's own copy of the public data sets."""
    if os.environ.get("UNETQ_DATA"):
        return
    skip = pytest.mark.skip(reason="set UNETQ_DATA to a folder with em/train-volume.tif to run it on real images")
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real images."""
    return Path(os.environ["UNETQ_DATA"]).resolve()
