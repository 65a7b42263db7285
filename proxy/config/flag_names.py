"""The flags and environment names of the keys, made from the schema; those that no single key has are written here.

``as_file`` writes flags as the file that says the same, for the error that asks for one. Texts stand in it as they were
given, and none is judged; a reference that may be a secret by mistake is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from proxy.config import kinds
from proxy.config.keys import Key
from proxy.config.schema import FLAG_ROUTE, SECTIONS
from proxy.config.secret_files import may_be_shown
from proxy.errors import Path
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


_PREFIXES: Mapping[str, Path] = {
    "": (),
    "tls": ("tls", 0),
    "upstream_tls": ("upstream_tls",),
    "limits": ("limits",),
    "duplicates": ("duplicates",),
    "console": ("console",),
    "route": ("route", FLAG_ROUTE),
    "token": ("route", FLAG_ROUTE, "token"),
}
_GROUPS = {
    "": "process",
    "tls": "TLS",
    "upstream_tls": "TLS",
    "limits": "limits",
    "duplicates": "process",
    "console": "process",
    "route": "route",
    "token": "route",
}


def _derived() -> list[Flag]:
    return [
        Flag(key.flag, (*_PREFIXES[section], key.name), key, _GROUPS[section])
        for section in _PREFIXES
        for key in SECTIONS[section].keys
        if key.flag
    ]


def _reference_flags() -> list[Flag]:
    """Secrets come by reference, and a flag's text is the reference without its prefix."""
    route: Path = ("route", FLAG_ROUTE)
    file = Key("from", kinds.REFERENCE, "A file with a secret of the provider.", repeat=True)
    variable = Key("from", kinds.REFERENCE, "The NAME of a variable with a secret of the provider.", repeat=True)
    token_file = Key("from", kinds.REFERENCE, "A file with the token.", repeat=True)
    token_variable = Key("from", kinds.REFERENCE, "The NAME of a variable with the token.", repeat=True)
    verify = Key("verify_token", kinds.REFERENCE, "A file with the token of the provider's endpoint check.")
    return [
        Flag("secret-file", (*route, "secrets"), file, "route", prefix="file:", metavar="PATH"),
        Flag("secret-env", (*route, "secrets"), variable, "route", prefix="env:", metavar="NAME"),
        Flag("token-file", (*route, "token", "secrets"), token_file, "route", prefix="file:", metavar="PATH"),
        Flag("token-env", (*route, "token", "secrets"), token_variable, "route", prefix="env:", metavar="NAME"),
        Flag("verify-token-file", (*route, "verify_token"), verify, "route", prefix="file:", metavar="PATH"),
    ]


_TCP_FLAG = Flag(
    "tcp",
    ("tcp",),
    Key("tcp", kinds.TCP_PAIR, "Forward plain TCP: 0.0.0.0:2222=127.0.0.1:22.", repeat=True),
    "process",
    metavar="LISTEN=UPSTREAM",
)
FLAGS: tuple[Flag, ...] = (*_derived(), *_reference_flags(), _TCP_FLAG)


#: What a basic string of TOML must not have as it is: quotes, backslashes, controls.
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_TCP = next(flag for flag in FLAGS if flag.path == ("tcp",))
#: A flag and its text, as typed; "true" for a flag without a value.
Given = tuple[Flag, str]


@frozen
class Written:
    """What stands at the top, and the flags of each route by its name."""

    top: Sequence[Given]
    routes: dict[str, list[Given]]


def one_route_each(given: Iterable[Given]) -> Written:
    """Flags that speak of several routes, route by route: one begins where a flag comes again that takes one value."""
    given = list(given)
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
    return Written([one for one in given if not one[0].of_route], routes)


def as_file(written: Written) -> str:
    """The text of the file, with a newline at its end."""
    lines = _keys([one for one in written.top if len(one[0].path) == 1 and one[0] is not _TCP])
    for title in dict.fromkeys(flag.path[0] for flag, _ in written.top if len(flag.path) > 1):
        lines += ["", f"[{title}]", *_keys([one for one in written.top if one[0].path[0] == title])]
    for number, text in enumerate((text for flag, text in written.top if flag is _TCP), 1):
        lines += _forward(number, text)
    for name, group in written.routes.items():
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
