"""Every public name has a complete numpydoc docstring."""

from __future__ import annotations

import functools
import inspect
from types import ModuleType
from typing import Any

import pytest
from numpydoc.validate import validate

import viberkit as vk

#: Codes of numpydoc that must not occur; https://numpydoc.readthedocs.io/en/latest/validation.html explains them.
CHECKED = {
    *("GL01", "GL02", "GL03", "GL06", "GL07", "GL08", "GL09", "GL10"),  # layout of the docstring and of its sections
    *("SS01", "SS02", "SS03", "SS04", "SS05", "SS06"),  # the summary: one line, capitalised, infinitive, with a stop
    *("PR01", "PR02", "PR03", "PR04", "PR05", "PR07", "PR08", "PR09", "PR10"),  # every parameter, its type and meaning
    *("RT01", "RT02", "RT03", "RT04", "RT05"),  # the returned value
    "YD01",  # the yielded values
}


def public_names() -> dict[str, str]:
    """Every function, class, method and property that users call, and the name under which numpydoc finds it."""
    values: dict[str, Any] = {}
    for name in vk.__all__:
        value = getattr(vk, name)
        if isinstance(value, ModuleType):
            values |= {f"vk.{name}.{member}": getattr(value, member) for member in value.__all__}
        else:
            values[f"vk.{name}"] = value
    names = {name: f"{value.__module__}.{value.__qualname__}" for name, value in values.items() if callable(value)}
    for name, value in values.items():
        if inspect.isclass(value):
            names |= {f"{name}.{member}": f"{names[name]}.{member}" for member in public_members(value)}
    return names


def public_members(cls: type) -> list[str]:
    """The public methods and properties of a class, those inherited from other classes of the library included."""
    return [
        member
        for parent in cls.__mro__
        if parent.__module__.startswith("viberkit.")
        for member, value in vars(parent).items()
        if not member.startswith("_") and isinstance(value, property | classmethod | staticmethod | type(public_names))
    ]


NAMES = public_names()


def checked_codes(name: str) -> set[str]:
    """The codes to check; a class that inherits its parameters need not repeat them."""
    value = functools.reduce(getattr, name.split(".")[1:], vk)
    inherits = inspect.isclass(value) and "__init__" not in vars(value)
    return CHECKED - {"PR01"} if inherits else CHECKED


@pytest.mark.filterwarnings("ignore:Widget:DeprecationWarning")  # numpydoc reads deprecated attributes of ipywidgets
@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_docstring_is_complete(name: str) -> None:
    findings = [f"{code}: {text}" for code, text in validate(NAMES[name])["errors"] if code in checked_codes(name)]
    assert not findings, "\n".join([name, *findings])
