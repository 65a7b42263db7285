"""The parsers of command lines: of ``run`` and the commands that take its flags, and of all others.

They are imported where words must be parsed or help is shown; a service that is started by a file alone has no use for
them, and ``argparse`` is a fiftieth of the memory of one.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from proxy.config import kinds
from proxy.config.flags import CONFIG_VARIABLE, FLAGS, Flag, Words
from proxy.config.host import ExitCode
from proxy.errors import FlagError

#: Flags that would carry a secret's value, and where the value belongs instead.
_REFUSED = {
    "--secret": "--secret-file PATH or --secret-env NAME",
    "--secrets": "--secret-file PATH or --secret-env NAME",
    "--token": "--token-file PATH or --token-env NAME, with --token-query or --token-header",
    "--password": "--token-basic with --token-file PATH",
    "--verify-token": "--verify-token-file PATH",
}
#: A search word that must not hold: of a key, a bound, or a text in quotes.
_NEGATED = re.compile(r'-(?:[A-Za-z_]+:|(?:size)?[<>]|")', re.IGNORECASE)
#: The groups of the flags of ``run``, in the order of the help: those of a route first.
GROUPS = tuple(sorted(dict.fromkeys(flag.group for flag in FLAGS), key=lambda group: group != "route"))


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that exits with 64 (argparse's own 2 means nothing to an init system)."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to get help, then exit with 64."""
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n    see {self.prog} --help\n")


class SearchParser(Parser):
    """Of a command that takes search words (``core.search``) as ``words``, and those that must not hold."""

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """What the words say. One such as ``-status:2xx`` is no flag, and none is after ``--``."""
        end = argv.index("--") if "--" in argv else len(argv)
        flags, negated = [], []
        for word in argv[:end]:
            if _NEGATED.match(word) is None:
                flags.append(word)
            elif flags[-1:] == ["--search"]:
                flags[-1] += f"={word}"
            else:
                negated.append(word)
        arguments = self.parse_intermixed_args(flags)
        arguments.words += [*negated, *argv[end + 1 :]]
        return arguments


class RunParser(argparse.ArgumentParser):
    """An argument parser that raises FlagError instead of leaving, and does not guess abbreviations."""

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]  # argparse's own parameters

    def asked(self, argv: Sequence[str]) -> str | None:
        """The help that the words ask for: with ``--help`` of the command's own flags, with ``--help-all`` of all."""
        if "--help-all" in argv:
            if not any(group.title in GROUPS for group in self._action_groups):
                add_run_flags(self)
            return self.format_help()
        if not {"-h", "--help"} & set(argv):
            return None
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, [], [])
        formatter.add_text(self.description)
        for group in self._action_groups:
            if group.title not in GROUPS:
                formatter.start_section(group.title)
                formatter.add_arguments(group._group_actions)  # noqa: SLF001  # argparse prints groups in no other way
                formatter.end_section()
        formatter.add_text(self.epilog)
        return f"{formatter.format_help()}\nIt takes the flags of `run` too: --help-all shows them.\n"

    def error(self, message: str) -> NoReturn:
        """Called by argparse. Its messages quote what was typed where it is unknown; then we say less."""
        match = re.match(r"argument ([^:]+): (.*)", message, re.DOTALL)
        if match is None:
            raise FlagError.of("command line", "cannot be read", "see --help for the flags")
        what = "expects no value" if "ignored explicit argument" in match[2] else match[2]
        raise FlagError.of(match[1].split("/")[-1], what, "see --help for its form")


class _Keep(argparse.Action):
    """Keeps all texts of a flag, in words that are a :class:`Words`."""

    flag: Flag

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: object, values: object, _option: str | None = None
    ) -> None:
        assert isinstance(namespace, Words)
        namespace.keep(self.flag, values if isinstance(values, str) else "true")


class _Once(argparse.Action):
    """Keeps the text of a flag that takes one."""

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) not in {None, values}:
            raise FlagError.of(option or "", "is given twice, and takes one value", "leave one of them out")
        setattr(namespace, self.dest, values)


class _RefuseValue(argparse.Action):
    """An action for flags that must not exist."""

    def __call__(
        self, _parser: argparse.ArgumentParser, _space: argparse.Namespace, _values: object, option: str | None = None
    ) -> NoReturn:
        option = option or ""
        raise FlagError.of(
            option,
            "a secret's value is not taken from the command line, where every user of this host can read it",
            f"use {_REFUSED[option]}; and change the secret, if this was a real one",
        )


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add all flags of the schema, ``--config`` and ``--check-config`` to ``parser``. Values stay texts."""
    config = "the TOML file, which may also be named without the flag"
    parser.add_argument("-c", "--config", action=_Once, metavar="PATH", help=f"{config} [{CONFIG_VARIABLE}]")
    parser.add_argument("-t", "--check-config", action="store_true", help="check the configuration, say it, and leave")
    parser.add_argument("--help-all", action="store_true", help="show every flag")
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for flag in FLAGS:
        text = flag.key.doc.replace("`", "").replace("%", "%%") + f" [{flag.variable}]"
        metavar = flag.metavar or flag.key.name.upper().replace("_", "-")
        nargs = 0 if flag.key.kind is kinds.BOOL else None
        kept = groups[flag.group].add_argument(flag.option, action=_Keep, nargs=nargs, metavar=metavar, help=text)
        assert isinstance(kept, _Keep)
        kept.flag = flag
    for option in _REFUSED:
        parser.add_argument(option, action=_RefuseValue, nargs="?", help=argparse.SUPPRESS)


def parse_known_flags(argv: Sequence[str]) -> tuple[Words, list[str]]:
    """The flags of ``run``, and the words that none of them took. Raises FlagError."""
    # Its help is never shown: a formatter of its own width does not ask ``shutil`` for that of the terminal.
    parser = RunParser(prog="hookward", add_help=False, formatter_class=partial(argparse.HelpFormatter, width=80))
    add_run_flags(parser)
    return parser.parse_known_args(list(argv), Words())
