"""``demo``: hookward at work in ten seconds, on this machine, without an account anywhere.

It sends what GitHub would send and what an attacker would send, shows for each the answer, what the application saw
and what the log says, and compares that with what was promised. The exit code is 0 only if every promise was kept.

hookward runs as a user would run it, ``python -m proxy`` with flags and a secret in a file; the application before
which it stands is the standard library's server on a thread. Both listen on loopback, on ports that the kernel chose.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import http.client
import json
import os
import queue
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from proxy.config.guarded_files import write_private
from proxy.config.host import LOOP_VARIABLE, ExitCode, Paint, command
from proxy.config.parsers import Parser
from proxy.net.private import PrivateError, ask_all, find
from proxy.values import frozen, mutable

PATH = "/hooks/github"
#: A start takes a second on a slow machine; the rest is for busy ones.
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

_THANKS = b"thank you\n"
_LISTENING = re.compile(r"listening on (?:http://)?127\.0\.0\.1:(\d+)")
_CONSOLE = re.compile(r"listening on 127\.0\.0\.1:(\d+) \(the console")


class StageError(Exception):
    """hookward did not start; the text is what it said."""


@frozen
class Seen:
    """A request as the application saw it."""

    method: str
    target: str
    size: int
    verified: str  # the value of Webhook-Verified


class Application:
    """The application: it answers every request with thanks, and remembers it."""

    def __init__(self) -> None:
        self.seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(size)
                seen.put(Seen(self.command, self.path, size, self.headers.get("Webhook-Verified", "")))
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(_THANKS)))
                self.end_headers()
                self.wfile.write(_THANKS)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                """Say nothing; the demo tells what was seen."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        except OSError as error:
            why = f"the demonstration needs 127.0.0.1, where nothing can listen here: {error.strerror}"
            raise StageError(f"{why}; hookward itself does not") from None
        self._server.block_on_close = False
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_TIMEOUT_S)


class Guard:
    """hookward in a process of its own. ``lines`` are its log's lines, parsed."""

    def __init__(self, upstream_port: int, secret_file: Path) -> None:
        self.lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._folder = str(secret_file.parent)
        self.argv = [
            *(sys.executable, "-m", "proxy"),
            *("--listen", "127.0.0.1:0", "--upstream", f"http://127.0.0.1:{upstream_port}"),
            *("--path", PATH, "--provider", "github", "--secret-file", str(secret_file), "--allow", "127.0.0.1"),
            *("--console", "127.0.0.1:0", "--state-dir", self._folder),
        ]
        self._said: list[str] = []
        self._ready = threading.Event()
        self.port = self.console_port = 0
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and flags
            [*self.argv, "--log-format", "json", "--drain", "1s"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the demo, which then ends hookward itself
        )
        said = ((self._read_log, self._process.stdout), (self._read_banner, self._process.stderr))
        self._threads = [threading.Thread(target=read, args=(stream,), daemon=True) for read, stream in said]
        for thread in self._threads:
            thread.start()
        self._ready.wait(START_TIMEOUT_S)
        if not self.port:
            self.close()
            raise StageError("\n".join(self._said))

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def console_link(self) -> str:
        """A link that lets a browser into the console, once; "" where none can be had."""
        ends = find([self._folder], self._process.pid)
        with suppress(PrivateError):
            for answer in asyncio.run(ask_all(ends, "POST", "/console/link", {"scope": "act"})):
                return f"http://127.0.0.1:{self.console_port}/enter?link={answer['token']}"
        return ""

    def _read_log(self, stream: IO[str]) -> None:
        for line in stream:
            with suppress(ValueError):
                self.lines.put(json.loads(line))

    def _read_banner(self, stream: IO[str]) -> None:
        for line in stream:
            self._said.append(line.rstrip("\n"))
            if not self.port and (found := _LISTENING.search(line)):
                self.port = int(found[1])
            if found := _CONSOLE.search(line):
                self.console_port = int(found[1])
                self._ready.set()
        self._ready.set()

    def close(self) -> None:
        """End it, by force if it does not end by itself."""
        with self._process:  # which closes its pipes
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            for thread in self._threads:
                thread.join(STOP_TIMEOUT_S)


@contextmanager
def stage(secret_file: Path) -> Iterator[tuple[Application, Guard]]:
    """Both, running. Raises StageError where hookward does not start."""
    with closing(Application()) as application, closing(Guard(application.port, secret_file)) as guard:
        yield application, guard


def _environment() -> dict[str, str]:
    """Ours, without settings that are meant for another hookward, and with this very package first."""
    kept = {name: os.environ[name] for name in os.environ if name[:9] != "HOOKWARD_" or name == LOOP_VARIABLE}
    places = [str(Path(__file__).resolve().parents[2]), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(places), "PYTHONUNBUFFERED": "1"}


#: How long a log line or a request may take to show up; on a quiet machine it is a millisecond.
WAIT_S = 10.0
_NO_ANSWER = "none: the connection was reset at accept, not a byte was read"
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
    try:
        with tempfile.TemporaryDirectory(prefix="hookward-demo-") as folder:
            return _perform(Path(folder), Paint.on(sys.stdout), once=once)
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
    write_private(str(secret_file), secret)
    with stage(secret_file) as (application, guard):
        _introduce(application, guard, paint, once=once)
        kept = True
        for number, promise in enumerate(PROMISES, 1):
            outcome = _play(promise, secret, application, guard)
            _tell(number, promise, outcome, paint)
            kept = kept and outcome.keeps(promise)
        verdict = ("Every promise was kept.", "green") if kept else ("A promise was broken.", "red")
        print(f"\n{paint(*verdict, 'bold')}")
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
    headers = {"Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/demo", "X-GitHub-Event": "push"}
    if promise.signed is not None:
        mac = hmac.digest(secret + promise.behind, promise.signed, "sha256")
        headers["X-Hub-Signature-256"] = f"sha256={mac.hex()}"
    return {**headers, "X-GitHub-Delivery": f"demo-{secrets.token_hex(4)}"}


def _play(promise: Promise, secret: bytes, application: Application, guard: Guard) -> Outcome:
    outcome = Outcome()
    connection = http.client.HTTPConnection("127.0.0.1", guard.port, timeout=WAIT_S, source_address=(promise.source, 0))
    try:
        with suppress(ConnectionError):  # reset before connect() returned
            connection.connect()
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
    answer = f"{outcome.status} {outcome.phrase}: {outcome.content}"
    print(f"   answer       {answer if outcome.status else _NO_ANSWER}")
    print(f"   application  {_seen(outcome.seen)}")
    print(f"   log          {_line(outcome.line)}")
    if outcome.line and "webhook.cause" in outcome.line:
        cause, why, mend = (outcome.line[f"webhook.{word}"] for word in ("cause", "why", "mend"))
        text = f"{cause}: {why} {mend}"
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
    return " ".join([line["webhook.reason"], f"{line['http.server.request.duration'] * 1000:.1f}ms", *words])


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
        if (line := _take(guard.lines, 0.5)) is None:
            continue
        status = str(line.get("http.response.status_code", "---"))
        tint = "green" if line.get("webhook.verdict") == "admitted" else "yellow"
        request = f"{line.get('http.request.method', '-')} {line.get('url.path', '-')}"
        print(f"{paint(status, tint)} {request} {_line(line)}")
        while (seen := _take(application.seen, 0.01)) is not None:
            print(f"    application {_seen(seen)}")
        sys.stdout.flush()
