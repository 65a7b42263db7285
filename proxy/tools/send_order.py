"""From the command line of ``send`` to the delivery that is meant: its flags, and the route of a configuration with its
secret and its address.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config.guards import slug_of
from proxy.config.host import environment
from proxy.config.load import load_namespace, parse_flags
from proxy.config.problems import suggestion
from proxy.config.secret_files import read_reference
from proxy.config.settings import Settings
from proxy.core.policy import Route
from proxy.core.schemes import PROVIDERS, Provider, TokenSpec, decode_secret, find
from proxy.core.signatures import needs_public_keys
from proxy.core.signing.signer import plays_key
from proxy.core.tokens import Secret
from proxy.errors import ConfigError, FlagError, Mistake, Problem
from proxy.net.clock import Clock
from proxy.tools.providers import provider_named
from proxy.tools.samples import GENERIC, Sample, choose, samples_of, sender_of
from proxy.tools.sending import Order, OwnToken
from proxy.values import frozen

_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
#: Of one's own scheme: what GitHub has made usual.
_USUAL_CARRIER = "payload"


@frozen
class Sending:
    """An order, and the certificate (a path) that is trusted besides, because it is our own listener's."""

    order: Order
    certificate: str | None = None


def read_sending(arguments: argparse.Namespace) -> Sending:
    """What the command line asks for. FlagError with all that is wrong with it, ConfigError of secrets and files."""
    now = Clock.wall()
    target = _configured(arguments, now) if arguments.config is not None else _named(arguments)
    problems = [*_of_place(arguments, target), *_of_secret(arguments, target)]
    sample = _sample(arguments, target, problems)
    body = _body(arguments, problems)
    extra = _extra(arguments, problems)
    form = _form(arguments, target.provider, sample, problems)
    if problems:
        raise FlagError(problems)
    order = Order(
        provider=target.provider,
        secret=_secret(arguments, target),
        url=target.url,
        sample=sample,
        now=now,
        body=body,
        extra=extra,
        method=arguments.method or target.method,
        public_url=arguments.public_url or target.public_url,
        form=form,
        token=target.token,
    )
    return Sending(order, target.certificate)


def add_secret_flags(parser: argparse.ArgumentParser) -> None:
    """Add both to ``parser``; at most one of them may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--secret-file", metavar="PATH", help="a file with the secret, as the provider shows it")
    group.add_argument("--secret-env", metavar="NAME", help="the name of a variable with it")


def read_secret(arguments: argparse.Namespace, provider: Provider, environ: Mapping[str, str]) -> bytes:
    """The decoded secret of ``provider``, or a private key in its place. ConfigError, which shows nothing of it."""
    if arguments.secret_file is not None:
        where, reference = "--secret-file", f"file:{arguments.secret_file}"
    else:
        where, reference = "--secret-env", f"env:{arguments.secret_env}"
    try:
        value = read_reference(reference, "", environ).value
        if provider.scheme is not None and needs_public_keys(provider.scheme) and plays_key(provider):
            return value
        return decode_secret(provider, value)
    except Mistake as mistake:
        raise ConfigError.of(where, mistake.what, mistake.mend) from None


def _named(arguments: argparse.Namespace) -> RouteTarget:
    """The provider that is named, at ``--url``."""
    if arguments.route is not None:
        raise FlagError.of("--route", "is a route of no configuration", "add --config PATH")
    if arguments.provider is None:
        what, mend = "say whose delivery", "write hookward send github, or --config PATH with --route NAME"
        raise FlagError.of("PROVIDER", what, mend)
    return RouteTarget(provider_named(arguments.provider), None, url=arguments.url or "")


def _configured(arguments: argparse.Namespace, now: float) -> RouteTarget:
    """A route of the file."""
    named = arguments.provider if arguments.route is None else None
    target = read_route(arguments.config, arguments.route, named, environment(), now, url=arguments.url)
    if arguments.route is not None and arguments.provider is not None:
        _shift_words(arguments, target.provider)
    return target


def _shift_words(arguments: argparse.Namespace, provider: Provider) -> None:
    """With a route, the provider may be left out: then the first word is the event."""
    if slug_of(arguments.provider) == provider.slug:
        return
    if arguments.event is not None:
        what = f"the route takes the deliveries of {provider.slug!r}"
        raise FlagError.of("PROVIDER", what, "leave PROVIDER out, or choose another route")
    arguments.event = arguments.provider


def _of_place(arguments: argparse.Namespace, target: RouteTarget) -> Iterator[Problem]:
    if not target.url:
        what, mend = "is missing", "say where to: --url http://HOST/PATH, or --config PATH of a running hookward"
        yield Problem("--url", what, mend)
    elif not is_url(target.url):
        yield Problem("--url", "is not a URL that can be called", "write http://HOST/PATH or https://HOST/PATH")
    if arguments.method is not None and not re.fullmatch(r"[A-Z]{1,20}", arguments.method):
        yield Problem("--method", "is not a method", "write it in capitals: POST")


def _of_secret(arguments: argparse.Namespace, target: RouteTarget) -> Iterator[Problem]:
    if target.secret is not None or arguments.secret_file is not None or arguments.secret_env is not None:
        return
    if arguments.config is None:
        yield Problem("--secret-file", "is missing", "name the file of the secret, or its variable with --secret-env")
        return
    what = "the route has the provider's public key, which signs nothing"
    yield Problem("--secret-file", what, "name the file of the private key whose public half the route has")


def _sample(arguments: argparse.Namespace, target: RouteTarget, problems: list[Problem]) -> Sample:
    known = samples_of(target.provider)
    if arguments.event is None and target.events is not None:
        taken = [sample for sample in known if (sample.header or sample.event) in target.events]
        return taken[0] if taken else Sample(min(target.events), known[0].file, place=target.provider.event_place)
    try:
        return choose(target.provider, arguments.event)
    except Mistake as mistake:
        if arguments.body is None:
            problems.append(Problem("EVENT", mistake.what, mistake.mend))
        return Sample(arguments.event, GENERIC.file)


def _extra(arguments: argparse.Namespace, problems: list[Problem]) -> tuple[tuple[str, str], ...]:
    found = [_FIELD.fullmatch(text) for text in arguments.header]
    if not all(found):
        problems.append(Problem("--header", "is not the line of a header", "write 'Name: value'"))
    return tuple((match[1], match[2]) for match in found if match is not None)


def _body(arguments: argparse.Namespace, problems: list[Problem]) -> bytes | None:
    if arguments.body is None:
        return None
    try:
        return sys.stdin.buffer.read() if arguments.body == "-" else Path(arguments.body).read_bytes()
    except OSError as error:
        problems.append(Problem("--body", f"cannot be read: {error.strerror}", "name a readable file"))
        return None


def _form(arguments: argparse.Namespace, provider: Provider, sample: Sample, problems: list[Problem]) -> str:
    if not arguments.form or sample.is_form:
        return ""
    form = sender_of(provider).form or ("" if provider.slug in PROVIDERS else _USUAL_CARRIER)
    if not form:
        what, mend = f"{provider.title} sends no JSON in a form", "leave --form out, or give your own with --body"
        problems.append(Problem("--form", what, mend))
    return form


def _secret(arguments: argparse.Namespace, target: RouteTarget) -> bytes:
    if target.secret is not None and arguments.secret_file is None and arguments.secret_env is None:
        return target.secret
    return read_secret(arguments, target.provider, environment())


def is_url(url: str) -> bool:
    """Whether ``url`` can be called."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
    return named and url.isascii() and url.isprintable() and " " not in url and "#" not in url


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
        raise FlagError.of("--route", f"there is no route {name[:64]!r}", mend)
    fits = [route for route in routes if provider is None or _takes(route, provider)]
    if len(fits) == 1:
        return fits[0]
    mend = f"choose one of them: --route {(fits or routes)[0].name}"
    if not fits:
        assert provider is not None
        what = f"no route takes the deliveries of {provider[:64]!r}; there are {_list(routes)}"
        raise FlagError.of("PROVIDER", what, mend)
    raise FlagError.of("--route", f"several routes could be meant: {_list(fits)}", mend)


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
    return find(route.provider) or Provider("token", "", title="the route", token=spec), _live(token.secrets, now), None


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
        raise FlagError.of("--url", "hookward listens on no address that could be called", _GIVE_URL)
    if settings.proxy_protocol == "require":
        what = "the listener wants a PROXY header first, which only your balancer sends"
        raise FlagError.of("--url", what, "give the URL of the balancer: --url https://HOST/PATH")
    address = ours[0]
    if address.port == 0:
        raise FlagError.of("--url", "the kernel chooses the port of the listener", _GIVE_URL)
    host = address.host or "127.0.0.1"
    if ip_address(host).is_unspecified:
        host = "127.0.0.1" if ip_address(host).version == 4 else "::1"
    where = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls else 'http'}://{where}:{address.port}{route.path.decode('ascii')}"
