"""``send``: one delivery, signed as the provider would sign it, to try a set-up without waiting for the provider.

It sends to any URL, so it also tries the application itself. With ``--tamper`` the delivery is wrong in a known way;
with ``--save`` it goes into a file for ``explain`` and ``[[test]]`` instead. What is printed never holds the proof.
"""

from __future__ import annotations

import argparse
import http.client
import re
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from proxy.config.commandline import ExitCode, Paint, Parser, visible
from proxy.config.flags import FlagError
from proxy.config.guarded_files import write_private
from proxy.config.host import environment
from proxy.config.secret_files import read_reference
from proxy.core.schemes import Provider, decode_secret
from proxy.errors import ConfigError, Mistake, Problem
from proxy.net.clock import Clock
from proxy.tools.providers import provider_named
from proxy.tools.samples import choose, samples_of
from proxy.tools.sending import TAMPERS, Delivery, Order, compose, tampered

TIMEOUT_S = 60.0
_MAX_SHOWN = 4096  # bytes of the answer's content
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")


def main(argv: Sequence[str]) -> int:
    """Send one delivery and print the answer. 0 if it is a 2xx, 1 if it is not or none came."""
    arguments = build_parser().parse_args(argv)
    provider = provider_named(arguments.provider)
    order = _order(arguments, provider)
    try:
        delivery = compose(order) if arguments.tamper is None else tampered(order, arguments.tamper)
    except ValueError as error:
        print(f"hookward send: {error}", file=sys.stderr)
        return ExitCode.FAILED
    if arguments.save is not None:
        return _save(delivery, arguments.save)
    return _send(delivery, arguments, Paint.on(sys.stdout))


def build_parser() -> Parser:
    """The parser of the command."""
    kinds = "\n".join(f"  {name:{max(map(len, TAMPERS))}}  {tamper.doc}" for name, tamper in TAMPERS.items())
    parser = Parser(
        prog="hookward send",
        description="Send a test delivery, signed as the provider would sign it.",
        epilog=f"kinds of --tamper:\n{kinds}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("provider", metavar="PROVIDER", help="whose delivery: a name of `hookward providers`")
    parser.add_argument("event", metavar="EVENT", nargs="?", help="which event; the most common one by default")
    parser.add_argument("--url", required=True, help="where to: http:// or https://")
    add_secret_flags(parser)
    parser.add_argument("--tamper", metavar="KIND", choices=TAMPERS, help="make it wrong in one of the ways below")
    parser.add_argument("--body", metavar="FILE", help='send this instead of the sample; "-" is standard input')
    parser.add_argument(
        "--header", metavar="'NAME: VALUE'", action="append", default=[], help="add or replace a header"
    )
    parser.add_argument("--method", default="POST", help="the method [POST]")
    parser.add_argument("--public-url", metavar="URL", help="the URL to sign, if it is not that of --url")
    parser.add_argument("--insecure", action="store_true", help="do not verify the certificate")
    parser.add_argument("--cafile", metavar="PATH", help="CAs to trust, in PEM, instead of the system's")
    parser.add_argument(
        "--save", metavar="FILE", help="write the request into a file (mode 0600) instead of sending it"
    )
    return parser


def add_secret_flags(parser: argparse.ArgumentParser) -> None:
    """Add both to ``parser``; exactly one of them must be given."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--secret-file", metavar="PATH", help="a file with the secret, as the provider shows it")
    group.add_argument("--secret-env", metavar="NAME", help="the name of a variable with it")


def read_secret(arguments: argparse.Namespace, provider: Provider, environ: Mapping[str, str]) -> bytes:
    """The decoded secret of ``provider``. ConfigError, which shows nothing of it, where there is none."""
    if arguments.secret_file is not None:
        where, reference = "--secret-file", f"file:{arguments.secret_file}"
    else:
        where, reference = "--secret-env", f"env:{arguments.secret_env}"
    try:
        return decode_secret(provider, read_reference(reference, "", environ).value)
    except Mistake as mistake:
        raise ConfigError([Problem(where, mistake.what, mistake.mend)]) from None


def _order(arguments: argparse.Namespace, provider: Provider) -> Order:
    problems = []
    try:
        sample = choose(provider, arguments.event)
    except Mistake as mistake:
        problems.append(Problem("EVENT", mistake.what, mistake.mend))
        sample = samples_of(provider)[0]
    body = None
    if arguments.body is not None:
        try:
            body = sys.stdin.buffer.read() if arguments.body == "-" else Path(arguments.body).read_bytes()
        except OSError as error:
            problems.append(Problem("--body", f"cannot be read: {error.strerror}", "name a readable file"))
    extra = [_FIELD.fullmatch(text) for text in arguments.header]
    if not all(extra):
        problems.append(Problem("--header", "is not the line of a header", "write 'Name: value'"))
    if not _is_url(arguments.url):
        problems.append(
            Problem("--url", "is not a URL that can be called", "write http://HOST/PATH or https://HOST/PATH")
        )
    if not re.fullmatch(r"[A-Z]{1,20}", arguments.method):
        problems.append(Problem("--method", "is not a method", "write it in capitals: POST"))
    if problems:
        raise FlagError(problems)
    return Order(
        provider=provider,
        secret=read_secret(arguments, provider, environment()),
        url=arguments.url,
        sample=sample,
        now=Clock.wall(),
        body=body,
        extra=tuple((match[1], match[2]) for match in extra if match is not None),
        method=arguments.method,
        public_url=arguments.public_url,
    )


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0 and _is_plain(url)
    except ValueError:
        return False


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url and "#" not in url


def _save(delivery: Delivery, path: str) -> int:
    try:
        write_private(path, delivery.wire())
    except OSError as error:
        print(f"hookward send: {path} cannot be written: {error.strerror}", file=sys.stderr)
        return ExitCode.FAILED
    print(
        f"saved {delivery.method} {urlsplit(delivery.url).path or '/'}, {len(delivery.body)} bytes of body, in {path}"
    )
    return ExitCode.OK


def _send(delivery: Delivery, arguments: argparse.Namespace, paint: Paint) -> int:
    parts = urlsplit(delivery.url)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path or '/'}"
    spoilt = f", {TAMPERS[arguments.tamper].doc}" if arguments.tamper else ""
    print(paint(f"{delivery.method} {place} ({len(delivery.body)} bytes{spoilt})", "bold"), flush=True)
    began = perf_counter()
    try:
        status, phrase, fields, content = _exchange(delivery, arguments)
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer: {_why(error)}", file=sys.stderr)
        return ExitCode.FAILED
    took_ms = (perf_counter() - began) * 1000
    fine = 200 <= status < 300
    print(f"{paint(f'{status} {visible(phrase)}', 'green' if fine else 'red')} after {took_ms:.1f} ms")
    for name, value in fields:
        print(paint(f"{visible(name)}: {visible(value)}", "dim"))
    text = content[:_MAX_SHOWN].decode("utf-8", "replace").strip()
    if text:
        print("\n".join(visible(line) for line in text.splitlines()))
    return ExitCode.OK if fine else ExitCode.FAILED


def _exchange(delivery: Delivery, arguments: argparse.Namespace) -> tuple[int, str, list[tuple[str, str]], bytes]:
    parts = urlsplit(delivery.url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=_context(arguments))
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    try:
        own_host = any(name.lower() == "host" for name, _ in delivery.fields)
        connection.putrequest(delivery.method, delivery.target, skip_accept_encoding=True, skip_host=own_host)
        for name, value in delivery.fields:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(delivery.body)))
        connection.endheaders(delivery.body)
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.getheaders(), answer.read(_MAX_SHOWN + 1)
    finally:
        connection.close()


def _context(arguments: argparse.Namespace) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=arguments.cafile)
    if arguments.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate does not hold ({error.verify_message}); --cafile names other CAs"
    if isinstance(error, ConnectionResetError | http.client.RemoteDisconnected):
        return "the connection was closed or reset: so does hookward with an address that is not allowed"
    return visible(str(error)) or type(error).__name__
