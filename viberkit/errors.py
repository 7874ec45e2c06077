"""The errors of viberkit, in one tree.

::

    ViberkitError
    ├── InvalidRequest           a request or setting breaks a rule; nothing was sent (.violations)
    ├── ConfigurationError       a missing key, or an address that must not be called
    ├── MissingColumn            a frame lacks a required column (also a KeyError)
    ├── UnreadableRecord         a response, a callback or a line of a file cannot be read
    ├── ArchiveError             the archive cannot be opened or used
    │   └── ArchiveWriteError    the server accepted a message, but it could not be stored (.message_id)
    ├── CampaignError            a campaign cannot be planned, confirmed or sent as requested
    ├── TransportError           no response arrived (.sent)
    ├── UnknownOutcome           a send may or may not have been accepted: do not repeat it before you know
    └── ApiError                 the server refused a call (.status, .title, .detail, .violations, .request)
        ├── BadRequest           400, 409, 413, 415, 422 and any other 4xx
        ├── Unauthorized         401
        ├── Forbidden            403
        ├── NotFound             404, 410
        ├── NotSupported         405, 501
        ├── RateLimited          429 (.retry_after_s)
        ├── ServerError          5xx
        └── UnexpectedResponse   any other status, or a success that cannot be read

No error holds the request itself, so none can reveal the API key. All errors can be pickled.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from unicodedata import category


def suggestion(value: object, names: Iterable[object]) -> str:
    """A question for the name that was probably meant, with a trailing space; "" if none is similar.

    Letter case, spaces, hyphens and underscores do not count.

    Examples
    --------
    >>> suggestion("Country Code", ["country_code", "state"])
    "did you mean 'country_code'? "
    """
    known = {fold_name(name): name for name in names}
    matches = difflib.get_close_matches(fold_name(value), known, 1, 0.7) if isinstance(value, str) else []
    return f"did you mean {quote(known[matches[0]])}? " if matches else ""


def fold_name(name: object) -> str:
    """A name without letter case, spaces, hyphens and underscores, for comparisons."""
    return "".join(character for character in str(name)[:80].casefold() if character not in " _-\t")


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule.

    Parameters
    ----------
    field : str
        Path of the field, such as ``"items[1].title"``.
    value : str
        The value as it is quoted in messages; empty if it is missing or secret.
    rule : str
        The rule, such as ``"is not an http(s) URL"``.
    remedy : str, default ""
        What to do instead.

    Examples
    --------
    >>> print(Violation("button.url", "'htp://x'", "is not an http(s) URL", "pass e.g. 'https://example.org'"))
    button.url: 'htp://x' is not an http(s) URL; pass e.g. 'https://example.org'
    """

    field: str
    value: str
    rule: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.field}: {self.value} {self.rule}" if self.value else f"{self.field}: {self.rule}"
        return f"{text}; {self.remedy}" if self.remedy else text


class ViberkitError(Exception):
    """The base class of every error of this library; its text contains no control characters."""

    def __str__(self) -> str:
        return escape(super().__str__())


class InvalidRequest(ViberkitError, ValueError):
    """A request or a setting that breaks rules of the API; nothing was sent.

    Parameters
    ----------
    violations : sequence of Violation
        Every broken rule, not only the first.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__(self.violations)

    def __str__(self) -> str:
        return escape("\n".join(map(str, self.violations)))


class ConfigurationError(ViberkitError):
    """A missing or invalid setting; the message names it and how to set it."""


class MissingColumn(ViberkitError, KeyError):
    """A frame that lacks a required column; the message lists the available ones.

    Parameters
    ----------
    function : str
        The function that requires the columns.
    missing : iterable of str
        The missing columns.
    available : iterable of str
        The columns of the frame.
    hint : str, default ""
        What to do, with a trailing blank; default the name of a similar column, if there is one.
    """

    def __init__(self, function: str, missing: Iterable[str], available: Iterable[str], hint: str = "") -> None:
        self.function, self.missing, self.available, self.hint = function, tuple(missing), tuple(available), hint
        super().__init__(function, self.missing, self.available, hint)

    def __str__(self) -> str:
        missing, available = (", ".join(map(quote, names)) for names in (self.missing, self.available))
        plural = "s" if len(self.missing) > 1 else ""
        hint = self.hint or "".join(suggestion(name, self.available) for name in self.missing[:1])
        return escape(f"{self.function}: no column{plural} {missing}; {hint}the columns are: {available or 'none'}")


class UnreadableRecord(ViberkitError, ValueError):
    """A response, a callback or a line of a file that cannot be read; the message names the field and the reason."""


class ArchiveError(ViberkitError):
    """An archive that cannot be opened or used."""


class ArchiveWriteError(ArchiveError):
    """The server accepted a message, but the archive could not store it: note its id, and do not send it again.

    Parameters
    ----------
    message_id : str
        Id of the accepted message or bulk.
    reason : str
        Why it could not be stored.
    """

    def __init__(self, message_id: str, reason: str) -> None:
        self.message_id, self.reason = message_id, reason
        super().__init__(message_id, reason)

    def __str__(self) -> str:
        text = f"the server accepted {self.message_id}, do not send it again, but it is not stored: {self.reason}"
        return escape(text)


class CampaignError(ViberkitError):
    """A campaign that cannot be planned, confirmed or sent as requested; nothing was sent."""


class TransportError(ViberkitError):
    """No response arrived: connection refused or reset, time-out, DNS or TLS failure.

    Parameters
    ----------
    reason : str
        What failed.
    sent : bool, default False
        Whether a byte of the request may have left this process.
    """

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        self.sent = sent
        super().__init__(reason)


class UnknownOutcome(ViberkitError):
    """A send that may or may not have been accepted, and charged for: do not repeat it before the outcome is known.

    Parameters
    ----------
    reason : str
        What happened.
    to : str, default ""
        The recipient, masked.
    context : str, optional
        The context of the message, which callbacks return as ``userContext``.
    status : int, optional
        HTTP status of the response, if one arrived.
    earlier : bool, default False
        Whether the outcome of an earlier send of the same content is unknown, and nothing was sent now.
    bulk_id : str, optional
        Id of the bulk, if the response names it, but not its messages.
    """

    def __init__(
        self,
        reason: str,
        *,
        to: str = "",
        context: str | None = None,
        status: int | None = None,
        earlier: bool = False,
        bulk_id: str | None = None,
    ) -> None:
        self.reason, self.to, self.context, self.status, self.earlier = reason, to, context, status, earlier
        self.bulk_id = bulk_id
        super().__init__(reason)

    def __str__(self) -> str:
        if self.earlier:
            return escape(f"nothing was sent to {self.to or 'the recipient'}: {self.reason}")
        context = f" (context {self.context!r})" if self.context else ""
        text = f"the message to {self.to or 'the recipient'}{context} may or may not have been sent: {self.reason}"
        return escape(f"{text}; do not send it again before a callback or the provider confirms the outcome")


class ApiError(ViberkitError):
    """An error response of the server, with the details of RFC 7807 if it sends them.

    Parameters
    ----------
    status : int
        HTTP status.
    title : str, default ""
        Title of the problem.
    detail : str, default ""
        Explanation of the problem.
    violations : sequence of Violation, default ()
        The fields that the server objects to.
    request : str, default ""
        Method and path of the call.
    retry_after_s : float, optional
        Seconds to wait before the next call, if the server sent them.
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
        return escape("; ".join([head, *filter(None, [self.detail]), *map(str, self.violations)]))


class BadRequest(ApiError):
    """The request is invalid; ``violations`` names the fields."""


class Unauthorized(ApiError):
    """The API key is missing, wrong or withdrawn."""


class Forbidden(ApiError):
    """The key is valid, but the service id or the call is not permitted."""


class NotFound(ApiError):
    """The id is unknown, or expired (messages after 48 hours, histories after 90 days)."""


class NotSupported(ApiError):
    """The server does not offer the call."""


class RateLimited(ApiError):
    """Too many requests; ``retry_after_s`` is the server's delay, if it sent one."""


class ServerError(ApiError):
    """The server failed."""


class UnexpectedResponse(ApiError):
    """A response that is neither a success nor a known refusal: a redirect, or a body that cannot be read."""


_CLASSES = {401: Unauthorized, 403: Forbidden, 404: NotFound, 405: NotSupported, 410: NotFound, 429: RateLimited}


def for_status(status: int) -> type[ApiError]:
    """The error class of an HTTP status.

    >>> for_status(404).__name__, for_status(503).__name__
    ('NotFound', 'ServerError')
    """
    if status in _CLASSES:
        return _CLASSES[status]
    if 400 <= status < 500:
        return BadRequest
    if status == 501:
        return NotSupported
    return ServerError if 500 <= status < 600 else UnexpectedResponse


def escape(text: str) -> str:
    r"""A text that cannot control a terminal: what Python's repr escapes is escaped, except for line feeds and blanks.

    >>> escape("a\x1b[2J\r\u202e\x9b"), escape("Grüße 👋")
    ('a\\x1b[2J\\r\\u202e\\x9b', 'Grüße 👋')
    """
    if text.replace("\n", "").isprintable():
        return text
    shown = (c if c == "\n" or c.isprintable() or category(c) == "Zs" else repr(c)[1:-1] for c in text)
    return "".join(shown)


def quote(value: object) -> str:
    """The repr of a value for a message, escaped, and cut at 60 characters.

    >>> quote("x" * 100), quote({"key": "x" * 100})[-5:], quote(10**5000)
    ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'", 'xxx…}', 'a value of type int')
    """
    try:
        text = escape(repr(value))
    except (ValueError, RecursionError):  # more digits or levels than Python prints
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…{text[-1]}"


def raise_violations(violations: Iterable[Violation]) -> None:
    """Raise :class:`InvalidRequest` with every distinct violation, if there are any."""
    if distinct := list(dict.fromkeys(violations)):
        raise InvalidRequest(distinct)


#: The classes of this module.
__all__ = [name for name, value in globals().items() if isinstance(value, type) and value.__module__ == __name__]


def __dir__() -> list[str]:
    return __all__
