"""``gen-secret``: a new secret of the form and length that a provider takes, on standard output or in a file.

It comes from the operating system's generator. A file is never overwritten: the secret in use would be lost. What root
makes is readable by the group of its folder (0640), so that a service of that group reads it and does not own it.
"""

from __future__ import annotations

import base64
import grp
import os
import pwd
import secrets
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from proxy.config.guarded_files import folder_of, make_folder, open_for_writing, reach
from proxy.config.host import ExitCode, failed, find_group, find_user
from proxy.config.parsers import Parser
from proxy.core.schemes import Provider
from proxy.core.signatures import needs_public_keys
from proxy.core.signing.scheme import SecretForm
from proxy.core.tokens import TokenKind
from proxy.tools.providers import provider_named
from proxy.values import frozen

#: As long as the output of SHA-256: RFC 2104 section 3 asks for no less, and more adds nothing.
SECRET_BYTES = 32
#: What stands before a secret that is written in base64; the others are hex digits.
_BASE64 = {SecretForm.WHSEC: "whsec_", SecretForm.WHSEC_OR_RAW: "whsec_", SecretForm.BASE64: ""}


def main(argv: Sequence[str]) -> int:
    """Print a new secret, or write it into a new file."""
    arguments = build_parser().parse_args(argv)
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


def build_parser() -> Parser:
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
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = str(status.st_uid)
    try:
        return f"{owner}:{grp.getgrgid(status.st_gid).gr_name}"
    except KeyError:
        return f"{owner}:{status.st_gid}"
