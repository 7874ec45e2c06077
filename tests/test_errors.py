"""Errors: the documented tree, readable messages, pickling."""

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

CLASSES = {
    name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, ViberkitError)
}
VIOLATIONS = (
    Violation("button.url", "'htp://x'", "is not an http(s) URL", "pass e.g. 'https://example.org'"),
    Violation("text", "", "is missing", "pass a text"),
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
    return kind(VIOLATIONS) if kind is InvalidRequest else kind("what failed; what to do")


def documented_tree() -> list[tuple[str, str | None, str]]:
    """The tree in the module's docstring: name, parent and description."""
    entries: list[tuple[str, str | None, str]] = []
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.fullmatch(r"(?P<branch>[ │├└─]*)(?P<name>[A-Z]\w+)(?P<rest>| {2,}.*)", line):
            depth = len(match["branch"])
            path = [(d, name) for d, name in path if d < depth]
            entries.append((match["name"], path[-1][1] if path else None, match["rest"].strip()))
            path.append((depth, match["name"]))
    return entries


def test_the_documented_tree_is_complete() -> None:
    tree = documented_tree()
    assert {name for name, _, _ in tree} == set(CLASSES)
    assert len(tree) == len(CLASSES)
    for name, parent, _ in tree:
        bases = [base.__name__ for base in CLASSES[name].__bases__ if issubclass(base, ViberkitError)]
        assert bases == ([parent] if parent else []), name
    assert set(errors.__all__) == {*CLASSES, "Violation"}


def test_the_documented_attributes_and_codes_exist() -> None:
    for name, _, rest in documented_tree():
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
    error = make(CLASSES[name])
    error.add_note("while sending row 17")
    copiers: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy]
    copiers += [
        lambda value, p=protocol: pickle.loads(pickle.dumps(value, p))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]
    for copier in copiers:
        again = copier(error)
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)
        assert again.__notes__ == ["while sending row 17"]


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_has_a_readable_message(name: str) -> None:
    error = make(CLASSES[name])
    text = str(error)
    assert text.strip() == text != ""
    assert text.encode()
    assert not re.search(r"object at 0x|Violation\(|\\n|None|\('", text)
    assert inspect.getdoc(CLASSES[name])
    for violation in getattr(error, "violations", ()):
        assert str(violation) in text
    with pytest.raises(ViberkitError):
        raise error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ApiError(404), "404"),
        (ApiError(404, request="GET /x"), "GET /x: 404"),
        (ApiError(404, "Not Found", request="GET /x"), "GET /x: 404 Not Found"),
        (ApiError(404, "", "gone", request="GET /x"), "GET /x: 404; gone"),
        (ApiError(400, "Bad", "", VIOLATIONS[1:]), "400 Bad; text: is missing; pass a text"),
        (InvalidRequest(VIOLATIONS), "\n".join(map(str, VIOLATIONS))),
        (InvalidRequest(iter(VIOLATIONS)), "\n".join(map(str, VIOLATIONS))),  # type: ignore[arg-type]
        (
            UnknownOutcome("timed out"),
            "the message to the recipient may or may not have been sent: timed out; "
            "do not send it again before a callback or the provider confirms the outcome",
        ),
    ],
)
def test_the_message_of_an_error(error: Exception, text: str) -> None:
    assert str(error) == text


def test_errors_are_also_of_a_builtin_class() -> None:
    for name in ("InvalidRequest", "UnreadableRecord"):
        with pytest.raises(ValueError):
            raise make(CLASSES[name])


def test_a_violation_reads_as_one_sentence() -> None:
    assert str(VIOLATIONS[0]) == "button.url: 'htp://x' is not an http(s) URL; pass e.g. 'https://example.org'"
    assert str(Violation("f", "", "is missing")) == "f: is missing"
    assert hash(VIOLATIONS[0]) == hash(copy.deepcopy(VIOLATIONS[0])) == hash(pickle.loads(pickle.dumps(VIOLATIONS[0])))
    with pytest.raises(AttributeError):
        VIOLATIONS[0].field = "x"  # type: ignore[misc]
