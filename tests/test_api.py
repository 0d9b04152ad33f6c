"""The package as its users import it: what `import unetq` costs and offers, and the examples in the docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import unetq

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(unetq.__path__, "unetq.")
    if module.name not in ("unetq._native", "unetq.app.main")  # compiled; a page that runs when it is imported
)


def test_public_names_are_there_and_few() -> None:
    assert len(unetq.__all__) <= 12
    for name in unetq.__all__:
        assert getattr(unetq, name) is not None
    with pytest.raises(AttributeError):
        unetq.nothing  # noqa: B018


def test_import_reaches_no_torch() -> None:
    code = (
        "import sys, unetq; [getattr(unetq, n) for n in unetq.__all__]; import unetq.cli; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_there_are_modules_with_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [t for m in MODULES for t in finder.find(importlib.import_module(m)) if t.examples]
    assert len(examples) > 10


@pytest.mark.parametrize("name", MODULES)
def test_examples_and_all(name: str) -> None:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.__all__ names {public}"
    assert doctest.testmod(module).failed == 0
