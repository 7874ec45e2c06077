"""Settings and their sources, and the hidden API key."""

from __future__ import annotations

import base64
import contextlib
import html
import ipaddress
import json
import os
import re
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from dotenv import dotenv_values, find_dotenv

from viberkit.errors import ConfigurationError
from viberkit.models.secret import Secret as Secret, hide as hide

#: Address of the API.
BASE_URL = "https://api.tyntec.com/conversations/v3"


#: Secrets by the path of their members in a JSON object.
Secrets = dict[tuple[str | int, ...], Secret]


class Redactor:
    """Replaces secrets in a response, in every encoding in which a server may repeat them.

    A secret of less than eight characters could be part of any text, and is not replaced.

    >>> redactor = Redactor()
    >>> redactor.add("a-secret/key")
    >>> redactor(b"GET /?apikey=a-secret%2Fkey"), redactor(b"QUtFWTphLXNlY3JldC9rZXk=")
    (b'GET /?apikey=***', b'QUtFWTp***k=')
    """

    def __init__(self) -> None:
        self._forms: list[Secret] = []

    def add(self, secret: str) -> None:
        """Replace a secret from now on, as it is and in the encodings of URLs, JSON, HTML, hexadecimal and Base64."""
        data, text = secret.encode(errors="replace"), json.dumps(secret)[1:-1]
        forms = {text, text.replace("/", r"\/"), re.sub("[<>&='+]", lambda match: f"\\u{ord(match[0]):04x}", text)}
        forms |= {data.decode(), html.escape(data.decode()), data.hex()}
        forms |= {quote(data), quote(data, safe=""), quote_plus(data)}
        for offset in range(3):  # Base64 depends on what precedes, such as the name of a user; the ends are not stable
            text = base64.b64encode(bytes(offset) + data).decode()
            text = text[(8 * offset + 5) // 6 : 8 * (offset + len(data)) // 6]
            forms |= {text, text.replace("+", "-").replace("/", "_")}
        if len(secret) >= 8 and secret.lower() not in self._forms:
            self._forms += [Secret(form.lower()) for form in sorted(forms, key=len, reverse=True)]

    def __call__(self, text: bytes) -> bytes:
        """The text without the secrets."""
        lowered = text.lower()
        for form in self._forms:
            if form.encode() in lowered:
                text = re.sub(re.escape(form.encode()), b"***", text, flags=re.IGNORECASE)
                lowered = text.lower()
        return text


#: Members that hold a secret, at any depth; of what is within credentials, only these are shown.
_SECRET_MEMBER = re.compile("secret|passw|token|credential|api_?key", re.IGNORECASE)
_SHOWN_MEMBERS = frozenset({"type", "username", "clientId", "url"})


def hide_members(record: Any, found: Secrets, path: tuple[str | int, ...] = (), secret: bool = False) -> Any:
    """The JSON of a configuration without secrets: of signatures, extra headers and credentials.

    ``found`` gets them by the path of their members.

    >>> found = {}
    >>> hide_members({"header": {"key": "x-token", "value": "abc"}, "config": {"mediaCredentials": {"pin": 1}}}, found)
    {'header': {'key': 'x-token', 'value': '***'}, 'config': {'mediaCredentials': {'pin': '***'}}}
    >>> found
    {('header', 'value'): '***', ('config', 'mediaCredentials', 'pin'): '***'}
    """
    if isinstance(record, dict):
        shown = {}
        for name, value in record.items():
            is_secret = secret and (name not in _SHOWN_MEMBERS or "@" in str(value))
            is_secret |= name == "value" and not {"header", "headers"}.isdisjoint(path[-2:])
            is_secret |= _SECRET_MEMBER.search(name) is not None
            shown[name] = hide_members(value, found, (*path, name), is_secret)
        return shown
    if isinstance(record, list):
        return [hide_members(value, found, (*path, index), secret) for index, value in enumerate(record)]
    if not secret or record is None or record == "" or isinstance(record, bool):
        return record
    found[path] = Secret(f"{record}")
    return "***"


def setting(argument: str | None, name: str) -> str | None:
    """An argument, else an environment variable, else an entry of a ``.env`` file in this folder or above."""
    if argument is not None:
        return argument
    if os.environ.get(name):
        return os.environ[name]
    path = find_dotenv(usecwd=True)
    with contextlib.suppress(OSError, ValueError):  # raised again below, without the frames that hold its text
        return dotenv_values(path).get(name) or None if path else None
    raise ConfigurationError(f"{path}: cannot be read; write it in UTF-8, and permit this user to read it")


def check_key(key: Secret | None) -> Secret:
    """The key without surrounding spaces, or :class:`~viberkit.errors.ConfigurationError` with how to pass one."""
    if not isinstance(key, str) or not key.strip():
        rule = "is not a text" if key and not isinstance(key, str) else "is missing"
        raise ConfigurationError(f"api_key: {rule}; set TYNTEC_API_KEY, or pass Client(api_key=…)")
    if not re.fullmatch(r"[\x21-\x7e]+", key.strip()):
        rule = "contains spaces or non-ASCII characters"
        raise ConfigurationError(f"api_key: {rule}; copy it again from tyntec's Business Center")
    return Secret(key.strip())


def check_base_url(url: Secret) -> str:
    """The address of the API: https, or http on loopback only, since every call carries the key.

    >>> check_base_url(Secret("http://api.example.org/v3"))
    Traceback (most recent call last):
    viberkit.errors.ConfigurationError: base_url: 'http://api.example.org/v3' would carry the API key unencrypted; use https://
    """
    if rule := _broken_url_rule(url):
        raise ConfigurationError(f"base_url: {rule}")
    return url.encode().decode().rstrip("/")


def _broken_url_rule(url: str) -> str:
    """The rule that an address of the API breaks; a password in it is not quoted."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except (ValueError, AttributeError):  # a port above 65535, or a value that is not a text
        host = None
    if not host or parts.scheme not in ("http", "https"):
        return f"{str.__repr__(url)} is not an http(s) address; pass e.g. {BASE_URL!r}"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "has a user name, query or fragment; pass only scheme, host and path"
    if parts.scheme == "http" and not is_loopback(host):
        return f"{str.__repr__(url)} would carry the API key unencrypted; use https://"
    return ""


def is_loopback(host: str) -> bool:
    """Whether a host is this computer.

    >>> is_loopback("127.0.0.1"), is_loopback("example.org")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
