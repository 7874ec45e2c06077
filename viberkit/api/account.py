"""The calls about the account: its configuration, callbacks and media."""

from __future__ import annotations

import mimetypes
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from viberkit.api.settings import hide
from viberkit.api.transport import Transport, path_within, read_body
from viberkit.errors import Violation, quote, raise_violations
from viberkit.models.content import read_array
from viberkit.models.parsing import read_channel, read_configuration, read_media
from viberkit.models.records import Channel, Configuration, Media
from viberkit.models.validation import callback_violations, secret_rules

_MAX_FILE_BYTES = 256 * 2**20  # the API permits 200 MB

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
        return read_body(read_configuration, self._transport.call("GET", "/configurations"))

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
        return read_body(read_channel, self._transport.call("GET", _service_path(service_id)))

    def configure_callbacks(
        self,
        url: str | None = None,
        *,
        inbound_url: str | None = None,
        status_url: str | None = None,
        events: Sequence[str] = (),
        version: str = "2.13",
        secret: str | None = None,
        method: str = "HS256",
        header: tuple[str, str] | None = None,
        service_id: str | None = None,
    ) -> Configuration | Channel | None:
        """Set where callbacks are sent, for the account or for one service id.

        The whole setting is replaced. The setting of a service id overrides the account's, part by part.

        Parameters
        ----------
        url : str, optional
            Public https address for both inbound messages and status events.
        inbound_url : str, optional
            Address for inbound messages; default `url`.
        status_url : str, optional
            Address for status events; default `url`.
        events : sequence of str, default ()
            Events to opt in to, such as ``"MessageStatus::accepted"``. If empty, the server sends final states only.
        version : {"2.13", "2.12", "2.11"}
            Version of the callback format.
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
        Configuration or Channel or None
            The new configuration if the server returns it; None if it answers 204.

        Raises
        ------
        InvalidRequest
            If a rule is broken, with all violations; nothing was sent.
        """
        secret, header = hide(secret), hide(header)  # before anything can fail
        inbound_url, status_url = inbound_url or url, status_url or url
        violations = callback_violations(inbound_url, status_url, events, version, method)
        violations += secret_rules(secret, header)
        for field, address in (("inbound_url", inbound_url), ("status_url", status_url)):
            if not self._transport.is_local and isinstance(address, str) and address.startswith("http://"):
                rule = "leads to this computer, which the provider cannot reach"
                remedy = "pass the public https address, e.g. Listener(public_url=…)"
                violations.append(Violation(field, quote(address), rule, remedy))
        raise_violations(violations)
        for value in filter(None, (secret, header and header[1])):
            self._transport.redactor.add(value)
        payload = {
            "callbackVersion": version,
            "eventFilter": list(events),
            "inboundMessageUrl": inbound_url,
            "messageStatusUrl": status_url,
            "signature": secret and {"secret": secret, "method": method},
            "header": header and {"key": header[0], "value": header[1]},
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        path = "/configurations" if service_id is None else _service_path(service_id)
        response = self._transport.call("PUT", f"{path}/callbacks", json=payload)
        reader: Callable[[Any], Configuration | Channel] = read_channel if service_id else read_configuration
        return read_body(reader, response) if response.body.strip() else None

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
            Id and URL of the file.
        """
        if not isinstance(data, bytes):
            filename = filename or Path(data).name
            data = Path(data).read_bytes()
        params = {"validity": validity_min, **({"filename": filename} if filename else {})}
        headers = {"Content-Type": mimetypes.guess_type(filename or "")[0] or "application/octet-stream"}
        return read_body(read_media, self._transport.call("POST", "/media", data=data, params=params, headers=headers))

    def list_media(self) -> list[Media]:
        """Return the uploaded files.

        Returns
        -------
        list of Media
            One entry per file, of all pages.
        """
        return self._read_pages(read_media, "/media")

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
            response = self._transport.call("GET", path)
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


def _service_path(service_id: str) -> str:
    return f"/configurations/channels/viber/service-ids/{path_part('service_id', service_id)}"


def _media_path(media_id: str) -> str:
    return f"/media/{path_part('media_id', media_id)}"
