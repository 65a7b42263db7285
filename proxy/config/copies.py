"""The copies of a route: from its key ``copies`` to a ``Route`` for each, which the courier delivers as any other.

A copy has the route's rule of delivery, and its own place, filter and secret. Its name, which is that of its lane, is
made from its place, so that what waits for one place never goes to another when the list is changed.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.config.endpoints import UpstreamAddress
from proxy.config.guards import GuardReader, Guards
from proxy.config.tree import Table
from proxy.config.upstreams import read_copy_place
from proxy.core.delivery import Deliver
from proxy.core.policy import Endpoint, Route
from proxy.core.secrets import Secret
from proxy.core.signing.extras import needs_public_keys
from proxy.core.tokens import TokenCheck, TokenKind
from proxy.core.where import PayloadCondition, PayloadRule


def with_copies(route: Route, view: Table, top: Table, reader: GuardReader, guards: Guards) -> Route:
    """``route`` with the copies that its table ``view`` names."""
    found: dict[str, Route] = {}
    for entry in view.tables("copies"):
        if "url" not in entry:
            if not entry.doubtful("url"):
                entry.wrong(
                    "", "does not say where the copy goes", 'write "http://staging:8000", or a table with `url`'
                )
            continue
        copy = _copy(route, entry, read_copy_place(entry, view, top), reader, guards)
        if copy.name in found:
            entry.wrong("", "two copies go to the same place", "remove one of the two")
        found[copy.name] = copy
    return replace(route, copies=tuple(found.values())) if found else route


def _copy(route: Route, entry: Table, place: Endpoint, reader: GuardReader, guards: Guards) -> Route:
    address = entry.need("url", UpstreamAddress)
    if address.agent:
        entry.wrong("url", "a copy cannot go to an agent", "name a URL")
    where: tuple[PayloadCondition, ...] = entry.get("where", tuple) or ()
    secret = _secret(route, entry, reader, guards)
    base = address.base.decode("ascii")
    assert route.delivery is not None
    return replace(
        route,
        name=f"{route.name}@{str(place).removeprefix('http://')}{base}",
        upstream=(place,),
        drained=(),
        base=address.base,
        hold_s=0.0,
        turns=None,
        payload=PayloadRule(where) if where else None,
        # What is signed again with the route's own secrets would be a proof for the application itself.
        delivery=replace(route.delivery, deliver=Deliver.QUEUE, resign=secret is not None),
        signature=replace(route.signature, secrets=(secret,)) if secret and route.signature else route.signature,
        token=_token(route, entry, secret),
    )


def _token(route: Route, entry: Table, secret: Secret | None) -> TokenCheck | None:
    """The token that a copy is sent with; one in the path never is."""
    if secret is None or route.token is None or route.token.kind is TokenKind.PATH:
        return route.token
    try:
        return replace(route.token, secrets=(secret,))
    except ValueError as error:
        entry.wrong("secret", str(error), "write it as the place expects it, or leave `secret` out")
        return route.token


def _secret(route: Route, entry: Table, reader: GuardReader, guards: Guards) -> Secret | None:
    """The secret of its own; None where there is none, or it can be used for nothing."""
    value = reader.read_one(entry, "secret", guards.provider)
    if value is None:
        return None
    if route.signature is None and route.token is None:
        entry.wrong("secret", "nothing signs what comes to this route", "leave `secret` out")
        return None
    if route.signature is None and route.token is not None and route.token.kind is TokenKind.PATH:
        what = "the token of the path is left out of what is sent, so nothing would carry the secret"
        entry.wrong("secret", what, "leave `secret` out")
        return None
    if route.signature is not None and needs_public_keys(route.signature.scheme):
        what = f"{route.provider} signs with a private key, which only the provider has"
        entry.wrong("secret", what, "leave `secret` out")
        return None
    return Secret("copy", value)
