"""How a guard, an address list and a scheme are called wherever people read of them: banner, ``check``, providers."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.config.admission import EVERYBODY
from proxy.core.addresses import AddressSet
from proxy.core.signing.scheme import Method, Scheme
from proxy.core.tokens import TokenKind

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
    """What a list admits; None is every address."""
    if allow is None:
        return "every address"
    parts = [count(len(allow), "address range")] if len(allow) else []
    return " and ".join(parts + ["peers on unix sockets"] * allow.has_unix) or "nobody"


def senders(allow: AddressSet | None, deny: Sequence[AddressSet]) -> str:
    """What ``allow`` admits, and what of it ``deny`` takes away."""
    return f"{addresses(allow)}, but not {addresses(AddressSet.union(deny))}" if deny else addresses(allow)


def only(admitted: AddressSet | None) -> str:
    """What may connect, as a sentence begins: ``every address``, ``only …`` or ``every address but …``."""
    if admitted is None:
        return addresses(admitted)
    denied = EVERYBODY.without(admitted)
    few = denied and len(denied) < len(admitted)
    return f"every address but {addresses(denied)}" if few else f"only {addresses(admitted)}"


def token_place(kind: TokenKind, name: bytes) -> str:
    """Where a token is."""
    return _TOKENS[kind].format(name.decode("latin-1") or "Authorization")


def algorithm(scheme: Scheme) -> str:
    """How a signature is made."""
    if scheme.claims is not None:
        return f"JWT {'/'.join(scheme.claims.algorithms)}"
    return f"HMAC-{scheme.algorithm.upper()}" if scheme.method is Method.HMAC else _METHODS[scheme.method]
