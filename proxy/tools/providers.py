"""``providers``: every sender that is known by name, as a table of 80 columns, a page each, or JSON, made from the
catalogue itself; and ``gen-secret``: a new secret of the form and length that a provider takes.

It comes from the operating system's generator. A file is never overwritten: the secret in use would be lost. What root
makes is readable by the group of its folder (0640), so that a service of that group reads it and does not own it.
"""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import secrets
import stat
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from proxy.config.guarded_files import folder_of, make_folder, open_for_writing, reach
from proxy.config.guards import algorithm, slug_of, token_place
from proxy.config.host import ExitCode, Paint, failed, find_group, find_user
from proxy.config.parsers import Parser
from proxy.config.problems import suggestion
from proxy.core.schemes import ALIASES, PROVIDERS, Provider, find
from proxy.core.signing.proof import TokenKind, needs_public_keys
from proxy.core.signing.scheme import Method, Scheme, SecretForm
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
    slug, otherwise = slug_of(name)[:64], "`hookward providers` lists those that are known"
    mend = suggestion(slug, [*PROVIDERS, *ALIASES], otherwise=otherwise)
    raise FlagError.of("PROVIDER", f"there is no provider {name[:64]!r}", mend)


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(prog="hookward providers", description="List the providers that are known by name.")
    told = "tell of this one; or list those whose name, title or header has the word"
    parser.add_argument("word", metavar="NAME", nargs="*", help=told)
    parser.add_argument("--json", action="store_true", help="as a JSON list, with all that is known of each")
    return parser


def row_of(provider: Provider) -> Row:
    """A provider in words."""
    scheme = provider.scheme
    header, how, signed = _place(provider), "token", "nothing: a token proves the sender alone"
    if scheme is not None:
        header, how, signed = _header(scheme), algorithm(scheme), scheme.signed
        how += f" {scheme.encoding.value}" if scheme.method is Method.HMAC else ""
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
    begin, indent = f"  {label:{_PAGE_LABEL}}", " " * (_PAGE_LABEL + 2)
    wrapper = textwrap.TextWrapper(COLUMNS, begin, indent, break_on_hyphens=False)
    wrapper.break_long_words = label != "documents"
    return wrapper.wrap(text)


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


# -- ``gen-secret``

#: As long as the output of SHA-256: RFC 2104 section 3 asks for no less, and more adds nothing.
SECRET_BYTES = 32
#: What stands before a secret that is written in base64; the others are hex digits.
_BASE64 = {SecretForm.WHSEC: "whsec_", SecretForm.WHSEC_OR_RAW: "whsec_", SecretForm.BASE64: ""}


class GenSecret:
    """``gen-secret``: a new secret, on standard output or in a file."""

    def main(self, argv: Sequence[str], /) -> int:
        """Print a new secret, or write it into a new file."""
        arguments = self.build_parser().parse_args(argv)
        provider = None if arguments.provider is None else provider_named(arguments.provider)
        try:
            text = make_secret(provider)
            if arguments.out is None:
                print(text)
            else:
                said = write_secret(arguments.out, text, Owners.named(arguments.owner, arguments.group))
                print(f"a new secret is in {arguments.out} ({said})", file=sys.stderr)
        except ValueError as error:
            return failed("gen-secret", error)
        if provider is not None and not provider.chosen:
            print(f"note: {issued(provider)}; this one is for trying things out", file=sys.stderr)
        return ExitCode.OK

    def build_parser(self) -> Parser:
        """The parser of the command."""
        parser = Parser(prog="hookward gen-secret", description="Make a new secret of the right form and length.")
        add = parser.add_argument
        add("provider", metavar="PROVIDER", nargs="?", help="the provider it is for; without one, 64 hex characters")
        add("--out", metavar="FILE", help="write it into a new file, not to standard output")
        add("--owner", metavar="USER", help="the owner of the file")
        add("--group", metavar="GROUP", help="the group that may read it (mode 0640); of what root makes, the folder's")
        return parser


@frozen
class Owners:
    """Whose a file is to be, by number; -1 is what it would be anyhow. ``chosen``: a group was named."""

    uid: int = -1
    gid: int = -1
    chosen: bool = False

    @classmethod
    def named(cls, owner: str | None, group: str | None) -> Owners:
        """The owners of these names or numbers. ConfigError where the host has none such."""
        uid = -1 if owner is None else find_user(owner, "--owner").pw_uid
        return cls(uid, -1 if group is None else find_group(group, "--group"), group is not None)


def issued(provider: Provider) -> str:
    """Where the secret of a provider comes from that makes its own."""
    return f"{provider.title} makes the secret itself: copy it from there (see {provider.docs})"


def make_secret(provider: Provider | None) -> str:
    """A new secret, as it is entered at ``provider``. ValueError where it is not ours to make."""
    scheme = provider.scheme if provider is not None else None
    if provider is not None and provider.token is not None and provider.token.kind is TokenKind.BASIC:
        return f"hookward:{secrets.token_hex(SECRET_BYTES)}"
    if provider is None or scheme is None:
        return secrets.token_hex(SECRET_BYTES)
    if needs_public_keys(scheme):
        raise ValueError(f"{provider.title} signs with a private key: copy its public key from {provider.docs}")
    if scheme.two_part:
        raise ValueError(f"{provider.title} gives both parts of the secret: copy them as first:second")
    prefix = _BASE64.get(scheme.secret)
    if prefix is not None:
        return prefix + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")
    return secrets.token_hex(SECRET_BYTES)


def write_secret(path: str, text: str, owners: Owners | None = None) -> str:
    """Write a secret into a new file, and say its mode and owners. ValueError, with what to do, if it cannot."""
    owners = owners or Owners()
    try:
        _make_folder(folder_of(path), owners)
        descriptor = open_for_writing(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            _give(path, descriptor, owners)
            file.write(text)
            status = os.fstat(descriptor)
    except FileExistsError:
        raise ValueError(f"{path} is there already: name a new file, and keep both secrets") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None
    return f"{_name_of(status)}, mode {stat.S_IMODE(status.st_mode):04o}"


def _make_folder(folder: str, owners: Owners) -> None:
    """Make the folder of a secret, closed to others, and passable for the group that is to read it."""
    if not folder or Path(folder).exists():
        return
    make_folder(folder)
    if owners.chosen:
        with reach(folder) as spot:
            descriptor = spot.open(os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fchown(descriptor, -1, owners.gid)
                os.fchmod(descriptor, 0o750)
            finally:
                os.close(descriptor)


def _give(path: str, descriptor: int, owners: Owners) -> None:
    """Give the new, empty file to its owner and group, and let the group read it where that is meant."""
    gid = owners.gid
    if not owners.chosen and os.geteuid() == 0 and owners.uid == -1:
        with reach(path) as spot:
            gid = os.fstat(spot.folder).st_gid
    if (owners.uid, gid) != (-1, -1):
        os.fchown(descriptor, owners.uid, gid)
    if gid != -1:
        os.fchmod(descriptor, 0o640)


def _name_of(status: os.stat_result) -> str:
    """``root:hookward``; numbers where there are no names."""
    owner, group = str(status.st_uid), str(status.st_gid)
    with suppress(KeyError):
        owner = pwd.getpwuid(status.st_uid).pw_name
    with suppress(KeyError):
        group = grp.getgrgid(status.st_gid).gr_name
    return f"{owner}:{group}"
