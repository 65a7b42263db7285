from __future__ import annotations

import pytest

from proxy.config.admission import addresses, only, senders
from proxy.config.guards import algorithm, token_place
from proxy.config.notation import count
from proxy.core.addresses import AddressSet
from proxy.core.schemes import PROVIDERS
from proxy.core.signing.proof import TokenKind


def test_counts() -> None:
    assert [count(number, "route") for number in (0, 1, 2)] == ["0 routes", "1 route", "2 routes"]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "nobody"),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1", "2001:db8::/32", "unix:"], "192.0.2.1, 2001:db8::/32 and peers on unix sockets"),
        ([f"192.0.2.{n}" for n in range(0, 16, 2)], "8 networks"),
        ([f"10.{n >> 8}.{n & 255}.1" for n in range(20_000)], "at least 10000 networks"),
        (["192.0.2.0/25", "192.0.2.128/26"], "192.0.2.0/25, 192.0.2.128/26"),
        (["0.0.0.0/0"], "everybody with an IPv4 address"),
        (["::/0", "192.0.2.1"], "everybody with an IPv6 address, 192.0.2.1"),
        (["0.0.0.0/0", "::/0"], "everybody"),
        (["unix:"], "peers on unix sockets"),
    ],
)
def test_lists(entries: list[str], said: str) -> None:
    assert addresses(AddressSet.parse(entries)) == said


def test_no_list_is_every_address() -> None:
    assert addresses(None) == "every address"


def test_what_is_denied_is_said_where_that_is_shorter() -> None:
    some, denied = AddressSet.parse(["192.0.2.0/24", "unix:"]), (AddressSet.parse(["192.0.2.1"]),)
    assert senders(some, ()) == addresses(some)
    assert senders(None, denied) == "every address, but not 192.0.2.1"
    assert only(None) == "every address"
    assert only(AddressSet.parse(["0.0.0.0/0"])) == "everybody with an IPv4 address"
    assert only(AddressSet.empty()) == "nobody"
    assert only(some) == f"only {addresses(some)}"
    assert only(AddressSet.parse(["all"]).without(some)) == f"every address but {addresses(some)}"


def test_places_of_tokens() -> None:
    assert token_place(TokenKind.QUERY, b"key") == "query parameter key"
    assert token_place(TokenKind.HEADER, b"x-key") == "header x-key"
    assert token_place(TokenKind.BEARER, b"") == "Authorization: Bearer"
    assert token_place(TokenKind.PATH, b"/hooks/") == "path behind /hooks/"
    assert token_place(TokenKind.BASIC, b"") == "Authorization: Basic"


def test_every_scheme_has_a_word() -> None:
    words = {algorithm(provider.scheme) for provider in PROVIDERS.values() if provider.scheme is not None}
    assert {"HMAC-SHA256", "Ed25519", "ECDSA", "RSA", "plain digest", "shared word in the body"} <= words
    assert all(words)
