"""``--secret-file`` and ``--secret-env`` of the commands that need a secret: by reference, never by value."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from proxy.config.secret_files import read_reference
from proxy.core.schemes import Provider, decode_secret
from proxy.errors import ConfigError, Mistake, Problem


def add_secret_flags(parser: argparse.ArgumentParser) -> None:
    """Add both to ``parser``; exactly one of them must be given."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--secret-file", metavar="PATH", help="a file with the secret, as the provider shows it")
    group.add_argument("--secret-env", metavar="NAME", help="the name of a variable with it")


def read_secret(arguments: argparse.Namespace, provider: Provider, environ: Mapping[str, str]) -> bytes:
    """The decoded secret of ``provider``. ConfigError, which shows nothing of it, where there is none."""
    if arguments.secret_file is not None:
        where, reference = "--secret-file", f"file:{arguments.secret_file}"
    else:
        where, reference = "--secret-env", f"env:{arguments.secret_env}"
    try:
        return decode_secret(provider, read_reference(reference, "", environ).value)
    except Mistake as mistake:
        raise ConfigError([Problem(where, mistake.what, mistake.mend)]) from None
