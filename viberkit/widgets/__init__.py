"""Notebook forms and live views."""

from viberkit.widgets.send_form import SendForm

__all__ = ["SendForm"]


def __dir__() -> list[str]:
    return __all__
