"""Notebook forms and live views."""

from __future__ import annotations

from viberkit.widgets.send_form import SendForm

__all__ = ["SendForm"]
