"""The calls about the account: its configuration, callbacks and media."""

from __future__ import annotations

import functools
import mimetypes
import operator
import re
import urllib.parse
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from viberkit.api.settings import Secret, Secrets, hide
from viberkit.api.transport import Transport, path_within, read_body
from viberkit.errors import BadRequest, UnreadableRecord, Violation, quote, raise_violations
from viberkit.models.content import read_array, read_object
from viberkit.models.parsing import parse_instant, read_channel, read_configuration, read_media
from viberkit.models.records import Channel, Configuration, Media
from viberkit.models.validation import LISTED_EVENTS, callback_violations, event_names, text_rule, url_rule

_MAX_FILE_BYTES = 256 * 2**20  # the API permits 200 MB

#: The parameters of :meth:`Account.configure_callbacks` that are parts of the setting, and their names in JSON.
_CALLBACK_PARTS = {"inbound_url": "inboundMessageUrl", "status_url": "messageStatusUrl", "events": "eventFilter"}
_CALLBACK_PARTS |= {"version": "callbackVersion", "secret": "signature", "header": "header"}
_FILE_PARTS = {"quota": "quota", "usage": "usage", "content_type": "contentType"}
_FILE_PARTS |= {"filename": "fileName", "size_bytes": "fileSize"}
_CREDENTIALS_PATH = "/configurations/mediaCredentials"
_OAUTH2 = ("clientId", "clientSecret", "url")
#: What a server shows instead of a secret: nothing, mask characters, words like these, or a text in brackets.
_HIDDEN = re.compile(r"(?is)(?:[\W_x]|hidden|redacted|masked|removed|not shown|null)*|[<\[({].*[>\])}]|.*[*•●]{3}.*")

T = TypeVar("T")


class Account:
    """The account of an API key; reached as ``client.account``.

    Every method raises :class:`~viberkit.errors.ApiError` when the server refuses the call, and
    :class:`~viberkit.errors.TransportError` when no response arrives.

    Parameters
    ----------
    transport : Transport
        Connection to the API.

    Examples
    --------
    >>> with vk.Sandbox(seed=1) as sandbox, sandbox.client() as client:
    ...     [(channel.service_id, channel.service_type) for channel in client.account.service_ids()]
    [('VIBERKIT', 'two-way')]
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def configuration(self) -> Configuration:
        """Return the configuration of the account.

        Returns
        -------
        Configuration
            Scopes, callbacks and settings; secrets are replaced by ``***``.
        """
        return self._call(read_configuration, "GET", "/configurations")

    def channels(self) -> list[Channel]:
        """Return all channels of the account.

        Returns
        -------
        list of Channel
            One entry per channel, of all pages.
        """
        return self._read_pages(read_channel, "/configurations/channels")

    def service_ids(self) -> list[Channel]:
        """Return the Viber service ids of the account.

        Returns
        -------
        list of Channel
            One entry per service id, of all pages.
        """
        return self._read_pages(read_channel, "/configurations/channels/viber")

    def service_id(self, service_id: str) -> Channel:
        """Return the configuration of one Viber service id.

        Parameters
        ----------
        service_id : str
            Service id.

        Returns
        -------
        Channel
            Name, type, scopes and callbacks.
        """
        return self._call(read_channel, "GET", _service_path(service_id))

    def configure_callbacks(
        self,
        url: str | None = None,
        *,
        inbound_url: str | None = None,
        status_url: str | None = None,
        events: Sequence[str] | None = None,
        version: str | None = None,
        secret: str | None = None,
        method: str = "HS256",
        header: tuple[str, str] | str | None = None,
        service_id: str | None = None,
    ) -> Configuration | Channel:
        """Set where callbacks are sent, for the account or for one service id.

        What is not passed remains as it is: the setting is read first, and then replaced as a whole, because the API
        has no other call. The setting of a service id overrides the account's, part by part.

        Parameters
        ----------
        url : str, optional
            Public https address for both inbound messages and status events.
        inbound_url : str, optional
            Address for inbound messages; default `url`.
        status_url : str, optional
            Address for status events; default `url`.
        events : sequence of str, optional
            Events to opt in to, such as ``"accepted"`` or ``"MessageStatus::accepted"``. If empty, the server chooses:
            it has been seen to send final states only.
        version : {"2.13", "2.12", "2.11"}, optional
            Version of the callback format; default the one in use, for an account without one "2.13".
        secret : str, optional
            Secret of 8 to 125 characters that signs the callbacks; without one they are not signed.
        method : {"HS256", "HS512"}
            Signature method.
        header : tuple of str, optional
            Name and value of one extra header to be sent with each callback.
        service_id : str, optional
            Service id to configure; default the account.

        Returns
        -------
        Configuration or Channel
            The new configuration; ``refused_events`` has the events that the server refused.

        Raises
        ------
        InvalidRequest
            If a rule is broken, with all violations, or if the server hides a secret that would have to be sent back
            to keep it; nothing was set.

        Warns
        -----
        UserWarning
            If the server refuses events that its published list lacks, and the others were set. If there are no
            others, its refusal is raised, and nothing was set.

        Notes
        -----
        ``""`` removes a part. For a service id, ``"inherit"`` does the same, so that the account's part applies. What
        the server returns for a service id is taken as its own setting. The reference lists the signature and the
        header for the account only; for a service id they are sent if they are passed.
        """
        secret, header = hide(secret), hide(header)  # before anything can fail
        inbound_url, status_url = (url if part is None else part for part in (inbound_url, status_url))
        events = events if events is None or isinstance(events, str) else event_names(events)
        passed = dict(zip(_CALLBACK_PARTS, (inbound_url, status_url, events, version, secret, header), strict=True))
        parts: dict[str, Any] = {name: None if part in ("", "inherit") else part for name, part in passed.items()}
        violations = callback_violations(parts, method)
        for field, part in passed.items():
            if service_id is None and part == "inherit":
                remedy = "pass service_id=…, or '' to remove this part"
                violations.append(Violation(field, "'inherit'", "is possible for a service id only", remedy))
            if not self._transport.is_local and isinstance(part, str) and part.startswith("http://"):
                rule = "leads to this computer, which the provider cannot reach"
                violations.append(Violation(field, "", rule, "pass the public address, e.g. Listener(public_url=…)"))
        raise_violations(violations)
        if parts["secret"] is not None:
            parts["secret"] = {"secret": secret, "method": method}
        if header and parts["header"] is not None:
            parts["header"] = {"key": header[0], "value": header[1]}
        path, secrets = "/configurations" if service_id is None else _service_path(service_id), Secrets()
        setting: Any = self._call(_read_callback_setting, "GET", path, secrets=secrets)
        ours = {_CALLBACK_PARTS[name]: parts[name] for name, part in passed.items() if part is not None}
        for part, member in (("signature", "secret"), ("header", "value")):
            if not isinstance(setting.get(part, []), list):
                secrets.setdefault(("callback", part, member), Secret(""))
        for (top, *keys), kept in secrets.items():
            if top == "callback" and keys and keys[0] not in ours:
                if _HIDDEN.fullmatch(kept):
                    rule, remedy = "is hidden by the server and cannot be kept", "pass secret=… and header=…, or ''"
                    raise_violations([Violation(".".join(map(str, keys)), "", rule, remedy)])
                functools.reduce(operator.getitem, keys[:-1], setting)[keys[-1]] = kept
        setting |= ours
        for value in filter(None, (*secrets.values(), secret, header and header[1])):
            self._transport.redactor.add(value)
        if service_id is None:
            setting.setdefault("callbackVersion", "2.13")
        reader: Any = read_configuration if service_id is None else read_channel
        setting = {name: part for name, part in setting.items() if part is not None}
        return self._set_callbacks(reader, path, setting)

    def _set_callbacks(
        self, reader: Callable[[Any], Configuration | Channel], path: str, setting: dict[str, Any]
    ) -> Configuration | Channel:
        """Replace a callback setting; if the server refuses the event filter, without the events it does not list."""
        try:
            return self._call(reader, "PUT", f"{path}/callbacks", json=setting)
        except BadRequest as refusal:
            refused = [event for event in setting.get("eventFilter", ()) if event not in LISTED_EVENTS]
            if not 0 < len(refused) < len(setting.get("eventFilter", ())) or "eventfilter" not in str(refusal).lower():
                raise  # with no event left, the server would choose
        setting["eventFilter"] = [event for event in setting["eventFilter"] if event in LISTED_EVENTS]
        result = self._call(reader, "PUT", f"{path}/callbacks", json=setting)
        warnings.warn(f"the server refuses {', '.join(refused)}; callbacks of these were not set", stacklevel=3)
        return replace(result, refused_events=tuple(refused))

    def set_media_credentials(self, username: str, password: str, *, token_url: str | None = None) -> Configuration:
        """Set the credentials with which the server downloads the files of messages from your host.

        Parameters
        ----------
        username, password : str
            For HTTP basic authentication; with `token_url`, the client id and the client secret.
        token_url : str, optional
            Address that issues the tokens of OAuth 2 (client credentials).

        Returns
        -------
        Configuration
            The new configuration; secrets are replaced by ``***``.

        Raises
        ------
        InvalidRequest
            If a part is missing or not valid; nothing was sent.
        """
        password = hide(password)  # before anything can fail
        kind, names = ("basic", ("username", "password")) if token_url is None else ("oauth2", _OAUTH2)
        broken = [*text_rule("username", username), *text_rule("password", password)]
        raise_violations(broken if token_url is None else [*broken, *url_rule("token_url", token_url)])
        self._transport.redactor.add(password)
        credentials = dict(zip(names, (username, password, token_url), strict=False))
        return self._call(read_configuration, "PUT", _CREDENTIALS_PATH, json={"type": kind, kind: credentials})

    def delete_media_credentials(self) -> Configuration:
        """Remove the credentials with which the server downloads files from your host.

        Returns
        -------
        Configuration
            The new configuration.
        """
        return self._call(read_configuration, "DELETE", _CREDENTIALS_PATH)

    def _call(self, reader: Callable[[Any], T], method: str, path: str, **options: Any) -> T:
        """A configuration, also if it was changed and the response is empty; its secrets are in ``secrets`` only."""
        response = self._transport.call(method, path, **{"secrets": {}, **options})
        if method != "GET" and not response.body.strip():
            return self._call(reader, "GET", path.rpartition("/")[0])
        return read_body(reader, response)

    def download_media(self, media: str) -> bytes:
        """Download an inbound or uploaded file.

        Parameters
        ----------
        media : str
            Media id, or the URL of a file within the API.

        Returns
        -------
        bytes
            Content of the file.

        Raises
        ------
        InvalidRequest
            If `media` is a URL elsewhere: the key is sent to the API's own address only.
        """
        path = path_within(self._transport.base_url, media) if "://" in str(media) else _media_path(media)
        if not path.startswith("/media/") or path == "/media/":
            rule = "is neither a media id nor a URL below the API's address; the key is sent nowhere else"
            remedy = "pass media_id; download other files with requests.get(url)"
            raise_violations([Violation("media", quote(media), rule, remedy)])
        return self._transport.call("GET", path, headers={"Accept": "*/*"}, max_bytes=_MAX_FILE_BYTES).body

    def upload_media(self, data: bytes | str | Path, filename: str | None = None, *, validity_min: int = 1440) -> Media:
        """Upload a file (a beta call of the API).

        Parameters
        ----------
        data : bytes, str or Path
            Content of the file, or its path.
        filename : str, optional
            Name of the file; default the name in the path.
        validity_min : int, default 1440
            Minutes after which the server deletes the file.

        Returns
        -------
        Media
            Id and URL of the file; quota and usage of the account.
        """
        if not isinstance(data, bytes):
            filename = filename or Path(data).name
            data = Path(data).read_bytes()
        params = {"validity": validity_min, **({"filename": filename} if filename else {})}
        headers = {"Content-Type": mimetypes.guess_type(filename or "")[0] or "application/octet-stream"}
        return read_body(_read_file, self._transport.call("POST", "/media", data=data, params=params, headers=headers))

    def list_media(self) -> list[Media]:
        """Return the uploaded files.

        Returns
        -------
        list of Media
            Id, name, type, size and end of storage of each file, of all pages.
        """
        return self._read_pages(_read_file, "/media")

    def delete_media(self, media_id: str) -> None:
        """Delete an uploaded file.

        Parameters
        ----------
        media_id : str
            Id of the file.
        """
        self._transport.call("DELETE", _media_path(media_id))

    def _read_pages(self, reader: Callable[[Any], T], path: str) -> list[T]:
        """A list, of all its pages (RFC 5988 ``next`` links, followed within the API's address only)."""
        items: list[T] = []
        visited: set[str] = set()
        while path and path not in visited:
            visited.add(path)
            response = self._transport.call("GET", path, secrets={})
            items += read_body(lambda page: [reader(item) for item in read_array(page, "page")], response)
            path = path_within(self._transport.base_url, response.links.get("next", ""))
        return items


def path_part(field: str, value: object) -> str:
    """A value as one part of a path; :class:`~viberkit.errors.InvalidRequest` if it would lead elsewhere.

    >>> path_part("media_id", "a/b")
    'a%2Fb'
    """
    if not isinstance(value, str) or value in ("", ".", "..") or not value.isprintable():
        raise_violations([Violation(field, quote(value), "is not an id", "pass an id that the API returned")])
    return urllib.parse.quote(str(value), safe="")


def _read_callback_setting(record: Any) -> dict[str, Any]:
    """The callback setting of a configuration."""
    setting = read_object(read_object(record).get("callback") or {}, "callback")
    return {name: part for name, part in setting.items() if part is not None}


def _read_file(record: Any) -> Media:
    """An uploaded file."""
    payload = read_object(record)
    with suppress(UnreadableRecord):  # as version 3.0 lists it
        payload = {**payload, **read_object(payload.get(str(payload.get("contentType"))))}
    values: dict[str, Any] = {name: payload.get(wire) for name, wire in _FILE_PARTS.items()}
    values = {name: value for name, value in values.items() if isinstance(value, int | str)}
    with suppress(UnreadableRecord):
        values["valid_until"] = parse_instant(payload.get("validity"))[0]
    return replace(read_media(payload), **values)


def _service_path(service_id: str) -> str:
    return f"/configurations/channels/viber/service-ids/{path_part('service_id', service_id)}"


def _media_path(media_id: str) -> str:
    return f"/media/{path_part('media_id', media_id)}"
