"""Charts as inline SVG: without pyplot, in threads, reproducible, escaped, small, and the same picture."""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from hypothesis import given, strategies as st

import viberkit as vk
from viberkit.charts.svg import _shorten, as_svg

AT = pd.Timestamp("2026-03-01T09:00:00Z")


def journeys(n: int, group: str = "a") -> pd.DataFrame:
    seconds = np.random.default_rng(n).lognormal(1, 1.5, n)
    delivered = AT + pd.to_timedelta(seconds, unit="s").round("us")
    return pd.DataFrame({
        "message_id": [f"{group}{i}" for i in range(n)], "accepted_at": AT, "delivered_at": delivered,
        "observed_until": delivered, "outcome": "delivered", "group": group,
    })  # fmt: skip


def test_it_is_one_element_without_pyplot_settings_or_addresses() -> None:
    before, figures = dict(mpl.rcParams), plt.get_fignums()
    text = as_svg(vk.charts.curve, vk.delivery_curve(journeys(300)), description='a "b" <c>')
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == figures
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == 'a "b" <c>'
    assert set(re.findall(r"https?://[^\"]+", text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "var(--viberkit-chart-text, " in text
    assert ">100 %<" in text, "text is text"


def test_a_name_of_a_group_is_text() -> None:
    frame = pd.concat([journeys(30, "<script>alert(1)</script>"), journeys(31, "--><b>&$x$")])
    text = as_svg(vk.charts.curve, vk.delivery_curve(frame, by="group"), description="")
    assert "<script" not in text
    assert "<b>" not in text
    ElementTree.fromstring(text)


def test_the_same_chart_is_the_same_text_in_any_thread() -> None:
    curve = vk.delivery_curve(journeys(2_000))
    with ThreadPoolExecutor(4) as pool:
        texts = set(pool.map(lambda _: as_svg(vk.charts.curve, curve, description="x"), range(8)))
    assert len(texts) == 1
    assert len(texts.pop()) < 120_000


def test_a_caller_s_figure_keeps_pyplot() -> None:
    plt.close("all")
    as_svg(vk.charts.curve, vk.delivery_curve(journeys(3)), description="x")
    vk.charts.curve(vk.delivery_curve(journeys(3)))
    assert len(plt.get_fignums()) == 1
    plt.close("all")


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12), st.booleans())
def test_a_shortened_path_covers_the_same_points(corners: list[tuple[int, int]], closed: bool) -> None:
    path = "M " + " L ".join(f"{x} {y}" for x, y in corners) + (" z" if closed else "")
    short = re.sub(r' d="(M[^"]+)"', _shorten, f' d="{path}"')
    found = [tuple(map(int, pair.split())) for pair in re.findall(r"[ML]([^MLz\"]+)", short)]
    assert drawn(found) == drawn(corners)
    assert short.count("z") == closed


def drawn(corners: list[tuple[int, int]]) -> set[tuple[float, ...]]:
    """The unit steps and oblique lines of a path."""
    result: set[tuple[float, ...]] = {(*corners[0],), (*corners[-1],)}
    for (x1, y1), (x2, y2) in pairwise(corners):
        if x1 == x2 or y1 == y2:
            steps = max(abs(x2 - x1), abs(y2 - y1))
            result |= {(x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps) for i in range(steps + 1) if steps}
        else:
            result.add((x1, y1, x2, y2))
    return result


def test_markers_are_unchanged() -> None:
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], "o")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    (marker,) = [path for path in re.findall(r' d="(M[^"]+)"', buffer.getvalue()) if "C" in path][:1]
    assert re.sub(r' d="(M[^"]+)"', _shorten, f' d="{marker}"') == f' d="{marker}"'
