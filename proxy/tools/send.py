"""``send``: one delivery, signed as the provider would sign it, to try a set-up without waiting for the provider.

It sends to any URL, so it also tries the application itself. With ``--tamper`` the delivery is wrong in a known way;
with ``--save`` it goes into a file for ``explain`` and ``[[test]]`` instead. What is printed never holds the proof.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from urllib.parse import urlsplit

from proxy.config.guarded_files import write_private
from proxy.config.guards import slug_of
from proxy.config.host import ExitCode, Paint, environment, failed, visible
from proxy.config.parsers import Parser
from proxy.config.secret_files import read_reference
from proxy.core.schemes import PROVIDERS, Provider, decode_secret
from proxy.core.signing.proof import needs_public_keys
from proxy.core.signing.signer import plays_key
from proxy.errors import ConfigError, FlagError, Mistake, Problem
from proxy.net.clock import Clock
from proxy.tools import sending
from proxy.tools.providers import provider_named
from proxy.tools.samples import GENERIC, Sample, choose, samples_of, sender_of
from proxy.tools.sending import Delivery, Order, RouteTarget, compose
from proxy.values import frozen


def main(argv: Sequence[str]) -> int:
    """Send one delivery and print the answer. 0 if it is a 2xx, 1 if it is not or none came."""
    arguments = build_parser().parse_args(argv)
    order, certificate = read_order(arguments)
    try:
        delivery = compose(order) if arguments.tamper is None else tampered(order, arguments.tamper)
    except ValueError as error:
        return failed("send", error)
    if arguments.save is not None:
        return _save(delivery, arguments.save)
    return _send(delivery, arguments, certificate, Paint.on(sys.stdout))


def build_parser() -> Parser:
    """The parser of the command."""
    kinds = "\n".join(f"  {name:{max(map(len, TAMPERS))}}  {tamper.doc}" for name, tamper in TAMPERS.items())
    parser = Parser(
        prog="hookward send",
        description="Send a test delivery, signed as the provider would sign it.",
        epilog=f"kinds of --tamper:\n{kinds}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    whose = "whose delivery: a name of `hookward providers`, or a scheme of the file"
    add("provider", metavar="PROVIDER", nargs="?", help=whose)
    add("event", metavar="EVENT", nargs="?", help="which event; the most common one by default")
    add("--url", help="where to: http:// or https:// [with --config, our own listener]")
    add_secret_flags(parser)
    add("-c", "--config", metavar="PATH", help="take the secret, the URL and own schemes from a route of this file")
    add("--route", metavar="NAME", help="which route of --config [the one of PROVIDER]")
    add("--form", action="store_true", help="send the JSON in a form, where the provider may")
    add("--tamper", metavar="KIND", choices=TAMPERS, help="make it wrong in one of the ways below")
    add("--body", metavar="FILE", help='send this instead of the sample; "-" is standard input')
    add("--header", metavar="'NAME: VALUE'", action="append", default=[], help="add or replace a header")
    add("--method", help="the method [POST]")
    add("--public-url", metavar="URL", help="the URL to sign, if it is not that of --url")
    add("--insecure", action="store_true", help="do not verify the certificate")
    add("--cafile", metavar="PATH", help="CAs to trust, in PEM, instead of the system's")
    add("--save", metavar="FILE", help="write the request into a file (mode 0600) instead of sending it")
    return parser


def _save(delivery: Delivery, path: str) -> int:
    try:
        write_private(path, delivery.wire())
    except OSError as error:
        return failed("send", f"{path} cannot be written: {error.strerror}")
    print(f"saved {delivery.method} {delivery.shown_path}, {len(delivery.body)} bytes of body, in {path}")
    return ExitCode.OK


def _send(delivery: Delivery, arguments: argparse.Namespace, certificate: str | None, paint: Paint) -> int:
    parts = urlsplit(delivery.url)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{delivery.shown_path}"
    spoilt = f", {TAMPERS[arguments.tamper].doc}" if arguments.tamper else ""
    print(paint(f"{delivery.method} {place} ({len(delivery.body)} bytes{spoilt})", "bold"), flush=True)
    began = perf_counter()
    try:
        status, phrase, fields, content = sending.exchange(delivery, arguments, certificate)
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer: {sending.why_none(error)}", file=sys.stderr)
        return ExitCode.FAILED
    took_ms = (perf_counter() - began) * 1000
    fine = 200 <= status < 300
    print(f"{paint(f'{status} {visible(phrase)}', 'green' if fine else 'red')} after {took_ms:.1f} ms")
    for name, value in fields:
        print(paint(f"{visible(name)}: {visible(value)}", "dim"))
    text = content[: sending.MAX_SHOWN].decode("utf-8", "replace").strip()
    if text:
        print("\n".join(visible(line) for line in text.splitlines()))
    return ExitCode.OK if fine else ExitCode.FAILED


_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
#: Of one's own scheme: what GitHub has made usual.
_USUAL_CARRIER = "payload"


def read_order(arguments: argparse.Namespace) -> tuple[Order, str | None]:
    """What the command line asks for, and the certificate (a path) that is trusted besides, because it is our own
    listener's. FlagError with all that is wrong with it, ConfigError of secrets and files.
    """
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
    return order, target.certificate


def add_secret_flags(parser: argparse.ArgumentParser) -> None:
    """Add both to ``parser``; at most one of them may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--secret-file", metavar="PATH", help="a file with the secret, as the provider shows it")
    group.add_argument("--secret-env", metavar="NAME", help="the name of a variable with it")


def read_secret(arguments: argparse.Namespace, provider: Provider, environ: Mapping[str, str]) -> bytes:
    """The decoded secret of ``provider``, or a private key in its place. ConfigError, which shows nothing of it."""
    where, reference = "--secret-file", f"file:{arguments.secret_file}"
    if arguments.secret_file is None:
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
        mend = "write hookward send github, or --config PATH with --route NAME"
        raise FlagError.of("PROVIDER", "say whose delivery", mend)
    return RouteTarget(provider_named(arguments.provider), None, url=arguments.url or "")


def _configured(arguments: argparse.Namespace, now: float) -> RouteTarget:
    """A route of the file."""
    named = arguments.provider if arguments.route is None else None
    target = sending.read_route(arguments.config, arguments.route, named, environment(), now, url=arguments.url)
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


# -- the ways to make a delivery wrong on purpose

HOUR_S = 3600.0


@frozen
class Tamper:
    """One way to make a delivery wrong: what is changed before signing, or after."""

    doc: str
    before: Callable[[Order], Order] | None = None
    after: Callable[[Delivery], None] | None = None


def tampered(order: Order, kind: str) -> Delivery:
    """The delivery, made wrong in the way ``kind``. ValueError where that cannot be done to it."""
    tamper = TAMPERS[kind]
    delivery = compose(order if tamper.before is None else tamper.before(order))
    if tamper.after is not None:
        tamper.after(delivery)
    return delivery


def _with_secret(order: Order, secret: bytes) -> Order:
    scheme = order.provider.scheme
    if scheme is not None and needs_public_keys(scheme):
        raise ValueError("a private key is no text that could be mistyped: use --tamper signature")
    if not order.secret:
        raise ValueError("nothing proves this delivery: the route has no secret")
    return replace(order, secret=secret)


def _other_byte(delivery: Delivery) -> None:
    body, at = bytearray(delivery.body), len(delivery.body) // 2
    if not body:
        raise ValueError("there is no body to change")
    body[at] = body[at] ^ 1 or 1
    delivery.body = bytes(body)


def _rewritten(delivery: Delivery) -> None:
    try:
        delivery.body = json.dumps(json.loads(delivery.body)).encode("ascii")
    except ValueError:
        raise ValueError("only a body of JSON can be written again") from None


def _without_body(delivery: Delivery) -> None:
    delivery.body = b""


def _proof_at(delivery: Delivery) -> int:
    for at, (name, _) in enumerate(delivery.fields):
        if name.lower() in delivery.proof:
            return at
    raise ValueError("what proves this delivery is in its body or its URL: use --tamper body or --tamper secret")


def _other_signature(delivery: Delivery) -> None:
    at = _proof_at(delivery)
    name, value = delivery.fields[at]
    # In the middle of its last part: the end of base64 has bits that mean nothing.
    place = len(value) - min(10, len(value))
    swapped = b"b" if value[place : place + 1] == b"a" else b"a"
    delivery.fields[at] = (name, value[:place] + swapped + value[place + 1 :])


def _without_proof(delivery: Delivery) -> None:
    _proof_at(delivery)
    delivery.fields = [one for one in delivery.fields if one[0].lower() not in delivery.proof]


def _twice(delivery: Delivery) -> None:
    at = _proof_at(delivery)
    delivery.fields.insert(at, delivery.fields[at])


TAMPERS: Mapping[str, Tamper] = MappingProxyType(
    {
        "body": Tamper("change a byte of the body after it was signed", after=_other_byte),
        "reencode": Tamper("write the JSON again after it was signed, as a gateway might", after=_rewritten),
        "empty": Tamper("send no body, though one was signed", after=_without_body),
        "secret": Tamper(
            "sign with another secret", before=lambda order: _with_secret(order, order.secret[:-1] + b"~")
        ),
        "newline": Tamper(
            "sign with a newline after the secret", before=lambda order: _with_secret(order, order.secret + b"\n")
        ),
        "signature": Tamper("change a character of the signature", after=_other_signature),
        "header": Tamper("leave out the header that proves it", after=_without_proof),
        "twice": Tamper("send the header that proves it twice", after=_twice),
        "timestamp": Tamper("sign as of an hour ago", before=lambda order: replace(order, now=order.now - HOUR_S)),
        "future": Tamper("sign as of an hour from now", before=lambda order: replace(order, now=order.now + HOUR_S)),
    }
)
