"""A route of a configuration, as ``send`` needs it: whose deliveries it takes, with which secret, and where they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from ipaddress import ip_address

from proxy.config.flags import FlagError, parse_flags
from proxy.config.guards import slug_of
from proxy.config.load import load_namespace
from proxy.config.problems import suggestion
from proxy.config.settings import Settings
from proxy.core.policy import Route
from proxy.core.schemes import Provider, TokenSpec, find
from proxy.core.secrets import Secret
from proxy.core.signing.extras import needs_public_keys
from proxy.errors import Problem
from proxy.tools.sending import OwnToken
from proxy.values import frozen

_GIVE_URL = "give --url http://HOST:PORT/PATH"


@frozen
class RouteTarget:
    """What takes a delivery. ``secret`` is decoded; b"" where nothing is proved; None where it is not known, or cannot
    sign: a public key. Where ``url`` leads to our own listener, ``certificate`` is its certificate (a path).
    """

    provider: Provider
    secret: bytes | None = field(repr=False)
    url: str
    token: OwnToken | None = None
    certificate: str | None = None
    public_url: str | None = None
    method: str = "POST"
    events: frozenset[str] | None = None  # those that the route takes, where it chooses


def read_route(
    config: str, route: str | None, provider: str | None, environ: Mapping[str, str], now: float, *, url: str | None
) -> RouteTarget:
    """The route called ``route`` of the file ``config``, or the one that takes the deliveries of ``provider``.

    ``now`` is in seconds since the epoch: secrets that are over are not used. ``url`` is where to, if that is known.
    FlagError where no route, or more than one, is meant, or nothing listens that could be called; ConfigError where the
    configuration is wrong.
    """
    loaded = load_namespace(parse_flags(["--config", config]), environ, now=now)
    chosen = _choose(loaded.policy.routes, route, provider)
    known, secret, token = _proof(chosen, now)
    method = "POST" if b"POST" in chosen.methods else min(chosen.methods).decode("ascii")
    return RouteTarget(
        provider=known,
        secret=secret,
        token=token,
        url=_url(loaded.settings, chosen) if url is None else url,
        certificate=loaded.settings.tls[0].cert if loaded.settings.tls and url is None else None,
        public_url=chosen.signature.public_url if chosen.signature is not None else None,
        method=method,
        events=chosen.events or (chosen.payload.events if chosen.payload is not None else None),
    )


def _choose(routes: Sequence[Route], name: str | None, provider: str | None) -> Route:
    if name is not None:
        for route in routes:
            if route.name == name:
                return route
        names = [route.name for route in routes]
        mend = suggestion(name, names, otherwise=f"the routes are {', '.join(names)}")
        raise FlagError([Problem("--route", f"there is no route {name[:64]!r}", mend)])
    fits = [route for route in routes if provider is None or _takes(route, provider)]
    if len(fits) == 1:
        return fits[0]
    mend = f"choose one of them: --route {(fits or routes)[0].name}"
    if not fits:
        assert provider is not None
        what = f"no route takes the deliveries of {provider[:64]!r}; there are {_list(routes)}"
        raise FlagError([Problem("PROVIDER", what, mend)])
    raise FlagError([Problem("--route", f"several routes could be meant: {_list(fits)}", mend)])


def _takes(route: Route, provider: str) -> bool:
    known = find(provider)
    return route.provider in {slug_of(provider), known.slug if known is not None else ""}


def _list(routes: Sequence[Route]) -> str:
    return ", ".join(f"{route.name} ({route.provider or 'nothing proved'})" for route in routes)


def _proof(route: Route, now: float) -> tuple[Provider, bytes | None, OwnToken | None]:
    """Whose deliveries a route takes, the secret that proves them, and the token besides."""
    signature, token = route.signature, route.token
    if signature is not None:
        known = find(route.provider) or Provider(
            slug=route.provider,
            title=route.provider,
            docs="",
            scheme=signature.scheme,
            event_header=route.event_header,
            event_place=_event_place(route),
            delivery_header=route.delivery_header,
        )
        own = None if token is None else OwnToken(TokenSpec(token.kind, token.name), _live(token.secrets, now))
        secret = None if needs_public_keys(signature.scheme) else _live(signature.secrets, now)
        return known, secret, own
    if token is None:
        return Provider(slug="generic", title="the route", docs=""), b"", None
    spec = TokenSpec(token.kind, token.name)
    return find(route.provider) or Provider("token", "the route", "", token=spec), _live(token.secrets, now), None


def _event_place(route: Route) -> str:
    place = route.payload.event_place if route.payload is not None else None
    return "" if place is None else place.text


def _live(secrets: Sequence[Secret], now: float) -> bytes:
    """The newest that counts. The loader has seen to it that there is one."""
    return next(secret.value for secret in secrets if secret.live(now))


def _url(settings: Settings, route: Route) -> str:
    """Where our own listener takes what is for ``route``."""
    ours = [address for address in settings.listen if address.is_tcp]
    if not ours:
        raise FlagError([Problem("--url", "hookward listens on no address that could be called", _GIVE_URL)])
    if settings.proxy_protocol == "require":
        what = "the listener wants a PROXY header first, which only your balancer sends"
        raise FlagError([Problem("--url", what, "give the URL of the balancer: --url https://HOST/PATH")])
    address = ours[0]
    if address.port == 0:
        raise FlagError([Problem("--url", "the kernel chooses the port of the listener", _GIVE_URL)])
    host = address.host or "127.0.0.1"
    if ip_address(host).is_unspecified:
        host = "127.0.0.1" if ip_address(host).version == 4 else "::1"
    where = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls else 'http'}://{where}:{address.port}{route.path.decode('ascii')}"
