"""The client of the Conversations API."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from viberkit.api.account import Account, path_part
from viberkit.api.recorder import Recording
from viberkit.api.send import build_request, post_recorded
from viberkit.api.settings import BASE_URL, check_base_url, check_key, hide, setting
from viberkit.api.transport import Transport, read_body
from viberkit.errors import UnexpectedResponse, Violation, raise_violations
from viberkit.models import validation
from viberkit.models.content import Content, kind, to_wire
from viberkit.models.html import facts_table
from viberkit.models.keys import KEY_LENGTH
from viberkit.models.parsing import error_from_response, is_unknown_message, read_message, read_record, read_status
from viberkit.models.phone import normalize
from viberkit.models.records import Event, Response, SentBulk, SentMessage, Status, StoredMessage

T = TypeVar("T")

#: Where the reference and the guide disagree, the reference's path comes first.
_PATHS = {
    "message": ("/messages/{id}",),
    "status": ("/messages/{id}/status", "/{id}/status"),
    "events": ("/messages/{id}/events", "/{id}/events"),
}


class Client:
    """A client of tyntec's Conversations API v3 for Viber.

    A setting that is not passed is read from the environment, then from a ``.env`` file in the working directory or
    above it. A client may be shared by threads and used as a context manager.

    Parameters
    ----------
    api_key : str, optional
        API key; default ``TYNTEC_API_KEY``.
    service_id : str, optional
        Viber service id that messages are sent from; default ``VIBER_SERVICE_ID``.
    base_url : str, optional
        Address of the API; default ``VIBERKIT_BASE_URL``, else tyntec's production address.
    archive : Archive, optional
        Archive that stores every send before it goes out, and every response.
    timeout_s : tuple of float, default (10.0, 30.0)
        Seconds to wait for the connection, and between two bytes of a response. A whole response may take eight times
        the latter, and a file 128 times.
    retry_for_s : float, default 60.0
        Seconds after its first attempt during which a call is retried.

    Attributes
    ----------
    account : Account
        The calls about the account: configuration, callbacks and media.
    service_id : str or None
        The service id in use.
    base_url : str
        The address in use.
    archive : Archive or None
        The archive in use.

    Raises
    ------
    ConfigurationError
        If there is no key, or the address would carry the key unencrypted.

    Notes
    -----
    Any call is retried if no byte of it left this process, or the server answered 429: it was certainly not accepted.
    GET and PUT are also retried on 502, 503, 504 and broken connections; a send is not, since the API has no
    idempotency key.

    Each send has a connection of its own, so that no late response to another request can answer it. Responses of more
    than 16 MB (files: 256 MB) are not read. Secrets that a response repeats are replaced by ``***``.

    Examples
    --------
    >>> with vk.Sandbox(seed=1) as sandbox, sandbox.client() as client:
    ...     sent = client.send("+491701234567", vk.Text("Your parcel is here"), rate_type="transaction")
    ...     client.status(sent.message_id).state
    'accepted'
    """

    def __init__(
        self,
        api_key: str | None = None,
        service_id: str | None = None,
        *,
        base_url: str | None = None,
        archive: Recording | None = None,
        timeout_s: tuple[float, float] = (10.0, 30.0),
        retry_for_s: float = 60.0,
    ) -> None:
        api_key, base_url = hide(api_key), hide(base_url)  # before anything can fail
        key = check_key(hide(setting(api_key, "TYNTEC_API_KEY")))
        self.base_url = check_base_url(hide(setting(base_url, "VIBERKIT_BASE_URL") or BASE_URL))
        self.service_id = setting(service_id, "VIBER_SERVICE_ID")
        self.archive = archive
        self._transport = Transport(self.base_url, key, timeout_s=timeout_s, retry_for_s=retry_for_s)
        self.account = Account(self._transport)
        self._working_paths: dict[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        known = vars(self)  # without attributes if a setting is invalid
        return f"Client({known.get('base_url')!r}, service_id={known.get('service_id')!r})"

    def _repr_html_(self) -> str:
        facts = {"address": self.base_url, "service id": self.service_id or "not set", "API key": "set, never shown"}
        return facts_table("Client", {**facts, "archive": self.archive and repr(self.archive)})

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client holds an API key and cannot be pickled; create one in each process")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the open connections; the client may still be used, and opens new ones."""
        self._transport.close()

    def with_archive(self, archive: Recording) -> Client:
        """Return a client that shares the connections of this one and stores every response in an archive.

        Parameters
        ----------
        archive : Archive
            The archive.

        Returns
        -------
        Client
            The new client; this one is unchanged.
        """
        client = object.__new__(Client)
        client.__dict__.update(self.__dict__, archive=archive)
        return client

    def send(
        self,
        to: str,
        content: Content,
        *,
        rate_type: str,
        context: str | None = None,
        callback_url: str | None = None,
        deduplicate: bool = False,
    ) -> SentMessage:
        """Check a message and send it once.

        With an archive, the send is stored in its outbox before the first byte goes out, and a key of 26 characters
        precedes the context.

        Parameters
        ----------
        to : str
            Phone number of the recipient: E.164 (``"+491701234567"``), ``00`` and the number, or bare international
            digits.
        content : Text, Image, File, Video, List or Carousel
            Content of the message.
        rate_type : {"transaction", "promotion", "session"}
            Rate type; it decides the price, and which contents are allowed.
        context : str, optional
            Text that is returned with callbacks: at most 125 characters, 98 with an archive.
        callback_url : str, optional
            Address for the status callbacks of this message; default the setting of the service id or the account.
        deduplicate : bool, default False
            Return the earlier message if the same content was accepted for this recipient before, whatever its rate
            type and context; needs an archive.

        Returns
        -------
        SentMessage
            The accepted message with its id; with `deduplicate`, the earlier one as it was sent.

        Raises
        ------
        InvalidRequest
            If a rule is broken, with all violations; nothing was sent.
        ApiError
            If the server refuses the message.
        TransportError
            If no byte of the request left this process.
        UnknownOutcome
            If the message may or may not have been accepted, now or in an earlier call, or if the archive has its
            id for another message. Do not send it again before a callback or the provider confirms the outcome.
        ArchiveWriteError
            If the server accepted the message and the archive could not store that.

        Warns
        -----
        UserWarning
            If the content is allowed, but some phones, operators or servers refuse or shorten it.

        Examples
        --------
        >>> with vk.Sandbox(seed=1) as sandbox, sandbox.client() as client:
        ...     sent = client.send("+491701234567", vk.Text("Your parcel is here"), rate_type="transaction")
        >>> sent.rate_type, sent.content.text
        ('transaction', 'Your parcel is here')
        """
        violations = validation.violations(content, rate_type)
        if deduplicate and self.archive is None:
            violations.append(Violation("deduplicate", "True", "needs an archive", "pass Client(archive=…)"))
        request = self._build_request(violations, to, rate_type, context, callback_url)
        _warn_of(content, *validation.url_cautions("callback_url", callback_url or "https:/"))
        request["content"] = to_wire(content)
        accepted = post_recorded(self._transport, self.archive, "/messages", request, deduplicate=deduplicate)
        if accepted.rate_type is not None:  # an earlier send
            rate_type, context = accepted.rate_type, accepted.context
        return SentMessage(accepted.message_id, request["to"], rate_type, content, accepted.accepted_at, context)

    def bulk(self, to: str, contents: Sequence[Content], *, rate_type: str) -> SentBulk:
        """Check several contents and send them to one recipient together, in order.

        Parameters
        ----------
        to : str
            Phone number of the recipient, as for :meth:`send`.
        contents : sequence of content
            2 to 20 contents.
        rate_type : {"transaction", "promotion", "session"}
            Rate type of all of them.

        Returns
        -------
        SentBulk
            The accepted bulk, with one message id per content.

        Raises
        ------
        InvalidRequest, ApiError, TransportError, UnknownOutcome, ArchiveWriteError
            As :meth:`send`.

        Warns
        -----
        UserWarning
            As :meth:`send`.
        """
        violations = []
        if not 2 <= len(contents) <= 20:
            rule = f"has a length of {len(contents)}, not 2 to 20"
            violations.append(Violation("contents", "", rule, "pass 2 to 20 contents, or use send() for one"))
        for index, content in enumerate(contents):
            for broken in validation.violations(content, rate_type):
                field = broken.field if broken.field == "rate_type" else f"contents[{index}].{broken.field}"
                violations.append(Violation(field, broken.value, broken.rule, broken.remedy))
        request = self._build_request(violations, to, rate_type, None, None)
        for content in contents:
            _warn_of(content)
        request["messages"] = [to_wire(content) for content in contents]
        accepted = post_recorded(self._transport, self.archive, "/bulks", request)
        return SentBulk(
            accepted.message_id, accepted.message_ids, request["to"], rate_type, tuple(contents), accepted.accepted_at
        )

    def _build_request(
        self, broken: list[Violation], to: str, rate_type: str, context: str | None, callback_url: str | None
    ) -> dict[str, Any]:
        """A request without its content, or every violation raised, those of the content included."""
        number = normalize(to)
        broken += [number] if isinstance(number, Violation) else []
        broken += validation.service_id_violations(self.service_id)
        broken += validation.choice_rule("rate_type", rate_type, validation.RATE_TYPES)
        if context is not None:
            limit = validation.MAX_CONTEXT - (0 if self.archive is None else KEY_LENGTH + 1)
            broken += validation.text_rule("context", context, limit)
        broken += validation.callback_url_rule("callback_url", callback_url)
        raise_violations(broken)
        request = build_request(self.service_id, str(number), rate_type, callback_url)
        return request if context is None else {**request, "context": context}

    def status(self, message_id: str) -> Status:
        """Return the current state of a message.

        Parameters
        ----------
        message_id : str
            Id of the message.

        Returns
        -------
        Status
            The state, and since when.

        Raises
        ------
        NotFound
            If the id is unknown, or expired after 90 days.
        ApiError
            If the server refuses the call otherwise.
        TransportError
            If no response arrived.
        """
        return self._read("status", message_id, read_status)

    def events(self, message_id: str) -> tuple[Event, ...]:
        """Return the history of a message.

        Parameters
        ----------
        message_id : str
            Id of the message.

        Returns
        -------
        tuple of Event
            The events, oldest first.

        Raises
        ------
        NotFound
            If the id is unknown, or expired after 90 days.
        ApiError
            If the server refuses the call otherwise.
        TransportError
            If no response arrived.

        Warns
        -----
        UserWarning
            For each event that cannot be read and is left out.
        """
        parsed = self._read("events", message_id, read_record)
        for item in parsed.skipped:
            warnings.warn(f"{message_id}: {item.reason}; this event was left out", stacklevel=2)
        return tuple(sorted(parsed.events, key=lambda event: event.happened_at))

    def message(self, message_id: str) -> StoredMessage:
        """Return a message with its content, until 48 hours after its final state.

        Parameters
        ----------
        message_id : str
            Id of the message.

        Returns
        -------
        StoredMessage
            Recipient, service id, rate type and content.

        Raises
        ------
        NotFound
            If the id is unknown or expired.
        NotSupported
            If the server does not offer the call.
        ApiError
            If the server refuses the call otherwise.
        TransportError
            If no response arrived.
        """
        return self._read("message", message_id, read_message)

    def _read(self, kind: str, message_id: str, reader: Callable[[Any], T]) -> T:
        """The content of a response about a message, which is first stored in the archive; a refusal is stored too."""
        response = self.get_response(kind, message_id)
        if self.archive is not None:
            self.archive.recorder.record(kind, [(message_id, response)])
        if not response.ok:
            raise error_from_response(response, f"GET {kind} of {message_id}")
        result: Any = read_body(reader, response)
        if result.message_id.lower() != message_id.lower():  # a late response to another request
            raise UnexpectedResponse(response.status, "the response is about another message", result.message_id)
        return result  # type: ignore[no-any-return]

    def get_response(self, kind: str, message_id: str) -> Response:
        """Return the raw response about a message, whatever its status; nothing is stored.

        Parameters
        ----------
        kind : {"status", "events", "message"}
            What to request.
        message_id : str
            Id of the message.

        Returns
        -------
        Response
            Status, body, headers and time of the response.

        Raises
        ------
        InvalidRequest
            If `kind` or `message_id` is not valid.
        TransportError
            If no response arrived.

        Notes
        -----
        Where the reference and the guide disagree about the path, the reference's is requested first. After a 404
        that is not about the message the guide's is requested. The path that worked is used from then on.
        """
        raise_violations(validation.choice_rule("kind", kind, tuple(_PATHS)))
        part, responses = path_part("message_id", message_id), []
        for path in self._working_paths.get(kind, _PATHS[kind]):
            response = self._transport.request("GET", path.format(id=part))
            if response.status != 404 or is_unknown_message(response.body):
                self._working_paths[kind] = (path,)
                return response
            responses.append(response)
        return responses[0]


def _warn_of(content: Content, *more: Violation) -> None:
    for caution in (*validation.cautions(content), *more):
        warnings.warn(f"{kind(content)}: {caution}", stacklevel=3)
