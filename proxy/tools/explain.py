"""``explain``: a saved delivery, taken through every check, with what each found and the probable cause.

With ``-c`` the routes are those of a configuration; else ``--provider`` and ``--secret-file`` make one, as for ``run``.
With neither, it is judged as by a start with nothing configured, which is local-only.
Nothing is sent and no port is opened. The checks are the code that serves.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import BinaryIO

from proxy.config.flags import CONFIG_VARIABLE, Words, refuse_flags
from proxy.config.guarded_files import folder_of, open_below
from proxy.config.host import ExitCode, Paint, environment, visible
from proxy.config.kinds import INSTANT
from proxy.config.load import load_namespace
from proxy.config.parsers import RunParser, add_run_flags
from proxy.config.settings import Loaded
from proxy.core.addresses import Peer
from proxy.core.causes import Diagnosis
from proxy.core.policy import Exposure
from proxy.core.walk import ADMITTED, CheckResult, Trip, Walk, walk
from proxy.errors import FlagError, Mistake
from proxy.http1 import utc_text
from proxy.net.clock import Clock
from proxy.reasons import Reason
from proxy.tools.pasted import is_written_for_people, written_otherwise
from proxy.tools.saved_delivery import Saved, no_files, read_saved

_MAX_BYTES = 256 * 1024 * 1024
#: What the shell passes for ``<(command)``, or standard input.
_GIVEN = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,6})")
_REWRITTEN = "the payload was written for people there, with blanks and line ends; written as it was sent, it matches"
_PRETTY = (
    "The payload is pretty-printed here, with blanks and line ends that are not signed; without them it matches.",
    "If it was copied from a page, nothing is wrong. If it came so, let what stands in front pass the body as it is.",
)
_PRETTY_UNKNOWN = (
    "The payload is pretty-printed here, and so not what was signed; written compactly it matches neither."
)
_MARKS = {True: ("ok", "green"), False: ("NO", "red"), None: ("--", "dim")}


def main(argv: Sequence[str]) -> int:
    """Say what every check finds in a saved delivery. 0 if it is admitted, 1 if it is refused."""
    parser = build_parser()
    if (text := parser.asked(argv)) is not None:
        print(text, end="")
        return ExitCode.OK
    arguments, rest = parser.parse_known_args(list(argv), Words())
    refuse_flags(rest)
    if arguments.file is None or rest:
        raise FlagError.of("FILE", "name one saved delivery", "see hookward explain --help")
    saved = read_file(arguments.file, arguments.entry)
    loaded = _load(arguments)
    now, as_of = _now(arguments.at, saved)
    try:
        peer = peer_of(arguments.address)
    except ValueError:
        what = f"{arguments.address[:60]!r} is not an address"
        raise FlagError.of("--from", what, "write 192.0.2.7") from None
    trip = Trip(saved.head, saved.body, loaded.policy, now, peer)
    saved, found = _as_it_was_sent(saved, trip, walk(trip))
    _print(saved, found, as_of, Paint.on(sys.stdout))
    return ExitCode.OK if found.word == ADMITTED else ExitCode.FAILED


def _as_it_was_sent(saved: Saved, trip: Trip, found: Walk) -> tuple[Saved, Walk]:
    """Where the body is JSON that was written for people, and does not match: the delivery with the text that does. Of
    a page that is what was sent; of what was recorded, it is the cause of the refusal.
    """
    if found.word != Reason.SIGNATURE_MISMATCH.word or not is_written_for_people(saved.body):
        return saved, found
    for body in written_otherwise(saved.body):
        other = saved.with_body(body)
        if (matching := walk(replace(trip, head=other.head, body=body))).word == ADMITTED:
            if saved.is_of_page:
                return saved.with_body(body, _REWRITTEN), matching
            found.diagnosis = Diagnosis("payload_pretty", *_PRETTY)
            return saved, found
    found.diagnosis = Diagnosis("payload_pretty", _PRETTY_UNKNOWN, found.diagnosis.mend if found.diagnosis else "")
    return saved, found


def build_parser() -> RunParser:
    """The parser of the command."""
    parser = RunParser(
        prog="hookward explain",
        usage="hookward explain FILE [-c CONFIG] [flags]\n"
        "       hookward explain FILE --provider NAME --secret-file PATH [flags]",
        description="Take a saved delivery through every check: raw HTTP, a curl command, a HAR file, or what "
        "the provider's page of the delivery shows.",
        add_help=False,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help='the saved delivery; "-" is standard input')
    parser.add_argument("-h", "--help", action="store_true", help="show this")
    parser.add_argument("--from", dest="address", metavar="ADDRESS", help="the sender's address; else none is judged")
    parser.add_argument("--at", metavar="TIME", help="judge times as of then: RFC 3339 or seconds since 1970 [now]")
    parser.add_argument("--entry", metavar="N", type=int, help="which entry of a HAR file, counted from 1")
    add_run_flags(parser)
    return parser


def read_file(path: str, entry: int | None = None) -> Saved:
    """The delivery in a file; files of a curl command are read beside or below it alone. FlagError."""
    folder = folder_of(path)

    def read_beside(name: str) -> bytes:
        return _read(visible(name[:80]), lambda: open_below(folder, name))

    try:
        return read_saved(read_bytes(path), no_files if path == "-" else read_beside, entry=entry)
    except Mistake as mistake:
        raise FlagError.of(visible(path), mistake.what, mistake.mend) from None


def read_bytes(path: str) -> bytes:
    """The content of a file ("-": standard input). Mistake where it cannot be read."""
    if path == "-":
        return _bounded(sys.stdin.buffer, "what was given")
    return _read(visible(path), lambda: _open(path))


def _open(path: str) -> int:
    """A pipe that the shell made is waited for; any other might never have a writer."""
    given = _GIVEN.fullmatch("/dev/fd/0" if path == "/dev/stdin" else path)
    if given is not None:
        return os.dup(int(given[1]))
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _read(shown: str, opened: Callable[[], int]) -> bytes:
    try:
        with os.fdopen(opened(), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) and not os.get_blocking(file.fileno()):
                raise Mistake(f"{shown} is no regular file", "save one delivery in a file")
            return _bounded(file, shown)
    except OSError as error:
        raise Mistake(f"{shown} cannot be read ({error.strerror})", "name a readable file") from None


def _bounded(file: BinaryIO, shown: str) -> bytes:
    data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise Mistake(f"{shown} is larger than 256 MiB", "save one delivery alone")
    return data


def _load(arguments: Words) -> Loaded:
    environ = environment()
    if arguments.config is None and not environ.get(CONFIG_VARIABLE):
        # A route needs both to load; nothing listens and nothing is sent here.
        arguments.listen = arguments.listen or ["127.0.0.1:0"]
        arguments.upstream = arguments.upstream or ["http://127.0.0.1:9"]
        if arguments.method is None and load_namespace(arguments, environ).policy.exposure is Exposure.ROUTES:
            # Of a route that flags make; to name methods where they make none would be a mistake of the user's.
            arguments.method = ["POST", "PUT", "GET"]
    return load_namespace(arguments, environ)


def _now(text: str | None, saved: Saved) -> tuple[float, str]:
    """When the delivery is judged, and that in words."""
    if text is not None:
        seconds = parse_instant(text)
        return seconds, f"as of {utc_text(seconds)}"
    if saved.at is not None:
        return saved.at, f"as of {utc_text(saved.at)}, when it was sent"
    now = Clock.wall()
    return now, f"as of now, {utc_text(now)}"


def parse_instant(text: str) -> float:
    """Seconds since the epoch, from these or a date and time of RFC 3339. FlagError where it is neither."""
    try:
        value = float(text) if text.replace(".", "", 1).isdigit() else INSTANT.read(dt.datetime.fromisoformat(text))
        assert isinstance(value, float)
        return value if abs(value) < 1e11 else value / 1000
    except ValueError:
        mend = "write 2026-03-01T09:15:00Z, or seconds since 1970"
        raise FlagError.of("--at", f"{text[:40]!r} is no time", mend) from None


def peer_of(text: str | None) -> Peer | None:
    """What has the address; None has none, and "unix:" is a unix socket. ValueError where it is no address."""
    if text is None:
        return None
    return Peer.unix() if text == "unix:" else Peer.of(text)


def _print(saved: Saved, found: Walk, as_of: str, paint: Paint) -> None:
    print(f"{paint('Delivery', 'bold')}: {saved.form}, {len(saved.body)} bytes of body, judged {as_of}")
    for note in saved.notes:
        print(f"  {paint('note', 'yellow')}: {_plain(note)}")
    print()
    width = max(len(step.name) for step in found.steps)
    for step in found.steps:
        print(_line(step, width, paint))
    print()
    if found.word == ADMITTED:
        with_secret = f", with the secret {found.secret}" if found.secret else ""
        print(paint(_plain(f"admitted by the route {found.route}{with_secret}"), "green", "bold"))
        return
    if found.word == Reason.FILTERED.word:
        print(paint(f"{found.word}: taken by the route {found.route}, and not passed on", "yellow", "bold"))
        return
    print(paint(f"refused: {found.word}", "red", "bold"))
    if found.diagnosis is not None:
        print(f"{paint(found.diagnosis.word, 'bold')}: {_plain(found.diagnosis.sentence)}")


def _line(step: CheckResult, width: int, paint: Paint) -> str:
    mark, style = _MARKS[step.passed]
    return f"  {paint(mark, style)}  {step.name:{width}}  {_plain(step.said)}"


def _plain(text: str) -> str:
    """``text`` from a saved delivery as printable ASCII, which cannot drive the terminal."""
    return visible(text).encode("ascii", "backslashreplace").decode("ascii")
