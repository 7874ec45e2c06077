"""Settings and their sources, and the hidden API key."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NoReturn
from urllib.parse import urlsplit

from dotenv import dotenv_values, find_dotenv

from viberkit.errors import ConfigurationError

#: Address of the API.
BASE_URL = "https://api.tyntec.com/conversations/v3"


class Secret(str):
    """A text that no repr, format or pickle reveals; only ``encode`` does, for the socket.

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


def setting(argument: str | None, name: str) -> str | None:
    """An argument, else an environment variable, else an entry of a ``.env`` file in this folder or above."""
    if argument is not None:
        return argument
    if os.environ.get(name):
        return os.environ[name]
    path = find_dotenv(usecwd=True)
    return dotenv_values(path).get(name) or None if path else None


def check_key(key: str | None) -> Secret:
    """The key as a :class:`Secret`, or :class:`~viberkit.errors.ConfigurationError` with how to pass one."""
    if not key:
        raise ConfigurationError("api_key: is missing; set TYNTEC_API_KEY, or pass Client(api_key=…)")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ConfigurationError("api_key: has blanks or letters outside ASCII; copy it again from the Business Center")
    return Secret(key)


def check_base_url(url: str) -> str:
    """The address of the API: https, or http on loopback only, since every call carries the key.

    >>> check_base_url("http://api.example.org/v3")
    Traceback (most recent call last):
    viberkit.errors.ConfigurationError: base_url: 'http://api.example.org/v3' would carry the API key unencrypted; use https://
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(f"base_url: {url!r} is not an http(s) address; pass e.g. {BASE_URL!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError("base_url: has a user name, query or fragment; pass only scheme, host and path")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(f"base_url: {url!r} would carry the API key unencrypted; use https://")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this computer.

    >>> is_loopback("127.0.0.1"), is_loopback("example.org")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
