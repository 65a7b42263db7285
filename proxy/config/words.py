"""How a guard, an address list and a scheme are called wherever people read of them: banner, ``check``, providers."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from itertools import chain, islice

from proxy.config.admission import EVERYBODY
from proxy.core.addresses import AddressSet
from proxy.core.signing.scheme import Method, Scheme
from proxy.core.tokens import TokenKind

#: So many networks are told one by one; beyond, a reader counts on their number.
HANDFUL = 6
#: Lists may have a million; nobody reads the number of those beyond.
MANY = 10_000
_EVERYBODY = ("IPv4", "IPv6")
_ALL = ("0.0.0.0/0", "::/0")
_TOKENS = {
    TokenKind.QUERY: "query parameter {}",
    TokenKind.HEADER: "header {}",
    TokenKind.BEARER: "{}: Bearer",
    TokenKind.BASIC: "{}: Basic",
    TokenKind.PATH: "path behind {}",
}
_METHODS = {
    Method.HASH: "plain digest",
    Method.ED25519: "Ed25519",
    Method.ECDSA: "ECDSA",
    Method.RSA: "RSA",
    Method.EQUAL: "shared word in the body",
}


def count(number: int, noun: str) -> str:
    """``1 route``, ``2 routes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def addresses(allow: AddressSet | None) -> str:
    """What a list admits: each network where they are a handful, else how many. None is every address."""
    if allow is None:
        return "every address"
    everybody = [text for text, whole in zip(_EVERYBODY, _whole(allow), strict=True) if whole]
    parts = [] if len(everybody) == 2 else networks(allow)
    if len(everybody) == 1:
        parts = [f"everybody with an {everybody[0]} address", *(one for one in parts if one not in _ALL)]
    elif everybody:
        parts = ["everybody"]
    uncounted = "at least " * (len(parts) >= MANY)
    shown = [", ".join(parts) if len(parts) <= HANDFUL else uncounted + count(len(parts), "network")]
    return " and ".join([one for one in shown if one] + ["peers on unix sockets"] * allow.has_unix) or "nobody"


def networks(allow: AddressSet) -> list[str]:
    """The networks of a list, merged and in order; no more than ``MANY`` of them."""
    four = (summarize_address_range(IPv4Address(first), IPv4Address(last)) for first, last in allow.ranges4)
    six = (summarize_address_range(IPv6Address(first), IPv6Address(last)) for first, last in allow.ranges6)
    found = chain(chain.from_iterable(four), chain.from_iterable(six))
    texts = map(str, islice(found, MANY))
    return [text.removesuffix("/128" if ":" in text else "/32") for text in texts]


def _whole(allow: AddressSet) -> tuple[bool, bool]:
    """Whether all of IPv4 is in a list, and all of IPv6."""
    four, six = allow.widest()
    return four == 1 << 32, six == 1 << 128


def senders(allow: AddressSet | None, deny: Sequence[AddressSet], allowed: str | None = None) -> str:
    """What ``allow`` admits (``allowed``: in these words), and what of it ``deny`` takes away."""
    told = allowed or addresses(allow)
    return f"{told}, but not {addresses(AddressSet.union(deny))}" if deny else told


def only(admitted: AddressSet | None) -> str:
    """What may connect, as a sentence begins: ``every address``, ``only …`` or ``every address but …``."""
    if admitted is None or all(_whole(admitted)):
        return addresses(None)
    denied = EVERYBODY.without(admitted)
    if denied and len(denied) < len(admitted):
        return f"every address but {addresses(denied)}"
    return addresses(admitted) if any(_whole(admitted)) or not admitted else f"only {addresses(admitted)}"


def token_place(kind: TokenKind, name: bytes) -> str:
    """Where a token is."""
    return _TOKENS[kind].format(name.decode("latin-1") or "Authorization")


def algorithm(scheme: Scheme) -> str:
    """How a signature is made."""
    if scheme.claims is not None:
        return f"JWT {'/'.join(scheme.claims.algorithms)}"
    return f"HMAC-{scheme.algorithm.upper()}" if scheme.method is Method.HMAC else _METHODS[scheme.method]
