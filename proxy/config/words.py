"""How a guard, an address list and a scheme are called wherever people read of them: banner, ``check``, providers."""

from __future__ import annotations

from proxy.core.addresses import AddressSet
from proxy.core.signing.scheme import Method, Scheme
from proxy.core.tokens import TokenKind

_TOKENS = {
    TokenKind.QUERY: "query parameter {}",
    TokenKind.HEADER: "header {}",
    TokenKind.BEARER: "{}: Bearer",
    TokenKind.BASIC: "{}: Basic",
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


def token_place(kind: TokenKind, name: bytes) -> str:
    """Where a token is."""
    return _TOKENS[kind].format(name.decode("latin-1") or "Authorization")


def algorithm(scheme: Scheme) -> str:
    """How a signature is made."""
    if scheme.claims is not None:
        return f"JWT {'/'.join(scheme.claims.algorithms)}"
    return f"HMAC-{scheme.algorithm.upper()}" if scheme.method is Method.HMAC else _METHODS[scheme.method]
