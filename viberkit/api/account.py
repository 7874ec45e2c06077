"""The calls that are about the account and not about a message: configuration, callbacks, media."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote as percent
from urllib.parse import unquote, urlsplit

from viberkit.api.settings import is_loopback
from viberkit.api.transport import Transport, retry_after_s, within
from viberkit.errors import UnexpectedResponse, UnreadableRecord, Violation, quote, raise_violations
from viberkit.models import parsing as wire
from viberkit.models import validation as rules
from viberkit.models.records import Channel, Configuration, Media, Response

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AccountCalls", "as_error"]

T = TypeVar("T")


class AccountCalls:
    """What a client can ask of the account; every call goes to the API's own address."""

    base_url: str
    _transport: Transport

    def _read(self, reader: Callable[[Any], T], answer: Response) -> T:
        try:
            return reader(wire.parse(answer.body))
        except UnreadableRecord as fault:
            raise UnexpectedResponse(answer.status, "the answer could not be read", str(fault)) from None

    def _call(self, method: str, path: str, **options: Any) -> Response:
        answer = self._transport.ask(method, path, **options)
        if not answer.ok:
            raise as_error(answer, f"{method} {path}")
        return answer

    def configuration(self) -> Configuration:
        """The account's scopes, callbacks (secrets hidden) and settings."""
        return self._read(wire.read_configuration, self._call("GET", "/configurations"))

    def channels(self) -> list[Channel]:
        """All channels of the account."""
        return [wire.read_channel(one) for one in self._pages("/configurations/channels")]

    def service_ids(self) -> list[Channel]:
        """The account's Viber service ids."""
        return [wire.read_channel(one) for one in self._pages("/configurations/channels/viber")]

    def service_id(self, service_id: str) -> Channel:
        """One Viber service id: its name, type, scopes and callbacks."""
        return self._read(wire.read_channel, self._call("GET", _service_path(service_id)))

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
        """Set where callbacks go, for the account or for one service id (which overrides it, part by part).

        ``url`` is for both kinds, unless one is named apart. The whole setting is replaced. ``events`` are those to
        opt in to (``MessageStatus::accepted`` …; none: the server's default, the final states only);
        ``secret`` signs callbacks with ``method`` (HS256 or HS512); ``header`` is one extra header (name, value).
        Gives the configuration where the server answers with it, None where it answers 204.
        Raises :class:`~viberkit.errors.InvalidRequest` with every violation.
        """
        inbound_url, status_url = inbound_url or url, status_url or url
        found = rules.callback_violations(inbound_url, status_url, events, version, secret, method, header)
        local = is_loopback(urlsplit(self.base_url).hostname or "")
        for field, there in (("inbound_url", inbound_url), ("status_url", status_url)):
            if not local and isinstance(there, str) and there.startswith("http://"):
                rule = "leads to this computer, where the provider does not reach it"
                remedy = "pass the public https address, e.g. Listener(public_url=…)"
                found.append(Violation(field, quote(there), rule, remedy))
        raise_violations(found)
        told: dict[str, Any] = {"callbackVersion": version, "eventFilter": list(events)}
        if inbound_url is not None:
            told["inboundMessageUrl"] = inbound_url
        if status_url is not None:
            told["messageStatusUrl"] = status_url
        if secret is not None:
            told["signature"] = {"secret": secret, "method": method}
        if header is not None:
            told["header"] = {"key": header[0], "value": header[1]}
        where = "/configurations" if service_id is None else _service_path(service_id)
        answer = self._call("PUT", f"{where}/callbacks", json=told)
        if not answer.body.strip():
            return None
        if service_id is None:
            return self._read(wire.read_configuration, answer)
        return self._read(wire.read_channel, answer)

    def download_media(self, media: str) -> bytes:
        """The bytes of an inbound or uploaded file, by its media id or its URL within the API.

        The key goes to the API's own address only: a URL elsewhere raises
        :class:`~viberkit.errors.InvalidRequest`, and so does what cannot be an id.
        """
        media = str(media)
        path = within(self.base_url, media) if "://" in media else f"/media/{percent(media, safe='')}"
        if not path.startswith("/media/") or media in ("", "None") or path == "/media/" or "/." in unquote(path):
            rule = "is neither a media id nor a URL of a file within the API, which alone is given the key"
            remedy = "pass media_id; fetch a file that lies elsewhere with requests.get(url)"
            raise_violations([Violation("media", quote(media), rule, remedy)])
        return self._call("GET", path, headers={"Accept": "*/*"}).body

    def upload_media(self, data: bytes | str | Path, filename: str | None = None, *, validity_min: int = 1440) -> Media:
        """Upload a file (bytes, or the path of one), kept for ``validity_min`` minutes (a beta call)."""
        if not isinstance(data, bytes):
            filename = filename or Path(data).name
            data = Path(data).read_bytes()
        params = {"validity": validity_min, **({"filename": filename} if filename else {})}
        content_type = mimetypes.guess_type(filename or "")[0] or "application/octet-stream"
        answer = self._call("POST", "/media", data=data, params=params, headers={"Content-Type": content_type})
        return self._read(wire.read_media, answer)

    def list_media(self) -> list[Media]:
        """The files that are uploaded."""
        return [wire.read_media(one) for one in self._pages("/media")]

    def delete_media(self, media_id: str) -> None:
        """Delete an uploaded file."""
        self._call("DELETE", f"/media/{percent(media_id, safe='')}")

    def _pages(self, path: str) -> list[Any]:
        """A list, over all its pages (RFC 5988 ``next`` links, followed within the API's address only)."""
        found: list[Any] = []
        seen: set[str] = set()
        while path and path not in seen:
            seen.add(path)
            answer = self._call("GET", path)
            page = self._read(lambda body: body, answer)
            if not isinstance(page, list):
                raise UnexpectedResponse(answer.status, "the answer could not be read", f"{path}: is not a list")
            found += page
            path = within(self.base_url, answer.links.get("next", ""))
        return found


def _service_path(service_id: str) -> str:
    return f"/configurations/channels/viber/service-ids/{percent(service_id, safe='')}"


def as_error(answer: Response, asked: str) -> Exception:
    """A refusal of the server as the error it is."""
    return wire.error_from_response(answer.status, answer.body, request=asked, retry_after_s=retry_after_s(answer))
