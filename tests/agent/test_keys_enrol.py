"""The commands' own words: where a relay is, and how agents are shown."""

from __future__ import annotations

from types import SimpleNamespace as Of
from typing import Any

import pytest

from proxy.agent.keys import guess_address, read_relay
from proxy.config.notation import read_listen
from proxy.errors import FlagError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hooks.example.com", "hooks.example.com:443"),
        ("hooks.example.com:8443", "hooks.example.com:8443"),
        ("192.0.2.7:1", "192.0.2.7:1"),
        ("[2001:db8::7]", "[2001:db8::7]:443"),
        (" [2001:db8::7]:8443 ", "[2001:db8::7]:8443"),
    ],
)
def test_the_address_of_a_relay(text: str, address: str) -> None:
    assert read_relay(text, "--relay") == address


@pytest.mark.parametrize("text", ["", "https://a.test", "a.test:0", "a.test:99999", "a test:1", "2001:db8::7", "a:b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(FlagError):
        read_relay(text, "--relay")


def test_where_a_relay_thinks_it_is() -> None:
    def guess(listen: list[str], *names: str) -> str:
        settings: Any = Of(listen=[read_listen(one) for one in listen])
        pairs: Any = [Of(certificate=Of(names=names))]
        return guess_address(settings, pairs)

    assert guess(["192.0.2.7:8443"], "a.test") == "192.0.2.7:8443"
    assert guess(["0.0.0.0:8443"], "*.b.test", "localhost", "a.test") == "a.test:8443"
    assert guess(["unix:/run/a.sock"], "a.test") == "a.test:443"
    assert guess([":443"], "2001:db8::7") == "[2001:db8::7]:443"
    assert guess([":443"], "*.b.test") == ""
