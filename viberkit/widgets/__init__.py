"""Notebook forms and live views."""

from viberkit.widgets.campaign_form import CampaignForm
from viberkit.widgets.send_form import SendForm

__all__ = ["CampaignForm", "SendForm"]


def __dir__() -> list[str]:
    return __all__
