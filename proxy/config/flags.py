"""Flags and environment names, both made from the schema, as trees that lie over the file's.

A wrong flag is a :exc:`FlagError` (exit status 64, sysexits EX_USAGE); a wrong environment variable is a problem of
the configuration (78). No flag takes a secret's value, because every user of a host can read the arguments of every
process; whoever tries is told so without a copy of what was typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

from proxy.config.flag_names import ENVIRONMENT_PREFIX, FLAGS, Flag, Given, as_file, one_route_each
from proxy.config.parse import read_value
from proxy.config.problems import Problems, nearest, suggestion
from proxy.config.tree import Table
from proxy.errors import FlagError, Mistake, Place, Problem

_KNOWN = [flag.option for flag in FLAGS] + ["--config", "--check-config", "--help", "--help-all"]
#: What Kubernetes puts into the environment of every container when a service is called "hookward".
_KUBERNETES = re.compile(r"HOOKWARD_(?:PORT(?:_[0-9]+_.*)?|SERVICE_.*)")
#: Chooses the event loop before anything is loaded; a setting of tests, not of operators.
_LOOP_VARIABLE = ENVIRONMENT_PREFIX + "LOOP"
CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"


class Words(SimpleNamespace):
    """What a command line says: the file, and by ``Flag.attribute`` the texts of each flag, in the order they came.

    ``given`` has all flags with their texts in that order. What was not given is None, or not there.
    """

    config: str | None = None
    check_config = False
    given: tuple[Given, ...] = ()

    def keep(self, flag: Flag, text: str) -> None:
        """Take one more text of a flag."""
        setattr(self, flag.attribute, [*(getattr(self, flag.attribute, None) or ()), text])
        self.given = (*self.given, (flag, text))


def take_file(namespace: Words, rest: Sequence[str]) -> None:
    """Take the one word that no flag took for the file of the configuration. FlagError for all else that is in
    ``rest``. Words are not repeated: one may be a secret behind a misspelt flag.
    """
    refuse_flags(rest)
    word = rest[0] if rest else None
    if word is None:
        return
    if len(rest) > 1 or not (word.endswith(".toml") or Path(word).exists()):
        what = "a word belongs to no flag, and is no file of a configuration"
        mend = "name one file (--config FILE); see --help for the flags and commands"
        raise FlagError.of("command line", what, mend)
    if namespace.config not in {None, word}:
        raise FlagError.of("--config", "two files are named, and one is read", "leave one of them out")
    namespace.config = word


def refuse_flags(rest: Sequence[str]) -> None:
    """FlagError for what is written as a flag among words that no flag took."""
    problems = [_unknown(word.partition("=")[0]) for word in rest if word.startswith("-") and len(word) > 1]
    if problems:
        raise FlagError(problems)


def _unknown(option: str) -> Problem:
    return Problem(option[:40], "unknown flag", suggestion(option, _KNOWN, otherwise="see --help for the flags"))


def flag_tree(namespace: Words, problems: Problems) -> Table:
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


def _refuse_repeated(namespace: Words, problems: Problems) -> None:
    """Of two values the last one would win in silence, and its route would take the secrets of both."""
    twice = [flag for flag in FLAGS if not flag.many and len(set(getattr(namespace, flag.attribute, None) or ())) > 1]
    routes = [flag for flag in twice if flag.of_route]
    for flag in twice:
        if not flag.of_route:
            problems.add(Place.of(flag.option), "is given twice, and takes one value", "leave one of them out")
    if routes:
        names = ", ".join(flag.option for flag in routes)
        file = as_file(one_route_each(namespace.given)).replace("\n", "\n    ").rstrip()
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
