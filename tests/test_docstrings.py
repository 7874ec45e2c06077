"""The examples in the docstrings run, each module's in an empty folder with ``vk`` imported."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
from matplotlib import pyplot as plt

import viberkit as vk

MODULES = [
    module.name for module in pkgutil.walk_packages(vk.__path__, "viberkit.") if not module.name.endswith("__main__")
]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"vk": vk}, optionflags=OPTIONS)
    plt.close("all")
    assert failed == 0
