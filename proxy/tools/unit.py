"""What an installation gets: ``unit`` prints systemd units for a configuration, with the flags that ``run`` would be
given; ``man`` and ``completion`` print the manual pages and completions that come with a package.

The configuration is read, not used: no secret is opened, so the units can be made before the secrets exist. Secrets and
keys become credentials, which systemd reads as root and gives to the service alone (``config.load``), unless the
configuration names a user: then that one reads the files itself.

``packaging/pages/make.py`` makes the pages when a package is built; a checkout makes them when they are asked for.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from importlib import resources
from itertools import chain, count
from pathlib import Path

import proxy
from proxy.config import kinds
from proxy.config.flags import FLAGS
from proxy.config.guarded_files import make_folder, open_for_writing
from proxy.config.host import ExitCode, command_line, worker_count
from proxy.config.load import Outline, credential_name, load_outline, parse_flags
from proxy.config.notation import ListenAddress
from proxy.config.parsers import Parser, RunParser
from proxy.errors import FlagError, Problem
from proxy.tools.units import MADE, OLDEST, Needs, literal, service_unit, socket_unit
from proxy.values import frozen, mutable

EPILOG = """\
example:
  hookward unit --socket --config /etc/hookward/hookward.toml \\
                --write /etc/systemd/system
  systemctl daemon-reload
  systemctl enable --now hookward.socket hookward.service
"""

#: Flags whose file is secret: systemd reads it as root and hands it over.
_SECRET_FLAGS = {"--secret-file", "--token-file", "--verify-token-file", "--tls-cert", "--tls-key", "--upstream-key"}
_PATH_FLAGS = {flag.option for flag in FLAGS if flag.key.kind is kinds.FILE} | {"--config", "-c"}
#: Of the command ``agent``; a code is used once, before there is a unit.
_AGENT_FLAGS = ("--relay", "--relay-ca", "--proxy", "--proxy-login", "--health")
#: Flags without a value.
_SWITCHES = {flag.option for flag in FLAGS if flag.key.kind is kinds.BOOL}
#: The setting that has systemd make a directory for a service, by where it makes it.
_MAKES = {place: setting for setting, place in MADE.items()}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def main(argv: Sequence[str]) -> int:
    """Print or write the units. Raises FlagError and ConfigError."""
    parser = build_parser()
    if (text := parser.asked(argv)) is not None:
        print(text, end="")
        return ExitCode.OK
    own, flags = parser.parse_known_args(list(argv))
    own.name = _name(own)
    flags = _with_flag(flags[1:] if flags[:1] == ["run"] else flags)
    outline = load_outline(parse_flags(flags), {})
    _check(outline, own)
    texts = {f"{own.name}.service": service_unit(_needs(outline, own, flags))}
    if own.socket:
        v4 = {address.port for address in outline.listen if "." in address.host}
        v6_only = any(":" in address.host and address.port in v4 for address in outline.listen)
        streams = [_stream(address) for address in outline.listen]
        texts[f"{own.name}.socket"] = socket_unit(own.name, streams, v6_only=v6_only)
    _put(texts, own.write)
    return ExitCode.OK


def _name(own: argparse.Namespace) -> str:
    name = str(own.name or ("hookward-agent" if own.agent else "hookward"))
    if not _NAME.fullmatch(name):
        raise FlagError.of("--name", "is no name for a unit", "use letters, digits, '_' and '-'")
    return name


def _with_flag(flags: list[str]) -> list[str]:
    """The words, with ``--config`` before a file that was named without it."""
    if parse_flags(flags).config and not any(word.startswith(("-c", "--config")) for word in flags):
        at = next(index for index, word in enumerate(flags) if parse_flags(flags).config == word)
        return [*flags[:at], "--config", *flags[at:]]
    return flags


def host_systemd() -> int:
    """The version of this host's systemd; where it has none, the oldest that the units are written for."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return OLDEST
    with suppress(OSError, subprocess.SubprocessError):
        words = [systemctl, "--version"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - the host's own
        if (found := re.match(r"systemd ([0-9]+)", said.stdout)) is not None:
            return int(found[1])
    return OLDEST


def build_parser() -> RunParser:
    """The parser of the command."""
    parser = RunParser(
        prog="hookward unit",
        usage="hookward unit [FILE] [--socket | --agent] [--name NAME]\n"
        "                     [--systemd VERSION] [--write FOLDER] [flags of run]",
        description="Print hardened systemd units for a configuration.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add = parser.add_argument
    add("--socket", action="store_true", help="let systemd hold the sockets: a restart loses no connection")
    add("--agent", action="store_true", help="of an agent, which dials relays and listens on nothing")
    add("--name", help="the name of the units (hookward, or hookward-agent)")
    agent = parser.add_argument_group("with --agent")
    for flag in _AGENT_FLAGS:
        agent.add_argument(flag, metavar="VALUE", action="append", default=[], help="as of `hookward agent`")
    add("--systemd", type=int, metavar="VERSION", help="the systemd that they are for [this host's]")
    add("--write", metavar="FOLDER", help="write the units there instead of printing them")
    return parser


def _check(outline: Outline, own: argparse.Namespace) -> None:
    if own.agent:
        if own.socket or outline.listen:
            raise FlagError.of("--agent", "an agent listens on nothing", "leave --socket and --listen out")
        return
    problems = []
    if not outline.listen and not outline.others:
        problems.append(Problem("listen", "the service would listen nowhere", "add --listen or --config"))
    if own.socket and any(address.fd_name is not None for address in outline.listen):
        what = "a socket unit needs addresses, and the configuration has descriptors of one"
        problems.append(Problem("--socket", what, "write the addresses in `listen`; the service gets the descriptors"))
    if problems:
        raise FlagError(problems)


def _put(texts: dict[str, str], folder: str | None) -> None:
    for name, text in texts.items():
        if folder is None:
            print(f"# /etc/systemd/system/{name}\n{text}")
            continue
        path = Path(folder, name)
        try:
            make_folder(str(path.parent), 0o755)
            descriptor = open_for_writing(str(path), os.O_WRONLY | os.O_CREAT, 0o644)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.truncate()
                file.write(text)
        except OSError as error:
            what = f"{path} cannot be written: {error.strerror}"
            raise FlagError.of("--write", what, "name a folder of units") from None
        print(f"written: {path}", file=sys.stderr)


def _stream(address: ListenAddress) -> str:
    if address.path is not None:
        return literal(address.path)
    return str(address).removeprefix(":")  # every address of the host: the port alone


@mutable
class _Words:
    """The flags for the service, and the credentials that they need."""

    flags: list[str] = field(default_factory=list)
    credentials: list[tuple[str, str]] = field(default_factory=list)

    def credential(self, path: str) -> str:
        """The name under which the service has a file."""
        path = str(Path(path).absolute())  # symbolic links are followed when they are used
        for name, other in self.credentials:
            if other == path:
                return name
        stem = re.sub(r"[^A-Za-z0-9._-]", "-", Path(path).name).lstrip(".-") or "secret"
        names = {name for name, _ in self.credentials}
        name = next(one for one in chain([stem], (f"{stem}-{at}" for at in count(2))) if one not in names)
        self.credentials.append((name, path))
        return name

    def hand_over(self, path: str) -> None:
        """Give a file that the configuration names to the service, under the name by which it is found there."""
        path = str(Path(path).absolute())
        if (credential_name(path), path) not in self.credentials:
            self.credentials.append((credential_name(path), path))


def _needs(outline: Outline, own: argparse.Namespace, flags: Sequence[str]) -> Needs:
    words = _translated(flags, socket=f"fd:{own.name}" if own.socket else None)
    files = [*outline.secret_files, *outline.key_files]
    for path in files if outline.user is None else ():
        words.hand_over(path)
    bound = outline.others if own.socket else (*outline.listen, *outline.others)
    program, home = _program()
    directories, writable = _folders(outline, own.name, bound)
    # Credentials are read by systemd; all else the service reads itself.
    paths = [*program, home, sys.base_prefix, outline.config, outline.state_dir]
    return Needs(
        name=own.name,
        program=[literal(word) for word in program],
        command=[*_agent_words(own, words), *words.flags],
        notes=list(_notes(outline, own, files)),
        drain_s=outline.drain_s,
        supervised=worker_count(outline.workers) > 1,
        low_port=any(0 < address.port < 1024 for address in bound),
        socket=own.socket,
        user=outline.user,
        group=outline.group,
        home="read-only" if any(map(_is_of_home, filter(None, paths))) else "yes",
        working_directory=home,
        environment_file=f"/etc/{own.name}/environment" if outline.variables else None,
        state_dir_set=outline.state_dir is not None,
        directories=directories,
        writable=writable,
        credentials=words.credentials,
        systemd=own.systemd or host_systemd(),
    )


def _is_of_home(path: str) -> bool:
    return path.startswith(("/home/", "/root/", "/run/user/"))


def _agent_words(own: argparse.Namespace, words: _Words) -> Iterator[str]:
    """The command ``agent`` and its own flags, where the unit is one of an agent."""
    yield from ["agent"] * own.agent
    for flag in _AGENT_FLAGS:
        for value in getattr(own, flag.removeprefix("--").replace("-", "_")):
            secret = flag == "--proxy-login" and value.startswith("file:")
            yield from (flag, f"file:%d/{words.credential(value[5:])}" if secret else literal(value))


def _translated(flags: Sequence[str], socket: str | None) -> _Words:
    """The flags of ``run`` as the service is to have them."""
    words = _Words()
    rest = iter(flags)
    for word in rest:
        option, equals, value = ("-c", "=", word[2:]) if re.fullmatch("-c.+", word) else word.partition("=")
        if option in {"--check-config", "-t"}:
            continue
        if option in _SWITCHES:
            words.flags.append(option)
        else:
            value = value if equals else next(rest, "")
            if option != "--listen" or socket is None:
                words.flags += [option, _as_served(option, value, words)]
    if socket is not None:
        words.flags += ["--listen", socket]
    return words


def _as_served(option: str, value: str, words: _Words) -> str:
    if option in _SECRET_FLAGS:
        return f"%d/{words.credential(value)}"
    return literal(str(Path(value).absolute()) if option in _PATH_FLAGS else value)


def _program() -> tuple[list[str], str | None]:
    """The words that start hookward, and the folder they must be started in, if any."""
    line = command_line()
    words = line[: len(line) - len(sys.argv) + 1] or [sys.executable, "-m", "proxy"]
    if len(words) > 1 and not words[1].startswith("-"):
        return [words[0], str(Path(words[1]).absolute())], None
    package = Path(proxy.__file__).resolve().parents[1]
    # With "-m" the first entry is where we are now.
    elsewhere = {Path(entry).resolve() for entry in sys.path[1:]}
    return words, None if package in elsewhere else str(package)


def _folders(outline: Outline, name: str, bound: Sequence[ListenAddress]) -> tuple[list[tuple[str, str]], list[str]]:
    """The directories that systemd is to make, and those that must be writable besides."""
    made: list[tuple[str, str]] = [] if outline.state_dir is not None else [("StateDirectory", name)]
    writable = []
    wanted = [outline.state_dir] if outline.state_dir is not None else []
    if outline.access_log not in {"-", "off"}:
        wanted.append(str(Path(outline.access_log).parent))
    wanted += [str(Path(address.path).parent) for address in bound if address.path is not None]
    for path in wanted:
        above, folder = os.path.split(path.rstrip("/"))
        if above in _MAKES:
            made.append((_MAKES[above], literal(folder)))
        else:
            writable.append(path)
    return list(dict.fromkeys(made)), list(dict.fromkeys(writable))


def _notes(outline: Outline, own: argparse.Namespace, files: Sequence[str]) -> Iterator[str]:
    yield f"Made by `hookward unit` {proxy.__version__}."
    if files and outline.user is None:
        yield "The service cannot read the files that its configuration names; systemd does, and hands them over."
        name = f" --name {own.name}" * (own.name != "hookward")
        again = f"hookward unit{' --socket' * own.socket}{name} --config {Path(outline.config or 'FILE').absolute()}"
        yield f"For others make this unit anew: {again}"
    elif files:
        yield f"{outline.user} must be able to read {', '.join(files)}."
    if outline.variables:
        names = ", ".join(outline.variables)
        yield f"Put {names} into /etc/{own.name}/environment (NAME=value), readable by root alone."
    if (files and outline.user is None) or outline.variables or own.socket:
        yield "Credentials and variables are read when the service starts: after a change, restart it."


# -- ``man`` and ``completion``

_MAKER = Path(__file__).resolve().parents[2] / "packaging" / "pages" / "make.py"
_COMPLETION_EXAMPLES = """\
examples:
  hookward completion bash > /usr/share/bash-completion/completions/hookward
  hookward completion zsh  > /usr/share/zsh/vendor-completions/_hookward
  hookward completion fish > /usr/share/fish/vendor_completions.d/hookward.fish
"""


@frozen
class Printer:
    """A command that prints one of some files; ``files`` by the words that ask for them, ``default`` without a word."""

    command: str
    description: str
    word: str
    files: Mapping[str, str]
    default: str | None = None
    epilog: str = ""

    def main(self, argv: Sequence[str], /) -> int:
        """Print one file. Raises FlagError where it is not part of this installation."""
        asked: str = self.build_parser().parse_args(argv).word
        print(_text(self.files[asked]), end="")
        return ExitCode.OK

    def build_parser(self) -> Parser:
        """The parser of the command."""
        parser = Parser(
            prog=f"hookward {self.command}",
            description=self.description,
            epilog=self.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        words = tuple(self.files)
        told = " or ".join([", ".join(words[:-1]), words[-1]])
        nargs = None if self.default is None else "?"
        parser.add_argument("word", metavar=self.word, nargs=nargs, choices=words, default=self.default, help=told)
        return parser


MAN = Printer(
    "man",
    "Print a manual page: hookward man | man -l -",
    "PAGE",
    {"hookward": "hookward.1", "hookward.toml": "hookward.toml.5"},
    default="hookward",
)
COMPLETION = Printer(
    "completion",
    "Print the completion of the command line for a shell.",
    "SHELL",
    {shell: f"hookward.{shell}" for shell in ("bash", "zsh", "fish")},
    epilog=_COMPLETION_EXAMPLES,
)


def _text(name: str) -> str:
    shipped = resources.files("proxy.tools").joinpath("pages", name)
    if shipped.is_file():
        return shipped.read_text("utf-8")
    if not _MAKER.is_file():
        what, mend = "is not part of this installation", "install hookward from a wheel or a package"
        raise FlagError.of(name, what, mend)
    command = [sys.executable, str(_MAKER), name]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603 - our own script
