"""Threats to lists of addresses: what is denied is denied at accept, behind a proxy, and on plain TCP."""

from __future__ import annotations

from collections.abc import Callable

from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Client, request, turned_away

DENYING = """
listen = ["127.0.0.1:0"]
upstream = "{upstream}"
trusted_proxies = ["127.0.0.9"]
deny = ["127.0.0.3", "192.0.2.0/24"]

[route.some]
path = "/some"
open = true
deny = ["127.0.0.4"]

[route.other]
path = "/other"
allow = ["127.0.0.0/8", "192.0.2.1"]
"""


def test_g7_what_is_denied_is_let_in_by_no_list_and_by_no_proxy(
    configured: Callable[..., Hookward], upstream: RecordingUpstream
) -> None:
    hookward = configured(DENYING.format(upstream=upstream.url))
    assert turned_away(hookward.address, request(target="/other"), source="127.0.0.3") == "reset"

    def word(source: str, target: str, fields: dict[str, str]) -> str:
        with Client(hookward.address, source=source) as client:
            answer = client.ask(request(target=target, fields=fields, content=b"{}"))
        return str(answer.status) if answer.status == 200 else answer.word

    assert word("127.0.0.4", "/some", {}) == "address_refused"
    assert [line["webhook.detail"] for line in hookward.logged({"url.path": "/some"})] == ["denied"]
    assert word("127.0.0.4", "/other", {}) == "200"
    named = {"127.0.0.3": "address_refused", "192.0.2.1": "address_refused", "127.0.0.5": "200"}
    for client, expected in named.items():
        assert word("127.0.0.9", "/other", {"X-Forwarded-For": client}) == expected
        assert word("127.0.0.9", "/other", {"Forwarded": f"for={client}"}) == expected
    assert word("127.0.0.9", "/other", {"X-Forwarded-For": "127.0.0.5, 192.0.2.1"}) == "address_refused"
    assert len(upstream.wait_complete(3)) == 3
