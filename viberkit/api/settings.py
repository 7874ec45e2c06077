"""Where the settings come from, and how the key is kept out of sight."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NoReturn
from urllib.parse import urlsplit

from dotenv import dotenv_values, find_dotenv

from viberkit.errors import ConfigurationError

__all__ = ["BASE_URL", "Secret", "check_base_url", "check_key", "is_loopback", "setting"]

#: Where the API is.
BASE_URL = "https://api.tyntec.com/conversations/v3"


class Secret(str):
    """A text that no repr, no format and no pickle shows; only ``encode`` gives it, to the socket.

    >>> Secret("abc")
    '***'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an API key cannot be pickled or copied; make a client where it is used")


def setting(given: str | None, name: str) -> str | None:
    """An argument, else the environment, else a ``.env`` file in this folder or above."""
    if given is not None:
        return given
    if os.environ.get(name):
        return os.environ[name]
    path = find_dotenv(usecwd=True)
    return dotenv_values(path).get(name) or None if path else None


def check_key(key: str | None) -> Secret:
    """The key, in a form that nothing shows; the text of the error says how to give one."""
    remedy = "set TYNTEC_API_KEY in the environment or in a .env file, or pass Client(api_key=…)"
    if not key:
        raise ConfigurationError(f"api_key: is missing; {remedy}")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ConfigurationError(
            "api_key: holds blanks or letters outside ASCII; copy it again from the Business Center"
        )
    return Secret(key)


def check_base_url(url: str) -> str:
    """The address to call: https, or http on loopback only, since every call carries the key.

    >>> check_base_url("http://api.example.org/v3")
    Traceback (most recent call last):
    viberkit.errors.ConfigurationError: base_url: 'http://api.example.org/v3' would carry the API key unencrypted; use https://
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            f"base_url: {url!r} is not an http(s) address; pass e.g. 'https://api.tyntec.com/conversations/v3'"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError("base_url: holds a user name, query or fragment; pass only scheme, host and path")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(f"base_url: {url!r} would carry the API key unencrypted; use https://")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("example.org")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
