"""``providers``: every sender that is known by name, as a table or as JSON, made from the catalogue itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from proxy.config.commandline import ExitCode, Paint, Parser
from proxy.config.flags import FlagError
from proxy.config.problems import suggestion
from proxy.config.words import algorithm, token_place
from proxy.core.schemes import ALIASES, PROVIDERS, Provider, find
from proxy.core.signing.scheme import Method, Scheme
from proxy.errors import Problem

#: Longer cells are cut in the table; JSON has them whole.
MAX_CELL = 56
#: key of the JSON -> heading of the table
COLUMNS = {
    "provider": "PROVIDER",
    "header": "HEADER",
    "algorithm": "ALGORITHM",
    "signed": "SIGNED",
    "window": "WINDOW",
    "handshake": "HANDSHAKE",
    "addresses": "ADDRESSES",
    "docs": "DOCUMENTED AT",
}


def main(argv: Sequence[str]) -> int:
    """Print the providers whose name contains one of the words, or all. 1 if a word fits none."""
    arguments = build_parser().parse_args(argv)
    words = [word.lower().replace("-", "_") for word in arguments.word]
    chosen = [p for p in PROVIDERS.values() if not words or any(word in p.slug for word in words)]
    if arguments.json:
        print(json.dumps([_row(p) | {"title": p.title, "note": p.advice} for p in chosen], indent=2))
    elif chosen:
        _print_table([_row(provider) for provider in chosen], Paint.on(sys.stdout))
        # Below a list of all, a hundred notes would go unread.
        for provider in chosen if words else ():
            if provider.advice:
                print(f"\n{provider.slug}: {provider.advice}")
    else:
        print(f"no provider's name contains {' or '.join(words)}; hookward providers lists all", file=sys.stderr)
    return ExitCode.OK if chosen else ExitCode.FAILED


def provider_named(name: str) -> Provider:
    """The provider that a command is asked for. FlagError, with the nearest name, where none is known by it."""
    found = find(name)
    if found is not None:
        return found
    slug, otherwise = name.lower().replace("-", "_")[:64], "`hookward providers` lists those that are known"
    mend = suggestion(slug, [*PROVIDERS, *ALIASES], otherwise=otherwise)
    raise FlagError([Problem("PROVIDER", f"there is no provider {name[:64]!r}", mend)])


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(prog="hookward providers", description="List the providers that are known by name.")
    parser.add_argument("word", nargs="*", help="list only those whose name contains one of these")
    parser.add_argument("--json", action="store_true", help="as a JSON list, with titles and notes")
    return parser


def _row(provider: Provider) -> dict[str, str]:
    scheme = provider.scheme
    if scheme is not None:
        header, algorithm, signed = _header(scheme), _how(scheme), scheme.signed
    else:
        header, algorithm, signed = _place(provider), "token", "nothing: a token proves the sender alone"
    return {
        "provider": provider.slug,
        "header": header,
        "algorithm": algorithm,
        "signed": signed.encode("unicode_escape").decode("ascii"),
        "window": _window(scheme),
        "handshake": provider.handshake.request if provider.handshake else "-",
        "addresses": f"set:{provider.address_set}" if provider.address_set else "-",
        "docs": provider.docs,
    }


def _header(scheme: Scheme) -> str:
    return ", ".join(name.decode("ascii") for name in scheme.headers) or "in the body"


def _how(scheme: Scheme) -> str:
    return f"{algorithm(scheme)} {scheme.encoding.value}" if scheme.method is Method.HMAC else algorithm(scheme)


def _place(provider: Provider) -> str:
    return "-" if provider.token is None else token_place(provider.token.kind, provider.token.name)


def _window(scheme: Scheme | None) -> str:
    if scheme is None:
        return "-"
    if scheme.timestamp is not None:
        tolerance_s = scheme.timestamp.tolerance_s
        return "set tolerance" if tolerance_s is None else f"{tolerance_s:g} s"
    if scheme.claims is not None and (scheme.claims.needed or scheme.claims.max_age_s is not None):
        return "claims"
    return "-"


def _cut(row: dict[str, str]) -> dict[str, str]:
    """The row as a table shows it; a link is useless when it is cut."""
    return {k: v if len(v) <= MAX_CELL or k == "docs" else v[: MAX_CELL - 3] + "..." for k, v in row.items()}


def _print_table(whole: list[dict[str, str]], paint: Paint) -> None:
    rows = [_cut(row) for row in whole]
    widths = {key: max(len(title), *(len(row[key]) for row in rows)) for key, title in COLUMNS.items()}
    print(paint("  ".join(title.ljust(widths[key]) for key, title in COLUMNS.items()).rstrip(), "bold"))
    for row in rows:
        cells = [row[key].ljust(widths[key]) for key in COLUMNS]
        cells[0] = paint(cells[0], "cyan")
        print("  ".join(cells).rstrip())
