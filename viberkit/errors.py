"""Every error that viberkit raises, in one tree::

    ViberkitError
    ├── InvalidRequest        what you asked for breaks a rule; nothing was sent (.violations)
    ├── ConfigurationError    a missing key, an address that must not be called
    ├── MissingColumn         a frame without a column that was asked of it (also a KeyError)
    ├── UnreadableRecord      an answer, a callback or a line of a file that cannot be read
    ├── ArchiveError          the archive cannot be opened, or is of another version
    │   └── ArchiveWriteError           the server accepted a message, but it could not be kept (.message_id)
    ├── CampaignError         a campaign that cannot be planned, confirmed or sent as asked
    ├── TransportError       no answer came; whatever was asked changed nothing
    ├── UnknownOutcome        a send that may or may not have been accepted: never repeat it blindly
    └── ApiError              the server answered, and refused (.status, .title, .detail, .violations)
        ├── BadRequest        400, 409, 413, 415, 422 and any other 4xx
        ├── Unauthorized      401
        ├── Forbidden         403
        ├── NotFound          404, 410
        ├── NotSupported        405, 501
        ├── RateLimited       429 (.retry_after_s)
        ├── ServerError       5xx
        └── UnexpectedResponse  anything else: a redirect, a success that cannot be read

No error keeps the request, so none can carry the API key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "ApiError",
    "ArchiveError",
    "ArchiveWriteError",
    "BadRequest",
    "CampaignError",
    "ConfigurationError",
    "Forbidden",
    "InvalidRequest",
    "MissingColumn",
    "NotFound",
    "NotSupported",
    "RateLimited",
    "ServerError",
    "TransportError",
    "Unauthorized",
    "UnexpectedResponse",
    "UnknownOutcome",
    "UnreadableRecord",
    "ViberkitError",
    "Violation",
]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the field, the value found there, the rule, and what to do instead.

    >>> print(Violation("button.url", "'htp://x'", "is not an http(s) URL", "pass e.g. 'https://example.org'"))
    button.url: 'htp://x' is not an http(s) URL; pass e.g. 'https://example.org'
    """

    field: str
    value: str
    rule: str
    remedy: str = ""

    def __str__(self) -> str:
        said = f"{self.field}: {self.value} {self.rule}" if self.value else f"{self.field}: {self.rule}"
        return f"{said}; {self.remedy}" if self.remedy else said


class ViberkitError(Exception):
    """The root of every error of this library."""


class InvalidRequest(ViberkitError, ValueError):
    """A message or a setting that breaks a rule of the API. Nothing was sent.

    ``violations`` holds all of them, not only the first.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__(self.violations)

    def __str__(self) -> str:
        return "\n".join(map(str, self.violations))


class ConfigurationError(ViberkitError):
    """The client cannot be set up as asked: the text says what is missing and how to give it."""


class MissingColumn(ViberkitError, KeyError):
    """A frame without a column that was asked of it; the text names the columns that are there."""

    def __init__(self, function: str, missing: Iterable[str], available: Iterable[str]) -> None:
        self.function, self.missing, self.available = function, tuple(missing), tuple(available)
        super().__init__(function, self.missing, self.available)

    def __str__(self) -> str:
        missing, available = (", ".join(map(repr, names)) for names in (self.missing, self.available))
        return f"{self.function}: no column {missing}; the columns are: {available or 'none'}"


class UnreadableRecord(ViberkitError, ValueError):
    """Something from outside that cannot be read; the text says which field and why."""


class ArchiveError(ViberkitError):
    """The archive cannot be opened or used."""


class ArchiveWriteError(ArchiveError):
    """The server accepted a message, but the archive could not keep it: note ``message_id``, send nothing again."""

    def __init__(self, message_id: str, reason: str) -> None:
        self.message_id, self.reason = message_id, reason
        super().__init__(message_id, reason)

    def __str__(self) -> str:
        return f"the server accepted {self.message_id}, do not send it again, but it is not kept: {self.reason}"


class CampaignError(ViberkitError):
    """A campaign that cannot be planned, confirmed or sent as asked; nothing went out."""


class TransportError(ViberkitError):
    """No response arrived: refused, reset, timed out, DNS or TLS failure.

    ``sent`` is True if a byte of the request may have left this process.
    """

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        self.sent = sent
        super().__init__(reason)


class UnknownOutcome(ViberkitError):
    """A send whose fate is not known: the server may have accepted it, and may charge for it.

    Never send it again without evidence. ``reason`` says what happened, ``to`` the recipient
    (masked), ``context`` what will come back on callbacks as ``userContext``.
    """

    def __init__(self, reason: str, *, to: str = "", context: str | None = None, status: int | None = None) -> None:
        self.reason, self.to, self.context, self.status = reason, to, context, status
        super().__init__(reason)

    def __str__(self) -> str:
        about = f" (context {self.context!r})" if self.context else ""
        return (
            f"the message to {self.to or 'the recipient'}{about} may or may not have been sent: {self.reason}; "
            "do not send it again before a callback or the provider has told what became of it"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_unknown, (self.reason, self.to, self.context, self.status), self.__dict__


def _rebuild_unknown(reason: str, to: str, context: str | None, status: int | None) -> UnknownOutcome:
    return UnknownOutcome(reason, to=to, context=context, status=status)


class ApiError(ViberkitError):
    """The server's refusal, as it put it (RFC 7807 where it did).

    ``status`` is the HTTP status, ``title`` and ``detail`` the server's words, ``violations`` the
    fields it complained about, ``request`` the method and path.
    """

    def __init__(
        self,
        status: int,
        title: str = "",
        detail: str = "",
        violations: Sequence[Violation] = (),
        *,
        request: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.status, self.title, self.detail = status, title, detail
        self.violations, self.request, self.retry_after_s = tuple(violations), request, retry_after_s
        super().__init__(status, title, detail, self.violations)

    def __str__(self) -> str:
        head = f"{self.request}: {self.status} {self.title}".strip(": ")
        return "; ".join([head, *filter(None, [self.detail]), *map(str, self.violations)])

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _rebuild_api,
            (
                type(self),
                self.status,
                self.title,
                self.detail,
                self.violations,
                self.request,
                self.retry_after_s,
            ),
            self.__dict__,
        )


def _rebuild_api(
    kind: type[ApiError],
    status: int,
    title: str,
    detail: str,
    violations: Sequence[Violation],
    request: str,
    retry: float | None,
) -> ApiError:
    return kind(status, title, detail, violations, request=request, retry_after_s=retry)


class BadRequest(ApiError):
    """The server found the request wrong; ``violations`` says where."""


class Unauthorized(ApiError):
    """The API key is missing, wrong or withdrawn."""


class Forbidden(ApiError):
    """The key is known, the service id or the call is not yours."""


class NotFound(ApiError):
    """The id is unknown, or has expired (bodies after 48 h, histories after 90 days)."""


class NotSupported(ApiError):
    """This server does not offer the call."""


class RateLimited(ApiError):
    """Too many requests; ``retry_after_s`` is what the server asked for, if it did."""


class ServerError(ApiError):
    """The server failed."""


class UnexpectedResponse(ApiError):
    """An answer that is neither a success nor a known refusal: a redirect, or a body that cannot be read."""


def for_status(status: int) -> type[ApiError]:
    """The error class of an HTTP status.

    >>> for_status(404).__name__, for_status(503).__name__
    ('NotFound', 'ServerError')
    """
    named: dict[int, type[ApiError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 410: NotFound}
    named |= {405: NotSupported, 501: NotSupported, 429: RateLimited}
    if status in named:
        return named[status]
    if 400 <= status < 500:
        return BadRequest
    return ServerError if 500 <= status < 600 else UnexpectedResponse


def quote(value: object) -> str:
    """A value as an error quotes it: its repr, at most 60 characters of it.

    >>> quote("x" * 100), quote({"key": "x" * 100})[-5:], quote(10**5000)
    ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'", 'xxx…}', 'a value of type int')
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits or levels than Python prints
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…{text[-1]}"


def raise_violations(violations: Sequence[Violation]) -> None:
    """Raise :class:`InvalidRequest` with every distinct violation, if there are any."""
    if violations:
        raise InvalidRequest(list(dict.fromkeys(violations)))
