"""Texts that are shown nowhere: the API key, the secrets of callbacks, the password of a database."""

from __future__ import annotations

import re
from typing import Any, NoReturn

_DATABASE = re.compile(r"\s*postgres[^/]*://|.*\bpassword\s*=", re.DOTALL | re.IGNORECASE)


class Secret(str):
    """A text that no repr, format or pickle reveals; only ``encode`` does, for the connection.

    >>> Secret("abc")
    '***'
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Secret:
        return text if isinstance(text, Secret) else super().__new__(cls, text)  # str() of a secret hides it

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "an API key or a password cannot be pickled or copied; create the client or archive where you use it"
        )


def hide(value: Any) -> Any:
    """A secret, or a sequence with secrets, as :class:`Secret`; of a value that is not a text, only its type.

    Called first, so that no frame of a traceback shows what was passed.

    >>> hide("abc"), hide(("x-token", "abc")), hide(b"abc"), hide(None)
    ('***', ('***', '***'), <class 'bytes'>, None)
    """
    if isinstance(value, list | tuple):
        return type(value)(map(hide, value))
    return Secret(value) if isinstance(value, str) else value and type(value)


def hide_url(value: Any) -> Any:
    """The address of a PostgreSQL database as :class:`Secret`, also if it is mistyped; other values as they are.

    >>> hide_url("postgresql://user:abc@host/database"), hide_url("a.db")
    ('***', 'a.db')
    """
    return Secret(value) if isinstance(value, str) and _DATABASE.match(value) else value
