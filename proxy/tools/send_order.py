"""From the command line of ``send`` to the delivery that is meant: its flags, and the route of a configuration."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config.flags import FlagError
from proxy.config.guards import slug_of
from proxy.config.host import environment
from proxy.config.secret_files import read_reference
from proxy.core.schemes import PROVIDERS, Provider, decode_secret
from proxy.core.signing.extras import needs_public_keys
from proxy.core.signing.signer import plays_key
from proxy.errors import ConfigError, Mistake, Problem
from proxy.net.clock import Clock
from proxy.tools.providers import provider_named
from proxy.tools.samples import GENERIC, Sample, choose, samples_of
from proxy.tools.send_route import RouteTarget, read_route
from proxy.tools.senders import sender_of
from proxy.tools.sending import Order
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
    """The decoded secret of ``provider``, or the private key that stands in for its own. ConfigError, which shows
    nothing of it, where there is none.
    """
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
        raise ConfigError([Problem(where, mistake.what, mistake.mend)]) from None


def _named(arguments: argparse.Namespace) -> RouteTarget:
    """The provider that is named, at ``--url``."""
    if arguments.route is not None:
        raise FlagError([Problem("--route", "is a route of no configuration", "add --config PATH")])
    if arguments.provider is None:
        what, mend = "say whose delivery", "write hookward send github, or --config PATH with --route NAME"
        raise FlagError([Problem("PROVIDER", what, mend)])
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
        raise FlagError([Problem("PROVIDER", what, "leave PROVIDER out, or choose another route")])
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
