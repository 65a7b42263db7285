"""``init``: a first configuration for a provider, its secret, and what to do next.

On a terminal it asks for what was not said; with a provider it asks nothing. Files are new: what is there already is
never written to. Where the provider makes the secret itself, how to put it into the file is told instead.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config.flags import quoted
from proxy.config.host import ExitCode, command
from proxy.config.kinds import LISTEN, ROUTE_PATH, UPSTREAM_URL, URL, read_within
from proxy.config.parsers import Parser
from proxy.core.schemes import Provider, find
from proxy.core.signing.proof import TokenKind, needs_public_keys
from proxy.errors import FlagError, Mistake, Problem
from proxy.tools.providers import issued, make_secret, provider_named, write_secret
from proxy.values import frozen

DEFAULT_PROVIDER = "github"
DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_UPSTREAM = "http://127.0.0.1:8000"
_FILE = "hookward.toml"
_KINDS = {"listen": LISTEN, "upstream": UPSTREAM_URL, "path": ROUTE_PATH, "public_url": URL}


def main(argv: Sequence[str]) -> int:
    """Write the files and say what is next. Raises FlagError."""
    arguments = build_parser().parse_args(argv)
    named, path = _split(arguments.words)
    asks = named is None and sys.stdin.isatty() and sys.stdout.isatty() and not arguments.yes
    ask = _ask if asks else _take
    provider = provider_named(
        named or ask("provider (hookward providers lists them)", DEFAULT_PROVIDER, provider_named)
    )
    questions = {
        "listen": ("listen on", DEFAULT_LISTEN),
        "upstream": ("the application is at", DEFAULT_UPSTREAM),
        "path": ("deliveries arrive at", f"/hooks/{provider.slug}"),
        "public_url": ("this host is known as", "https://hooks.example.com"),
    }
    answers = {
        key: getattr(arguments, key) or ask(question, default, partial(_read, key))
        for key, (question, default) in questions.items()
    }
    wanted = FirstFile(provider=provider, **answers)
    _check(wanted)
    target = _target(path or ask("write the file", _FILE, str))
    print(_told(wanted, target, _write(wanted, target)))
    return ExitCode.OK


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(
        prog="hookward init",
        usage="hookward init [PROVIDER] [PATH] [--listen ADDRESS] [--upstream ADDRESS]\n"
        "                     [--path PATH] [--public-url URL] [--yes]",
        description="Write a first configuration and its secret, and say what to enter at the provider. Without a "
        "provider it asks on a terminal; what is there already is never overwritten.",
    )
    add = parser.add_argument
    add("words", metavar="PROVIDER PATH", nargs="*", help=f"whose deliveries, and the file: ./{_FILE}")
    add("--listen", metavar="ADDRESS", help=f"where to listen: {DEFAULT_LISTEN}")
    add("--upstream", metavar="ADDRESS", help=f"the application: {DEFAULT_UPSTREAM}")
    add("--path", metavar="PATH", help="where deliveries arrive: /hooks/PROVIDER")
    add("--public-url", metavar="URL", help="the URL by which providers reach this host: https://hooks.example.com")
    add("--yes", action="store_true", help="ask nothing: take what is usual")
    return parser


def _split(words: Sequence[str]) -> tuple[str | None, str | None]:
    """The provider's name and the path, in this order; one word alone is a path where it looks like one."""
    first, path = [*words, None, None][:2]
    if first is None or len(words) > 1 or find(first) is not None:
        return first, path
    return (None, first) if "/" in first or first.endswith(".toml") or Path(first).is_dir() else (first, None)


def _target(path: str) -> Path:
    target = Path(path)
    return target / _FILE if target.is_dir() or path.endswith("/") else target


def _check(wanted: FirstFile) -> None:
    """FlagError with every value that cannot be used."""
    problems = []
    for key in _KINDS:
        try:
            _read(key, getattr(wanted, key))
        except Mistake as mistake:
            problems.append(Problem(f"--{key.replace('_', '-')}", mistake.what, mistake.mend))
    if problems:
        raise FlagError(problems)


def _write(wanted: FirstFile, target: Path) -> str:
    """Write the secret and the file, and say how the secret came about; "" where it did not. FlagError, and nothing is
    written, where the file is there already.
    """
    if target.exists() or target.is_symlink():
        what = f"{target} is there already, and is not overwritten"
        raise FlagError.of("PATH", what, f"name another file, or add the route of {wanted.provider.slug} to it")
    try:
        said = _make(wanted.provider, target.parent / wanted.secret_name)
        write_secret(str(target), wanted.text())
    except ValueError as error:
        raise FlagError.of("PATH", str(error), "name a file in a folder that may be written to") from None
    return said


def _make(provider: Provider, path: Path) -> str:
    """Make the secret, and say so; "" where the provider makes it."""
    with suppress(FileNotFoundError):
        status = path.lstat()
        # In a folder of everybody's, somebody could put there what is known to them.
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {0, os.geteuid()}:
            raise ValueError(f"{path} is there already, and is another user's: name a file in a folder of your own")
        return "it was there already, and is used"
    makes_it = provider.chosen and not (provider.scheme is not None and needs_public_keys(provider.scheme))
    return f"new: {write_secret(str(path), make_secret(provider))}" if makes_it else ""


def _told(wanted: FirstFile, target: Path, said: str) -> str:
    provider, secret = wanted.provider, str(target.parent / wanted.secret_name)
    lines = [f"written: {target}", *[f"secret:  {secret} ({said})"] * bool(said)]
    lines += ["", f"Enter at {provider.title} ({provider.docs}):", f"  URL      {wanted.shown_url}"]
    if said:
        lines.append(f"  secret   what `cat {shlex.quote(secret)}` shows")
    if provider.event_header is not None or provider.event_place:
        lines.append("  events   those that you need; `events` of the route refuses others")
    if not said:
        lines += ["", f"{issued(provider)}.", "Put it into its file, and end with Ctrl-D:", f"  {_install(secret)}"]
    if wanted.shown_url.startswith("https://hooks.example.com"):
        lines += ["", "hooks.example.com stands for the name of this host, or of the tunnel before it."]
    file = shlex.quote(str(target))
    steps = (f"check {file}", f"run {file}", f"send {provider.slug} --config {file}")
    return "\n".join([*lines, "", "Next:", *(f"  {command()} {step}" for step in steps)])


def _install(path: str) -> str:
    """The command that takes a secret from the terminal; the service of root reads it by the group of the folder."""
    mode = "600"
    if os.geteuid() == 0:
        mode = f"640 -g {Path(path).absolute().parent.stat().st_gid}"
    return f"install -m {mode} /dev/stdin {shlex.quote(path)}"


# -- asking


def _ask(question: str, default: str, read: Callable[[str], object]) -> str:
    """The answer to a question on the terminal, asked again until it can be used; ``default`` for an empty one."""
    while True:
        try:
            answer = input(f"{question} [{default}]: ").strip() or default
            read(answer)
        except EOFError:
            raise FlagError.of("init", "there was no answer", "name the provider: hookward init github") from None
        except (FlagError, Mistake) as error:
            first = error.problems[0] if isinstance(error, FlagError) else error
            print(f"  {first.what}: {first.mend}")
        else:
            return answer


def _take(_question: str, default: str, _reader: Callable[[str], object]) -> str:
    return default


def _read(key: str, text: str) -> object:
    return read_within(_KINDS[key], text, None, None)


_HEAD = """\
# hookward lets in what the routes below prove, and answers 404 to all else.
# Every key: hookward man hookward.toml | man -l -

listen   = [{listen}]
# The application: it sees what was admitted, and nothing else.
upstream = {upstream}

# Health and metrics, and a line for each exchange:
# admin      = "127.0.0.1:4040"
# access_log = "/var/log/hookward/access.log"

# Behind a proxy or a tunnel of this host, whose X-Forwarded-For is read:
# trusted_proxies = ["127.0.0.1"]

# To the world, with a certificate: listen = ["0.0.0.0:443"], and
# [tls]
# cert = "fullchain.pem"
# key  = "key.pem"
"""


_TOPIC = "arn:aws:sns:eu-west-1:123456789012:NAME"
_USUAL = {"push", "ping", "Push Hook", "repo:push", "repo:refs_changed"}


@frozen
class FirstFile:
    """What it is made of; texts as they stand in the file."""

    provider: Provider
    listen: str
    upstream: str
    path: str
    public_url: str

    @property
    def secret_name(self) -> str:
        """The file of the secret, beside the configuration."""
        return f"{self.provider.slug}.secret"

    @property
    def shown_url(self) -> str:
        """What is entered at the provider."""
        whole = urlsplit(self.public_url)
        has_path = bool(whole.path.strip("/") or whole.query)
        target = self.public_url if has_path else f"{self.public_url.rstrip('/')}{self.path}"
        token = self.provider.token
        if token is not None and token.kind is TokenKind.QUERY:
            target += f"?{token.name.decode('ascii')}=SECRET"
        return target

    def text(self) -> str:
        """The file."""
        return "\n".join([_HEAD.format(listen=quoted(self.listen), upstream=quoted(self.upstream)), *self._route(), ""])

    def _route(self) -> list[str]:
        provider, scheme = self.provider, self.provider.scheme
        lines = [
            f"# {provider.title}: hookward providers {provider.slug}",
            f"[route.{provider.slug}]",
            f"path     = {quoted(self.path)}",
            f"provider = {quoted(provider.slug)}",
            f'secrets  = ["file:{self.secret_name}"]  # two, while one is rotated',
        ]
        if scheme is not None and scheme.signs_url:
            lines += ["# It is signed: exactly as it is entered there.", f"public_url = {quoted(self.shown_url)}"]
        if scheme is not None and scheme.signs_for_all:
            lines += ["# Yours: the key signs for all customers.", f"topics = [{quoted(_TOPIC)}]"]
        if provider.address_set:
            only = f'# allow  = ["set:{provider.address_set}"]'
            lines += ["# Its published addresses alone; not behind a tunnel:", only]
        if provider.events:
            some = ", ".join(quoted(event) for event in _some(provider.events))
            lines += ["# These types alone:", f"# events = [{some}]"]
        if provider.handshake is not None:
            lines += ["# We answer its check of the endpoint, instead of the application:", '# handshake = "answer"']
        return lines


def _some(events: frozenset[str]) -> list[str]:
    """Two that most people want."""
    return sorted(event for event in events if event in _USUAL) or sorted(events)[:2]
