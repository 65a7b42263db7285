"""``gen-secret``: a new secret of the form and length that a provider takes, on standard output or in a file.

It comes from the operating system's generator. A file is made with mode 0600 and never overwritten: the secret in use
would be lost.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
from collections.abc import Sequence

from proxy.config.commandline import ExitCode, Parser
from proxy.core.schemes import Provider
from proxy.core.signing.extras import needs_public_keys
from proxy.core.signing.scheme import SecretForm
from proxy.core.tokens import TokenKind
from proxy.tools.providers import provider_named

#: As long as the output of SHA-256: RFC 2104 section 3 asks for no less, and more adds nothing.
SECRET_BYTES = 32


def main(argv: Sequence[str]) -> int:
    """Print a new secret, or write it into a new file."""
    arguments = build_parser().parse_args(argv)
    provider = None if arguments.provider is None else provider_named(arguments.provider)
    try:
        text = make_secret(provider)
    except ValueError as error:
        print(f"hookward gen-secret: {error}", file=sys.stderr)
        return ExitCode.FAILED
    if arguments.out is not None:
        return _write(arguments.out, text)
    print(text)
    return ExitCode.OK


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(prog="hookward gen-secret", description="Make a new secret of the right form and length.")
    parser.add_argument(
        "provider", metavar="PROVIDER", nargs="?", help="the provider it is for; without one, 64 hex characters"
    )
    parser.add_argument("--out", metavar="FILE", help="write it into a new file with mode 0600, not to standard output")
    return parser


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
    if scheme.secret in (SecretForm.WHSEC, SecretForm.WHSEC_OR_RAW):
        return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")
    if scheme.secret is SecretForm.BASE64:
        return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")
    return secrets.token_hex(SECRET_BYTES)


def _write(path: str, text: str) -> int:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        print(f"hookward gen-secret: {path} is there already: name a new file, and keep both secrets", file=sys.stderr)
        return ExitCode.FAILED
    except OSError as error:
        print(f"hookward gen-secret: {path} cannot be written: {error.strerror}", file=sys.stderr)
        return ExitCode.FAILED
    print(f"a new secret is in {path} (mode 0600)", file=sys.stderr)
    return ExitCode.OK
