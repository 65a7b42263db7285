"""``demo``: hookward at work in ten seconds, on this machine, without an account anywhere.

It sends what GitHub would send and what an attacker would send, shows for each the answer, what the application saw
and what the log says, and compares that with what was promised. The exit code is 0 only if every promise was kept.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import queue
import secrets
import shlex
import signal
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy.config.host import ExitCode, Paint, command
from proxy.config.parsers import Parser
from proxy.tools.demo_stage import PATH, Application, Guard, Seen, StageError, stage
from proxy.values import frozen, mutable

#: How long a log line or a request may take to show up; on a quiet machine it is a millisecond.
WAIT_S = 10.0
#: How long to wait for what must not come.
SILENCE_S = 0.1

BODY = json.dumps(
    {"ref": "refs/heads/main", "repository": {"full_name": "octo/hello"}, "head_commit": {"message": "Say hello"}}
).encode()


@frozen
class Promise:
    """One delivery and what is promised for it. ``status`` 0 is a reset connection."""

    title: str
    status: int
    reason: str
    path: str = PATH
    body: bytes = BODY
    signed: bytes | None = BODY  # what the signature is of; None sends none
    source: str = "127.0.0.1"
    behind: bytes = b""  # what the sender has behind the secret by mistake


PROMISES = (
    Promise("a push from GitHub, signed with the shared secret", 200, "delivered"),
    Promise("the same push, changed on its way", 403, "signature_mismatch", body=BODY.replace(b"main", b"evil")),
    Promise("a push without a signature", 403, "signature_missing", signed=None),
    Promise("a signed push to another path of the application", 404, "path_not_matched", path="/admin"),
    Promise("a signed push from an address that is not allowed", 0, "", source="127.0.0.2"),
    Promise("a push signed by a sender whose secret has a newline behind it", 403, "signature_mismatch", behind=b"\n"),
)


@mutable
class Outcome:
    """What happened. ``status`` 0 is a reset connection, -1 one that could not be tried on this host."""

    status: int = 0
    phrase: str = ""
    content: str = ""
    seen: Seen | None = None
    line: dict[str, Any] | None = None

    def keeps(self, promise: Promise) -> bool:
        """Whether it is what was promised."""
        if self.status < 0:
            return True
        reason = self.line["webhook.reason"] if self.line else ""
        return (self.status, reason, self.seen is not None) == (promise.status, promise.reason, promise.status == 200)


def main(argv: Sequence[str]) -> int:
    """Run the demo. 0 if every promise was kept, 1 if not, 70 if hookward did not start."""
    arguments = build_parser().parse_args(argv)
    # In a pipe or a script nobody could end it.
    once = arguments.once or not sys.stdout.isatty()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    paint = Paint.on(sys.stdout)
    try:
        with tempfile.TemporaryDirectory(prefix="hookward-demo-") as folder:
            return _perform(Path(folder), paint, once=once)
    except StageError as error:
        print(f"hookward did not start:\n{error}", file=sys.stderr)
        return ExitCode.SOFTWARE
    except KeyboardInterrupt:
        print()
        return ExitCode.OK


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = Parser(prog="hookward demo", description="Show hookward at work before a small application.")
    parser.add_argument("--once", action="store_true", help="end by itself, as where its output is no terminal")
    return parser


def _perform(folder: Path, paint: Paint, *, once: bool) -> int:
    secret = secrets.token_hex(20).encode()
    secret_file = folder / "github.secret"
    secret_file.touch(mode=0o600)
    secret_file.write_bytes(secret)
    with stage(secret_file) as (application, guard):
        _introduce(application, guard, paint, once=once)
        kept = True
        for number, promise in enumerate(PROMISES, 1):
            outcome = _play(promise, secret, application, guard)
            _tell(number, promise, outcome, paint)
            kept = kept and outcome.keeps(promise)
        verdict = (
            paint("Every promise was kept.", "green", "bold") if kept else paint("A promise was broken.", "red", "bold")
        )
        print(f"\n{verdict}")
        if not once:
            _invite(guard, secret_file, paint)
            _watch(application, guard, paint)
    return ExitCode.OK if kept else ExitCode.FAILED


def _introduce(application: Application, guard: Guard, paint: Paint, *, once: bool) -> None:
    line = shlex.join(guard.argv[3:])
    print(f"{paint('hookward demo', 'bold')}: {'it ends by itself' if once else 'Ctrl-C leaves it'}")
    print("  Look at what the application saw: what is genuine, and nothing else.")
    print("  The sender of the rest learns one word; the operator, why.")
    print(f"  application  http://127.0.0.1:{application.port}")
    print(f"  hookward     http://127.0.0.1:{guard.port}")
    print(f"  started by   {paint(f'{command()} {line}', 'dim')}")


def _headers(promise: Promise, secret: bytes) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/demo",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": f"demo-{secrets.token_hex(4)}",
    }
    if promise.signed is not None:
        mac = hmac.new(secret + promise.behind, promise.signed, hashlib.sha256)
        headers["X-Hub-Signature-256"] = f"sha256={mac.hexdigest()}"
    return headers


def _play(promise: Promise, secret: bytes, application: Application, guard: Guard) -> Outcome:
    outcome = Outcome()
    connection = http.client.HTTPConnection("127.0.0.1", guard.port, timeout=WAIT_S, source_address=(promise.source, 0))
    try:
        connection.connect()
    except ConnectionError:
        pass  # reset before connect() returned
    except OSError:
        outcome.status = -1  # only Linux has all of 127.0.0.0/8
        return outcome
    try:
        connection.request("POST", promise.path, body=promise.body, headers=_headers(promise, secret))
        answer = connection.getresponse()
        outcome.status, outcome.phrase = answer.status, answer.reason
        outcome.content = answer.read().decode("latin-1").strip()
    except (ConnectionError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    outcome.seen = _take(application.seen, WAIT_S if promise.status == 200 else SILENCE_S)
    outcome.line = _take(guard.lines, WAIT_S if promise.status else SILENCE_S)
    return outcome


def _take(source: queue.SimpleQueue[Any], timeout_s: float) -> Any:
    try:
        return source.get(timeout=timeout_s)
    except queue.Empty:
        return None


def _tell(number: int, promise: Promise, outcome: Outcome, paint: Paint) -> None:
    print(f"\n{paint(str(number), 'bold')}  {paint(promise.title, 'bold')}")
    if outcome.status < 0:
        print(f"   skipped      this host has no address {promise.source}")
        return
    if outcome.status:
        print(f"   answer       {outcome.status} {outcome.phrase}: {outcome.content}")
    else:
        print("   answer       none: the connection was reset at accept, not a byte was read")
    print(f"   application  {_seen(outcome.seen)}")
    print(f"   log          {_line(outcome.line)}")
    if outcome.line and "webhook.cause" in outcome.line:
        why = " ".join(outcome.line[f"webhook.{word}"] for word in ("why", "mend"))
        text = f"{outcome.line['webhook.cause']}: {why}"
        print(textwrap.fill(text, 80, initial_indent="   why          ", subsequent_indent=" " * 16))
    if not outcome.keeps(promise):
        promised = f"{promise.status} {promise.reason}" if promise.status else "a reset connection"
        print(paint(f"   promised was {promised}", "red"))


def _seen(seen: Seen | None) -> str:
    if seen is None:
        return "saw nothing"
    verified = f', "Webhook-Verified: {seen.verified}"' if seen.verified else ""
    return f"saw {seen.method} {seen.target}, {seen.size} bytes{verified}"


def _line(line: dict[str, Any] | None) -> str:
    if line is None:
        return "no line for a refused address, only a counter"
    named = (("provider", "webhook.provider"), ("event", "webhook.event"), ("from", "client.address"))
    words = [f"{name}={line[key]}" for name, key in named if line.get(key)]
    took_ms = line["http.server.request.duration"] * 1000
    return " ".join([line["webhook.reason"], f"{took_ms:.1f}ms", *words])


def _invite(guard: Guard, secret_file: Path, paint: Paint) -> None:
    print("\nTry it yourself, in another terminal:\n")
    for line in (
        f"secret=$(cat {shlex.quote(str(secret_file))})",
        'body=\'{"zen":"Keep it logically awesome."}\'',
        'mac=$(printf %s "$body" | openssl dgst -sha256 -hmac "$secret" | sed "s/.* //")',
        f'curl -i http://127.0.0.1:{guard.port}{PATH} -H "X-Hub-Signature-256: sha256=$mac" \\',
        '     -H "X-GitHub-Event: ping" -H "Content-Type: application/json" --data-binary "$body"',
    ):
        print(f"  {paint(line, 'cyan')}")
    print("\nSee each of them, and why it was refused, in a browser (this link opens once):\n")
    print(f"  {paint(guard.console_link(), 'cyan')}")
    print("\nBoth keep running until Ctrl-C, which leaves the demo. What arrives is shown here.\n", flush=True)


def _watch(application: Application, guard: Guard, paint: Paint) -> None:
    """Show what arrives, until Ctrl-C."""
    while guard.running:
        line = _take(guard.lines, 0.5)
        if line is None:
            continue
        status = str(line.get("http.response.status_code", "---"))
        tint = "green" if line.get("webhook.verdict") == "admitted" else "yellow"
        request = f"{line.get('http.request.method', '-')} {line.get('url.path', '-')}"
        print(f"{paint(status, tint)} {request} {_line(line)}")
        while (seen := _take(application.seen, 0.01)) is not None:
            print(f"    application {_seen(seen)}")
        sys.stdout.flush()
