"""The flags and environment names of the keys, made from the schema; those that no single key has are written here."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.config import kinds
from proxy.config.keys import Key
from proxy.config.schema import FLAG_ROUTE, SECTIONS
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
        """The name in argparse's namespace."""
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
