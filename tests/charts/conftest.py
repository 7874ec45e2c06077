"""Every chart test closes its figures, and checks that matplotlib's settings are unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import pytest


@pytest.fixture(autouse=True)
def _unchanged_settings() -> Iterator[None]:
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before, "a chart changed matplotlib's settings"
    plt.close("all")
