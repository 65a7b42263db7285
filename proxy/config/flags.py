"""Flags and environment names, both made from the schema, as trees that lie over the file's.

A wrong flag is a :exc:`FlagError` (exit status 64, sysexits EX_USAGE); a wrong environment variable is a problem of
the configuration (78). No flag takes a secret's value, because every user of a host can read the arguments of every
process; whoever tries is told so without a copy of what was typed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from proxy.config import kinds
from proxy.config.flag_names import ENVIRONMENT_PREFIX, FLAGS, Flag, Given, as_file, one_route_each
from proxy.config.parse import read_value
from proxy.config.problems import Problems, nearest, suggestion
from proxy.config.tree import Table
from proxy.errors import HookwardError, Mistake, Place, Problem

#: Flags that would carry a secret's value, and where the value belongs instead.
_REFUSED = {
    "--secret": "--secret-file PATH or --secret-env NAME",
    "--secrets": "--secret-file PATH or --secret-env NAME",
    "--token": "--token-file PATH or --token-env NAME, with --token-query or --token-header",
    "--password": "--token-basic with --token-file PATH",
    "--verify-token": "--verify-token-file PATH",
}
_KNOWN = [flag.option for flag in FLAGS] + ["--config", "--check-config", "--help", "--help-all"]
#: The groups of the flags of ``run``, in the order of the help: those of a route first.
GROUPS = tuple(sorted(dict.fromkeys(flag.group for flag in FLAGS), key=lambda group: group != "route"))
#: What Kubernetes puts into the environment of every container when a service is called "hookward".
_KUBERNETES = re.compile(r"HOOKWARD_(?:PORT(?:_[0-9]+_.*)?|SERVICE_.*)")
#: Chooses the event loop before anything is loaded; a setting of tests, not of operators.
_LOOP_VARIABLE = ENVIRONMENT_PREFIX + "LOOP"
CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"


class FlagError(HookwardError):
    """The command line cannot be used: exit status 64. ``problems`` says all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


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
            raise FlagError([Problem("command line", "cannot be read", "see --help for the flags")])
        what = "expects no value" if "ignored explicit argument" in match[2] else match[2]
        raise FlagError([Problem(match[1].split("/")[-1], what, "see --help for its form")])


class _Keep(argparse.Action):
    """Keeps all texts of a flag, and in which order the flags came (``given``)."""

    flag: Flag

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        _option: str | None = None,
    ) -> None:
        text = values if isinstance(values, str) else "true"
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), text])
        namespace.given = [*getattr(namespace, "given", []), (self.flag, text)]


class _Once(argparse.Action):
    """Keeps the text of a flag that takes one."""

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) not in {None, values}:
            raise FlagError([Problem(option or "", "is given twice, and takes one value", "leave one of them out")])
        setattr(namespace, self.dest, values)


class _RefuseValue(argparse.Action):
    """An action for flags that must not exist."""

    def __call__(
        self, _parser: argparse.ArgumentParser, _space: argparse.Namespace, _values: object, option: str | None = None
    ) -> NoReturn:
        option = option or ""
        raise FlagError(
            [
                Problem(
                    option,
                    "a secret's value is not taken from the command line, where every user of this host can read it",
                    f"use {_REFUSED[option]}; and change the secret, if this was a real one",
                )
            ]
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


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """The namespace of a command line without a command. FlagError names every unknown flag, with a suggestion."""
    # Its help is never shown: a formatter of its own width does not ask ``shutil`` for that of the terminal.
    parser = RunParser(prog="hookward", add_help=False, formatter_class=partial(argparse.HelpFormatter, width=80))
    add_run_flags(parser)
    namespace, rest = parser.parse_known_args(list(argv))
    take_file(namespace, rest)
    return namespace


def take_file(namespace: argparse.Namespace, rest: Sequence[str]) -> None:
    """Take the one word that no flag took for the file of the configuration. FlagError for all else that is in
    ``rest``. Words are not repeated: one may be a secret behind a misspelt flag.
    """
    problems = [_unknown(word.partition("=")[0]) for word in rest if word.startswith("-") and len(word) > 1]
    if problems:
        raise FlagError(problems)
    word = rest[0] if rest else None
    if word is None:
        return
    if len(rest) > 1 or not (word.endswith(".toml") or Path(word).exists()):
        what = "a word belongs to no flag, and is no file of a configuration"
        mend = "name one file (--config FILE); see --help for the flags and commands"
        raise FlagError([Problem("command line", what, mend)])
    if namespace.config not in {None, word}:
        raise FlagError([Problem("--config", "two files are named, and one is read", "leave one of them out")])
    namespace.config = word


def _unknown(option: str) -> Problem:
    return Problem(option[:40], "unknown flag", suggestion(option, _KNOWN, otherwise="see --help for the flags"))


def flag_tree(namespace: argparse.Namespace, problems: Problems) -> Table:
    """The tree of a namespace. FlagError with every value that is wrong; ``problems`` is for what is found later."""
    tree = Table(problems)
    _refuse_repeated(namespace, problems)
    for flag in FLAGS:
        given = getattr(namespace, flag.attribute, None)
        if given is not None:
            _put(tree, flag, given, flag.option)
    if problems.found:
        raise FlagError(problems.found)
    return tree


def _refuse_repeated(namespace: argparse.Namespace, problems: Problems) -> None:
    """Of two values the last one would win in silence, and its route would take the secrets of both."""
    given: list[Given] = getattr(namespace, "given", [])
    twice = [flag for flag in FLAGS if not flag.many and len(set(getattr(namespace, flag.attribute, None) or ())) > 1]
    routes = [flag for flag in twice if flag.of_route]
    for flag in twice:
        if not flag.of_route:
            problems.add(Place.of(flag.option), "is given twice, and takes one value", "leave one of them out")
    if routes:
        names = ", ".join(flag.option for flag in routes)
        file = as_file(one_route_each(given)).replace("\n", "\n    ").rstrip()
        what = "is given twice: flags make one route, and several routes need a file"
        mend = f"write hookward.toml, and start with `--config hookward.toml` alone:\n\n    {file}\n"
        problems.add(Place.of(names), what, mend)


def environment_tree(environ: Mapping[str, str], problems: Problems) -> Table:
    """The tree of ``HOOKWARD_…``. Lists are separated by commas; an empty variable counts as not set."""
    tree = Table(problems)
    for flag in FLAGS:
        text = environ.get(flag.variable, "")
        if text.strip():
            texts = [part.strip() for part in text.split(",")] if flag.many else [text.strip()]
            _put(tree, flag, texts, flag.variable)
    return tree


def unknown_variables(environ: Mapping[str, str], referenced: Iterable[str], problems: Problems) -> None:
    """Judge ``HOOKWARD_…`` names that mean nothing: near to a known one is a problem, else there is a warning.

    A variable that holds a referenced secret may be called what it likes.
    """
    at = len(ENVIRONMENT_PREFIX)
    known = [flag.variable for flag in FLAGS] + [CONFIG_VARIABLE, _LOOP_VARIABLE]
    unknown = {name for name in environ if name.startswith(ENVIRONMENT_PREFIX)} - {*known, *referenced}
    for name in sorted(name for name in unknown if not _KUBERNETES.fullmatch(name)):
        # Without the prefix, which would make everything near to everything.
        near = nearest(name[at:].upper(), [other[at:] for other in known], cutoff=0.7)
        if near:
            mend = f"did you mean {ENVIRONMENT_PREFIX}{near}?"
            problems.add(Place.of(name[:80]), "unknown environment variable", mend)
        else:
            problems.warn("", Place.of(name[:80]), "no setting has this name; it is ignored")


def _put(tree: Table, flag: Flag, texts: list[str], where: str) -> None:
    """Read the texts of one flag into ``tree``."""
    read, place = [], Place.of(where)
    for text in texts:
        try:
            read.append(read_value(flag.key, flag.key.kind.from_text(flag.prefix + text)))
        except Mistake as mistake:
            tree.problems.add_mistake(place, mistake)
            tree.problems.doubt(flag.path)
    if len(read) == len(texts):
        if flag.path == ("tcp",):
            _put_tcp(tree, read, place)
        else:
            _put_values(tree, flag, read, place)


def _put_values(tree: Table, flag: Flag, values: list[object], place: Place) -> None:
    table = tree.reach(flag.path[:-1], place)
    name = str(flag.path[-1])
    key = table.section.key(name)
    if key is None or not key.bare:
        tree.put(flag.path, tuple(values) if flag.key.many else values[-1], place)
        return
    for index, value in enumerate(values, len(table.tables(name))):
        tree.put((*flag.path, index, key.bare), value, place)


def _put_tcp(tree: Table, pairs: list[object], place: Place) -> None:
    for number, pair in enumerate(pairs, 1):
        assert isinstance(pair, tuple)
        name, listen, upstream = pair
        tree.put(("tcp", name or f"tcp-{number}", "listen"), listen, place)
        tree.put(("tcp", name or f"tcp-{number}", "upstream"), upstream, place)
