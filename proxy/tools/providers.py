"""``providers``: every sender that is known by name, as a table of 80 columns, a page each, or JSON.

All of it is made from the catalogue itself.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence

from proxy.config.guards import algorithm, token_place
from proxy.config.host import ExitCode, Paint
from proxy.config.parsers import Parser
from proxy.config.problems import suggestion
from proxy.core.schemes import ALIASES, PROVIDERS, Provider, find
from proxy.core.signatures import needs_public_keys
from proxy.core.signing.scheme import Method, Scheme
from proxy.errors import FlagError
from proxy.values import frozen

#: What a terminal has at least.
COLUMNS = 80
#: heading of the table -> how many columns it has
TABLE = {"PROVIDER": 21, "CALLED": 28, "SECRET": 10, "PROVES": 15}
_PAGE_LABEL = 11


@frozen
class Row:
    """One provider in words. The names of the fields are those of the JSON."""

    provider: str
    title: str
    secret: str  # who makes it: "yours", "theirs" or "public key"
    proves: str
    header: str
    algorithm: str
    signed: str
    window: str
    handshake: str
    addresses: str
    docs: str
    note: str
    events: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    event: str = ""  # where it stands

    def as_json(self) -> dict[str, object]:
        """It as JSON has it."""
        return {name: getattr(self, name) for name in ROW}


ROW = tuple(Row.__annotations__)


def main(argv: Sequence[str]) -> int:
    """Print the providers that fit one of the words, or all; pages where all words are names. 1 where none fits."""
    arguments = build_parser().parse_args(argv)
    chosen = [provider for provider in PROVIDERS.values() if _fits(provider, arguments.word)]
    named = [found for word in arguments.word if (found := find(word)) is not None]
    if not chosen:
        words = " or ".join(arguments.word)
        print(f"no provider's name, title or header contains {words}; hookward providers lists all", file=sys.stderr)
        return ExitCode.FAILED
    if arguments.json:
        print(json.dumps([row_of(provider).as_json() for provider in chosen], indent=2))
    elif named and len(named) == len(arguments.word):
        print("\n\n".join(page(provider) for provider in named))
    else:
        print("\n".join(table([row_of(provider) for provider in chosen], Paint.on(sys.stdout))))
    return ExitCode.OK


def _fits(provider: Provider, words: Sequence[str]) -> bool:
    """Whether a word is in a name of the provider ("-" and "_" are equal), its title or the header that it signs in."""
    names = [provider.slug, *(alias for alias, slug in ALIASES.items() if slug == provider.slug)]
    title = f"{provider.title.lower()}\n{row_of(provider).header}"
    asked = [word.lower() for word in words]
    return not asked or any(
        word in title or any(word.replace("-", "_").replace(" ", "_") in name for name in names) for word in asked
    )


def provider_named(name: str) -> Provider:
    """The provider that a command is asked for. FlagError, with the nearest name, where none is known by it."""
    found = find(name)
    if found is not None:
        return found
    slug, otherwise = name.lower().replace("-", "_")[:64], "`hookward providers` lists those that are known"
    mend = suggestion(slug, [*PROVIDERS, *ALIASES], otherwise=otherwise)
    raise FlagError.of("PROVIDER", f"there is no provider {name[:64]!r}", mend)


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(prog="hookward providers", description="List the providers that are known by name.")
    parser.add_argument(
        "word",
        metavar="NAME",
        nargs="*",
        help="tell of this one; or list those whose name, title or header has the word",
    )
    parser.add_argument("--json", action="store_true", help="as a JSON list, with all that is known of each")
    return parser


def row_of(provider: Provider) -> Row:
    """A provider in words."""
    scheme = provider.scheme
    if scheme is not None:
        header, how, signed = _header(scheme), _how(scheme), scheme.signed
    else:
        header, how, signed = _place(provider), "token", "nothing: a token proves the sender alone"
    return Row(
        provider=provider.slug,
        title=provider.title,
        secret=_secret(provider),
        proves=_proves(scheme),
        header=header,
        algorithm=how,
        signed=signed.encode("unicode_escape").decode("ascii"),
        window=_window(scheme),
        handshake=provider.handshake.request if provider.handshake else "-",
        addresses=f"set:{provider.address_set}" if provider.address_set else "-",
        docs=provider.docs,
        note=provider.advice,
        events=tuple(sorted(provider.events)),
        methods=provider.methods,
        event=_event(provider),
    )


def _event(provider: Provider) -> str:
    if provider.event_header is not None:
        return provider.event_header.decode("ascii")
    return f"{provider.event_place} (in the payload)" if provider.event_place else "-"


def _secret(provider: Provider) -> str:
    if provider.scheme is not None and needs_public_keys(provider.scheme):
        return "public key"
    return "yours" if provider.chosen else "theirs"


def _proves(scheme: Scheme | None) -> str:
    """What of a delivery its proof covers."""
    if scheme is None:
        return "sender alone"
    dated = scheme.claims is not None and bool(scheme.claims.needed or scheme.claims.max_age_s)
    covered = {
        "body": _covers_body(scheme),
        "fields": any(word in scheme.signed for word in ("{field:", "{lines}")),
        "time": scheme.timestamp is not None or dated,
        "URL": scheme.signs_url,
    }
    return ", ".join(word for word, is_so in covered.items() if is_so) or "sender alone"


def _covers_body(scheme: Scheme) -> bool:
    if scheme.claims is not None:
        return scheme.claims.body is not None or scheme.document is not None
    return "{body}" in scheme.signed or "{form}" in scheme.signed


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


def table(rows: Sequence[Row], paint: Paint) -> list[str]:
    """The lines of a table, none longer than a terminal has columns."""
    lines = [paint("  ".join(title.ljust(width) for title, width in TABLE.items()).rstrip(), "bold")]
    for row in rows:
        cells = (row.provider, row.title, row.secret, row.proves)
        shown = [_cell(text, width) for text, width in zip(cells, TABLE.values(), strict=True)]
        lines.append("  ".join([paint(shown[0], "cyan"), *shown[1:]]).rstrip())
    return lines


def _cell(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 3] + "..."


def page(provider: Provider) -> str:
    """All that is known of one provider, and the route that it needs."""
    row = row_of(provider)
    who = {
        "yours": f"you make it (hookward gen-secret {provider.slug}) and enter it there",
        "theirs": "it is made there: copy it into a file",
        "public key": "its public key, which is copied into a file",
    }
    told = {
        "secret": who[row.secret],
        "proves": row.proves,
        "where": row.header,
        "algorithm": row.algorithm,
        "signed": row.signed,
        "window": row.window,
        "handshake": row.handshake,
        "addresses": row.addresses,
        "methods": ", ".join(row.methods),
        "event": row.event,
        "events": ", ".join(row.events) or "-",
        "waits": f"{provider.answer_s:g} s for an answer",
        "documents": row.docs,
    }
    lines = [f"{row.provider}: {row.title}"]
    for label, text in told.items():
        lines += _wrapped(label, text) if text != "-" else []
    if row.note:
        lines += ["", *textwrap.wrap(row.note, COLUMNS)]
    return "\n".join([*lines, "", *_route(provider)])


def _wrapped(label: str, text: str) -> list[str]:
    """A label and its text. A link is useless when it is cut."""
    indent = " " * (_PAGE_LABEL + 2)
    begin = f"  {label:{_PAGE_LABEL}}"
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=label != "documents",
        break_on_hyphens=False,
    )


def _route(provider: Provider) -> list[str]:
    lines = [
        f"    [route.{provider.slug}]",
        f'    path     = "/hooks/{provider.slug}"',
        f'    provider = "{provider.slug}"',
        f'    secrets  = ["file:/etc/hookward/{provider.slug}.secret"]',
    ]
    if provider.scheme is not None and provider.scheme.signs_url:
        lines.append(f'    public_url = "https://hooks.example.com/hooks/{provider.slug}"')
    if provider.scheme is not None and provider.scheme.signs_for_all:
        lines.append('    topics   = ["arn:aws:sns:eu-west-1:123456789012:NAME"]')
    if provider.address_set:
        lines.append(f'    allow    = ["set:{provider.address_set}"]')
    return lines
