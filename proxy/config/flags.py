"""Flags and environment names, both made from the schema, as trees that lie over the file's.

A wrong flag is a :exc:`FlagError` (exit status 64, sysexits EX_USAGE); a wrong environment variable is a problem of
the configuration (78). No flag takes a secret's value, because every user of a host can read the arguments of every
process; whoever tries is told so without a copy of what was typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from types import SimpleNamespace

from proxy.config import kinds
from proxy.config.keys import Key
from proxy.config.parse import read_value
from proxy.config.problems import Problems, nearest, suggestion
from proxy.config.schema import FLAG_ROUTE, SECTIONS
from proxy.config.secret_files import may_be_shown
from proxy.config.tree import Table
from proxy.errors import FlagError, Mistake, Path, Place, Problem
from proxy.values import frozen

ENVIRONMENT_PREFIX = "HOOKWARD_"


@frozen
class Flag:
    """A flag and its environment name. ``path`` is the key it sets; ``prefix`` is put before its text."""

    name: str  # without "--"
    path: Path
    key: Key
    group: str
    prefix: str = ""
    metavar: str = ""

    @property
    def option(self) -> str:
        """As it is typed."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The environment name."""
        return ENVIRONMENT_PREFIX + self.name.upper().replace("-", "_")

    @property
    def attribute(self) -> str:
        """The name among the words of a command line (``flags.Words``)."""
        return self.name.replace("-", "_")

    @property
    def many(self) -> bool:
        """Whether it may be given several times."""
        return self.key.many or self.key.repeat

    @property
    def of_route(self) -> bool:
        """Whether it speaks of the route that flags make."""
        return self.path[:2] == ("route", FLAG_ROUTE)


#: Section -> the path of its table, and the group of its flags in the help.
_TABLES: Mapping[str, tuple[Path, str]] = {
    "": ((), "process"),
    "tls": (("tls", 0), "TLS"),
    "upstream_tls": (("upstream_tls",), "TLS"),
    "limits": (("limits",), "limits"),
    "duplicates": (("duplicates",), "process"),
    "console": (("console",), "process"),
    "route": (("route", FLAG_ROUTE), "route"),
    "token": (("route", FLAG_ROUTE, "token"), "route"),
}


def _reference(name: str, doc: str, *path: str) -> Flag:
    """Secrets come by reference, and a flag's text is the reference without its prefix."""
    prefix, metavar = ("env:", "NAME") if name.endswith("-env") else ("file:", "PATH")
    many = path[-1] == "secrets"
    key = Key("from" if many else path[-1], kinds.REFERENCE, doc, repeat=many)
    return Flag(name, ("route", FLAG_ROUTE, *path), key, "route", prefix, metavar)


_TCP_PAIR = Key("tcp", kinds.TCP_PAIR, "Forward plain TCP: 0.0.0.0:2222=127.0.0.1:22.", repeat=True)
_TCP = Flag("tcp", ("tcp",), _TCP_PAIR, "process", metavar="LISTEN=UPSTREAM")
FLAGS: tuple[Flag, ...] = (
    *(
        Flag(key.flag, (*prefix, key.name), key, group)
        for section, (prefix, group) in _TABLES.items()
        for key in SECTIONS[section].keys
        if key.flag
    ),
    _reference("secret-file", "A file with a secret of the provider.", "secrets"),
    _reference("secret-env", "The NAME of a variable with a secret of the provider.", "secrets"),
    _reference("token-file", "A file with the token.", "token", "secrets"),
    _reference("token-env", "The NAME of a variable with the token.", "token", "secrets"),
    _reference("verify-token-file", "A file with the token of the provider's endpoint check.", "verify_token"),
    _TCP,
)
#: What a basic string of TOML must not have as it is: quotes, backslashes, controls.
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
#: A flag and its text, as typed; "true" for a flag without a value.
Given = tuple[Flag, str]


def _by_route(given: Sequence[Given]) -> dict[str, list[Given]]:
    """The flags of each route by its name: one begins where a flag comes again that takes one value."""
    groups: list[list[Given]] = [[]]
    for flag, text in given:
        if not flag.of_route:
            continue
        if not flag.many and any(other is flag for other, _ in groups[-1]):
            groups.append([])
        groups[-1].append((flag, text))
    routes: dict[str, list[Given]] = {}
    for number, group in enumerate(groups, 1):
        name = _name(group) or f"route-{number}"
        routes[name if name not in routes else f"{name}-{number}"] = group
    return routes


def as_file(given: Sequence[Given]) -> str:
    """The text of the file that says what flags say, maybe of several routes, with a newline at its end."""
    top = [one for one in given if not one[0].of_route]
    lines = _keys([one for one in top if len(one[0].path) == 1 and one[0] is not _TCP])
    for title in dict.fromkeys(flag.path[0] for flag, _ in top if len(flag.path) > 1):
        lines += ["", f"[{title}]", *_keys([one for one in top if one[0].path[0] == title])]
    for number, text in enumerate((text for flag, text in top if flag is _TCP), 1):
        lines += _forward(number, text)
    for name, group in _by_route(given).items():
        lines += ["", f"[route.{name}]", *_route(group)]
    return "\n".join(lines).strip() + "\n"


def _forward(number: int, text: str) -> list[str]:
    [name, listen, upstream] = ["", "", "", *text.split("=", 2)][-3:]
    return ["", f"[tcp.{name or f'tcp-{number}'}]", f"listen = {quoted(listen)}", f"upstream = {quoted(upstream)}"]


def _route(group: Sequence[Given]) -> list[str]:
    token = _keys([one for one in group if _of_token(one[0].path)])
    rest = _keys([one for one in group if not _of_token(one[0].path)])
    return [*rest, f"token = {{ {', '.join(token)} }}"] if token else rest


def quoted(text: str) -> str:
    """``text`` as TOML has it, in quotes."""
    return f'"{_ESCAPED.sub(lambda match: f"{chr(92)}u{ord(match[0]):04x}", text)}"'


def _keys(given: Sequence[Given]) -> list[str]:
    """One line for each key, with all its values."""
    values: dict[str, tuple[Flag, list[str]]] = {}
    for flag, text in given:
        values.setdefault(str(flag.path[-1]), (flag, []))[1].append(_value(flag, text))
    return [
        f"{key} = [{', '.join(texts)}]" if flag.many else f"{key} = {texts[-1]}"
        for key, (flag, texts) in values.items()
    ]


def _value(flag: Flag, text: str) -> str:
    plain = flag.key.kind is kinds.BOOL or (flag.key.kind in {kinds.COUNT, kinds.WORKERS} and text.isdecimal())
    if flag.prefix and not may_be_shown(flag.prefix + text):
        return quoted(flag.prefix + "...")
    return text if plain else quoted(flag.prefix + text)


def _of_token(path: Path) -> bool:
    return len(path) > 3 and path[2] == "token"


def _name(group: Sequence[Given]) -> str:
    """The provider, else the last part of the path, of what a name of a table may have."""
    words = {flag.name: text for flag, text in group}
    word = words.get("provider") or words.get("path", "").strip("/").rpartition("/")[2]
    return "".join(char for char in word.lower() if char.isascii() and (char.isalnum() or char in "_-"))[:64]


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
    if len(rest) > 1 or not (word.endswith(".toml") or FilePath(word).exists()):
        what = "a word belongs to no flag, and is no file of a configuration"
        mend = "name one file (--config FILE); see --help for the flags and commands"
        raise FlagError.of("command line", what, mend)
    if namespace.config not in {None, word}:
        raise FlagError.of("--config", "two files are named, and one is read", "leave one of them out")
    namespace.config = word


def refuse_flags(rest: Sequence[str]) -> None:
    """FlagError for what is written as a flag among words that no flag took."""
    unknown = [word.partition("=")[0] for word in rest if word.startswith("-") and len(word) > 1]
    mends = [suggestion(option, _KNOWN, otherwise="see --help for the flags") for option in unknown]
    if unknown:
        raise FlagError(Problem(one[:40], "unknown flag", mend) for one, mend in zip(unknown, mends, strict=True))


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
        file = as_file(namespace.given).replace("\n", "\n    ").rstrip()
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
        for key, end in zip(("listen", "upstream"), pair[1:], strict=True):
            tree.put(("tcp", pair[0] or f"tcp-{number}", key), end, place)
