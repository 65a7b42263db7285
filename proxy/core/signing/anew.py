"""A delivery that was kept, signed again as of now, for an application that checks once more and finds it too old.

What proves it is taken out and made again with the newest secret of its route that is live: header fields, the query's
token, or what stands in the body. Everything else stays as it came. This is for the operator's own deliveries to the
application; nothing that a stranger chose is signed without its own proof having held, or the operator's word.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from proxy.core.policy import Route
from proxy.core.schemes import Provider, find
from proxy.core.schemes.provider import TokenSpec
from proxy.core.signing.evidence import public_url_of
from proxy.core.signing.signer import sign, sign_inside, signs_inside
from proxy.core.tokens import Secret, TokenKind
from proxy.values import frozen

Fields = list[tuple[bytes, bytes]]


@frozen
class Signed:
    """What is to be sent instead; ``secret`` is the name of the one that it was signed with."""

    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]  # (name, value), in the order in which they came
    body: bytes
    secret: str


def sign_anew(
    route: Route, *, method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]], body: bytes, now: float
) -> Signed:
    """The delivery, signed by ``route`` as of ``now``. ValueError, with the reason, where we cannot sign so."""
    provider, secrets = _provider(route), _secrets(route)
    live = next((secret for secret in secrets if secret.live(now)), None)
    if live is None:
        raise ValueError(f"the route {route.name} has no secret that is live")
    given = list(fields)
    message_id = _message_id(provider, given)
    if signs_inside(provider):
        made = sign_inside(provider, live.value, body, now, message_id.decode("latin-1"))
        return Signed(target, tuple(given), made, live.name)
    if provider.token is not None and provider.token.kind in _IN_TARGET:
        return Signed(_with_token(route, target, live.value), tuple(given), body, live.name)
    proof = sign(
        provider,
        live.value,
        url=_url(route, target, given),
        body=body,
        now=now,
        method=method,
        message_id=message_id,
        headers=[(name.lower(), value) for name, value in given],
    )
    return Signed(target, tuple(_replaced(given, proof)), body, live.name)


def _provider(route: Route) -> Provider:
    """The route's provider; of one that is configured or a token of its own, as much as signing asks for."""
    known = find(route.provider)
    if route.signature is not None:
        if known is not None and known.scheme == route.signature.scheme:
            return known
        return Provider(route.provider, "", title=route.provider, scheme=route.signature.scheme)
    if route.token is None:
        raise ValueError(f"the route {route.name} has neither a signature nor a token")
    return Provider(route.provider, "", title=route.provider, token=TokenSpec(route.token.kind, route.token.name))


def _secrets(route: Route) -> tuple[Secret, ...]:
    if route.signature is not None:
        return route.signature.secrets
    return () if route.token is None else route.token.secrets


def _message_id(provider: Provider, fields: Fields) -> bytes:
    """The id that the delivery has, which is signed along by some."""
    scheme = provider.scheme
    names = {provider.delivery_header, None if scheme is None else scheme.identity} - {None}
    return next((value for name, value in fields if name.lower() in names), b"msg_1")


def _url(route: Route, target: bytes, fields: Fields) -> str:
    public = None if route.signature is None else route.signature.public_url
    if public is not None:
        return public_url_of(public, target).decode("utf-8", "replace")
    host = next((value for name, value in fields if name.lower() == b"host"), b"localhost")
    return f"https://{host.decode('latin-1')}{target.decode('latin-1')}"


def _replaced(fields: Fields, proof: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The fields with the proof in the places of the old one; what has no place comes last."""
    fresh = dict(proof)
    names = frozenset(fresh)
    placed = []
    for name, value in fields:
        lower = name.lower()
        if lower not in names:
            placed.append((name, value))
        elif lower in fresh:
            placed.append((name, fresh.pop(lower)))
    return placed + list(fresh.items())


_IN_TARGET = frozenset({TokenKind.QUERY, TokenKind.PATH})


def _with_token(route: Route, target: bytes, value: bytes) -> bytes:
    """``target`` with this token in the place of the one that it has, if any."""
    assert route.token is not None
    token = quote(value, safe="").encode("ascii")
    if route.token.kind is TokenKind.QUERY:
        bare = route.token.strip(target)
        return b"%b%b%b=%b" % (bare, b"&" if b"?" in bare else b"?", route.token.name, token)
    path, mark, query = target.partition(b"?")
    mapped = route.path_map
    if mapped is None or not mapped.owns(path):
        raise ValueError("the path is not one of this route's")
    return mapped.prefix + token + mapped.rest(path) + mark + query
