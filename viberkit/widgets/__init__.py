"""Notebook forms and live views."""

from viberkit.widgets.campaign_form import CampaignForm
from viberkit.widgets.explorer import Explorer
from viberkit.widgets.send_form import SendForm
from viberkit.widgets.tracker import Tracker

__all__ = ["CampaignForm", "Explorer", "SendForm", "Tracker"]


def __dir__() -> list[str]:
    return __all__
