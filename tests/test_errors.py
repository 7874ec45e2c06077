"""Errors: one tree as drawn, readable in one text, and whole after a journey to another process."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from viberkit import errors
from viberkit.errors import ApiError, InvalidRequest, MissingColumn, UnknownOutcome, ViberkitError, Violation

CLASSES = {name: one for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, ViberkitError)}
VIOLATIONS = (
    Violation("button.url", "'htp://x'", "is not an http(s) URL", "pass e.g. 'https://example.org'"),
    Violation("text", "", "is missing", "give it a text"),
)


def make(kind: type[Any]) -> Any:
    """An error of a kind with every attribute filled."""
    if issubclass(kind, ApiError):
        return kind(429, "Too Many", "slow down", VIOLATIONS, request="POST /messages", retry_after_s=2.5)
    if kind is UnknownOutcome:
        return kind("timed out", to="+4917*****67", context="ref-1", status=502)
    if kind is errors.ArchiveWriteError:
        return kind("8fb360a1", "the disk is full")
    if kind is MissingColumn:
        return kind("latency", ["state"], ["message_id", "happened_at"])
    return kind(VIOLATIONS) if kind is InvalidRequest else kind("what happened; what to do")


def drawn() -> list[tuple[str, str | None, str]]:
    """The tree of the module's docstring: name, parent, and what is written beside it."""
    found: list[tuple[str, str | None, str]] = []
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if told := re.fullmatch(r"(?P<branch>[ │├└─]*)(?P<name>[A-Z]\w+)(?P<rest>| {2,}.*)", line):
            depth = len(told["branch"])
            path = [(d, name) for d, name in path if d < depth]
            found.append((told["name"], path[-1][1] if path else None, told["rest"].strip()))
            path.append((depth, told["name"]))
    return found


def test_the_tree_is_as_drawn() -> None:
    tree = drawn()
    assert {name for name, _, _ in tree} == set(CLASSES)
    assert len(tree) == len(CLASSES)
    for name, parent, _ in tree:
        bases = [base.__name__ for base in CLASSES[name].__bases__ if issubclass(base, ViberkitError)]
        assert bases == ([parent] if parent else []), name
    assert set(errors.__all__) == {*CLASSES, "Violation"}


def test_the_attributes_and_codes_are_as_drawn() -> None:
    for name, _, rest in drawn():
        for attribute in re.findall(r"\.(\w+)", rest):
            assert hasattr(make(CLASSES[name]), attribute), f"{name}.{attribute}"
        for code in re.findall(r"\b[1-5]\d\d\b", rest):
            assert errors.for_status(int(code)).__name__ == name
    for status in range(-1, 1000):
        kind = errors.for_status(status)
        assert issubclass(kind, ApiError)
        if 400 <= status < 600:
            assert kind is not errors.UnexpectedResponse
        else:
            assert kind is errors.UnexpectedResponse
    assert {errors.for_status(status).__name__ for status in range(500, 600)} == {"ServerError", "NotSupported"}


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_survives_pickle_and_copy(name: str) -> None:
    fault = make(CLASSES[name])
    fault.add_note("while sending row 17")
    ways: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy]
    ways += [
        lambda one, p=protocol: pickle.loads(pickle.dumps(one, p)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]
    for way in ways:
        again = way(fault)
        assert type(again) is type(fault)
        assert str(again) == str(fault)
        assert again.args == fault.args
        assert vars(again) == vars(fault)
        assert again.__notes__ == ["while sending row 17"]


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_is_one_readable_text(name: str) -> None:
    fault = make(CLASSES[name])
    text = str(fault)
    assert text.strip() == text != ""
    assert text.encode()
    assert not re.search(r"object at 0x|Violation\(|\\n|None|\('", text)
    assert inspect.getdoc(CLASSES[name])
    for one in getattr(fault, "violations", ()):
        assert str(one) in text
    with pytest.raises(ViberkitError):
        raise fault


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (ApiError(404), "404"),
        (ApiError(404, request="GET /x"), "GET /x: 404"),
        (ApiError(404, "Not Found", request="GET /x"), "GET /x: 404 Not Found"),
        (ApiError(404, "", "gone", request="GET /x"), "GET /x: 404; gone"),
        (ApiError(400, "Bad", "", VIOLATIONS[1:]), "400 Bad; text: is missing; give it a text"),
        (InvalidRequest(VIOLATIONS), "\n".join(map(str, VIOLATIONS))),
        (InvalidRequest(iter(VIOLATIONS)), "\n".join(map(str, VIOLATIONS))),  # type: ignore[arg-type]
        (
            UnknownOutcome("timed out"),
            "the message to the recipient may or may not have been sent: timed out; "
            "do not send it again before a callback or the provider confirms the outcome",
        ),
    ],
)
def test_what_an_error_says(fault: Exception, text: str) -> None:
    assert str(fault) == text


def test_old_habits_still_catch_them() -> None:
    for name in ("InvalidRequest", "UnreadableRecord"):
        with pytest.raises(ValueError):
            raise make(CLASSES[name])


def test_a_violation_reads_as_one_sentence() -> None:
    assert str(VIOLATIONS[0]) == "button.url: 'htp://x' is not an http(s) URL; pass e.g. 'https://example.org'"
    assert str(Violation("f", "", "is missing")) == "f: is missing"
    assert hash(VIOLATIONS[0]) == hash(copy.deepcopy(VIOLATIONS[0])) == hash(pickle.loads(pickle.dumps(VIOLATIONS[0])))
    with pytest.raises(AttributeError):
        VIOLATIONS[0].field = "x"  # type: ignore[misc]
