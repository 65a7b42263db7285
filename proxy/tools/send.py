"""``send``: one delivery, signed as the provider would sign it, to try a set-up without waiting for the provider.

It sends to any URL, so it also tries the application itself. With ``--tamper`` the delivery is wrong in a known way;
with ``--save`` it goes into a file for ``explain`` and ``[[test]]`` instead. What is printed never holds the proof.
"""

from __future__ import annotations

import argparse
import http.client
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from proxy.config.guarded_files import write_private
from proxy.config.host import ExitCode, Paint, failed, visible
from proxy.config.parsers import Parser
from proxy.tools.send_order import add_secret_flags, read_sending
from proxy.tools.sending import TAMPERS, Delivery, compose, tampered

TIMEOUT_S = 60.0
_MAX_SHOWN = 4096  # bytes of the answer's content


def main(argv: Sequence[str]) -> int:
    """Send one delivery and print the answer. 0 if it is a 2xx, 1 if it is not or none came."""
    arguments = build_parser().parse_args(argv)
    sending = read_sending(arguments)
    try:
        delivery = compose(sending.order) if arguments.tamper is None else tampered(sending.order, arguments.tamper)
    except ValueError as error:
        return failed("send", error)
    if arguments.save is not None:
        return _save(delivery, arguments.save)
    return _send(delivery, arguments, sending.certificate, Paint.on(sys.stdout))


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
    add(
        "provider",
        metavar="PROVIDER",
        nargs="?",
        help="whose delivery: a name of `hookward providers`, or a scheme of the file",
    )
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
        status, phrase, fields, content = _exchange(delivery, _context(delivery, arguments, certificate))
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


def _exchange(delivery: Delivery, context: ssl.SSLContext | None) -> tuple[int, str, list[tuple[str, str]], bytes]:
    parts = urlsplit(delivery.url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if context is not None:
        connection = http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context)
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


def _context(delivery: Delivery, arguments: argparse.Namespace, certificate: str | None) -> ssl.SSLContext | None:
    """How the other end is verified; None without TLS. Our own listener has ``certificate``, whatever its name."""
    if urlsplit(delivery.url).scheme != "https":
        return None
    if arguments.cafile is None and certificate is not None:
        # The first one alone: whom its authority has certified besides is not us.
        context = ssl.create_default_context(cadata=_first(Path(certificate).read_text("ascii", "replace")))
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context = ssl.create_default_context(cafile=arguments.cafile)
    if arguments.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _first(pem: str) -> str:
    """The first certificate of a file."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return f"{begin}{pem.partition(begin)[2].partition(end)[0]}{end}\n"


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate does not hold ({error.verify_message}); --cafile names other CAs"
    if isinstance(error, ConnectionResetError | http.client.RemoteDisconnected):
        return "the connection was closed or reset: so does hookward with an address that is not allowed"
    return visible(str(error)) or type(error).__name__
