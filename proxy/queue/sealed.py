"""The head of a delivery as it is kept, and as it is sent: without credentials, and with them again.

A store is a file that is copied and kept for days, so no password lies in it that need not. The token of a route is
taken out and written again, when the delivery is sent, from where the route has it. Other credentials, which no guard
here reads, are left out unless the route says ``keep_authorization``. Signatures stay: the application checks them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache

from proxy.core.policy import Route
from proxy.core.tokens import Secret, TokenCheck, TokenKind
from proxy.http1 import utc_text

#: Fields that carry credentials, whatever they are for (RFC 9110 section 11, RFC 6265).
CREDENTIALS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
#: What stands for a token that is taken out: no such value is ever sent.
_TAKEN_OUT = b""


def seal(head: bytes, route: Route, *, leaves_token: bool = True) -> bytes:
    """``head``, a request head that we wrote, without the credentials that ``route`` can do without; and where it is
    for an application that is not to have the token, without a place for it.
    """
    token = b"" if route.token is None else token_field(route.token)
    if _lines_of(token).search(head) is None:
        return head  # of nearly all
    start, *lines, _, _ = head.split(b"\r\n")
    kept = [start]
    for line in lines:
        name, _, _ = line.partition(b":")
        lower = name.lower()
        if lower == token:
            kept += [b"%b: %b" % (name, _TAKEN_OUT)] if leaves_token else []
        elif lower not in CREDENTIALS or lower in route.signed_fields or _stays(route):
            kept.append(line)
    return b"\r\n".join([*kept, b"\r\n"])


def unseal(head: bytes, route: Route, secret_name: str, now: float, more: list[bytes]) -> bytes:
    """The head to send: with the token of ``route`` where it was taken out, and with the lines ``more`` at its end. The
    token is the one it came with, by name, or where that is no longer there the newest. ``now`` is in seconds since
    the epoch.
    """
    if route.token is None or b": \r\n" not in head:
        return b"\r\n".join([head[: -len(b"\r\n\r\n")], *more, b"\r\n"])  # no token was taken out
    token = token_field(route.token)
    start, *lines, _, _ = head.split(b"\r\n")
    sent = [start]
    for line in lines:
        name, _, value = line.partition(b": ")
        if value != _TAKEN_OUT or name.lower() != token:
            sent.append(line)
        elif (secret := _secret(route.token.secrets, secret_name, now)) is not None:
            sent.append(b"%b: %b" % (name, _written(route.token.kind, secret)))
    return b"\r\n".join([*sent, *more, b"\r\n"])


def attempt_lines(attempt: int, accepted: float) -> list[bytes]:
    """What the application is told of a delivery that was kept: which attempt it is, and when we took it (RFC 3339)."""
    second = int(accepted)
    millis = int((accepted - second) * 1000)
    return [b"Webhook-Attempt: %d" % attempt, b"Webhook-Accepted-At: %b.%03dZ" % (_second(second), millis)]


@lru_cache(maxsize=64)
def _second(second: int) -> bytes:
    return utc_text(second, "%Y-%m-%dT%H:%M:%S").encode("ascii")


@lru_cache(maxsize=64)
def _lines_of(token: bytes) -> re.Pattern[bytes]:
    """What begins a line with credentials, or with the field ``token``."""
    names = b"|".join(map(re.escape, CREDENTIALS | {token} if token else CREDENTIALS))
    return re.compile(rb"\r\n(?:%b):" % names, re.IGNORECASE)


def token_field(token: TokenCheck) -> bytes:
    """The field that carries a route's token, in lower case; b"" where none does."""
    return b"" if token.kind is TokenKind.QUERY else token.name or b"authorization"


def method_of(head: bytes) -> bytes:
    """The method of a head that we wrote."""
    return head.partition(b" ")[0]


def _stays(route: Route) -> bool:
    return route.delivery is not None and route.delivery.keeps_authorization


def _secret(secrets: tuple[Secret, ...], name: str, now: float) -> Secret | None:
    live = [secret for secret in secrets if secret.live(now)]
    return next((secret for secret in live if secret.name == name), live[0] if live else None)


def _written(kind: TokenKind, secret: Secret) -> bytes:
    if kind is TokenKind.BEARER:
        return b"Bearer %b" % secret.value
    if kind is TokenKind.BASIC:
        return b"Basic %b" % b64encode(secret.value)
    return secret.value
