"""The HTML of results: texts of others are escaped, and phone numbers masked."""

from __future__ import annotations

import pandas as pd

from viberkit.analysis.result import as_result


def test_numbers_and_control_characters_of_others_are_not_in_the_html() -> None:
    name = "<b>for +49\u00a0170\u00a01234567\u202e"
    frame = pd.DataFrame({"campaign": [name], "n": [1_701_234_567], "summary": [f"{name}: 3 messages"]})
    html = as_result(frame, {"by": ["campaign"], "mix_note": name})._repr_html_()  # type: ignore[operator]
    assert html.count("&lt;b&gt;for +4917*****67\\u202e") == 3
    assert "1701234567" in html, "counts are no phone numbers"
