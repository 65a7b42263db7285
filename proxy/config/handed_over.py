"""Files that systemd hands over as credentials, in the place of those that the configuration names.

A service that has a user made for it reads no file of root's; systemd reads them, and puts copies into the folder of
the service's credentials. A copy is found by the path that the configuration has, so that one file serves the service
and whoever checks it by hand. `hookward unit` writes the names.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from proxy.config import kinds
from proxy.config.guarded_files import beside
from proxy.config.kinds import STORE_URL
from proxy.config.tree import Entry, Table
from proxy.errors import Path as KeyPath
from proxy.values import frozen

VARIABLE = "CREDENTIALS_DIRECTORY"
#: The kinds of keys whose value may be a reference.
_REFERENCES = (kinds.REFERENCE, STORE_URL)
_OTHER = re.compile(r"[^A-Za-z0-9._-]")
#: Of the tables with certificates: what a service must have a copy of.
_KEY_FILES = {"tls": ("cert", "key"), "upstream_tls": ("cert", "key")}


@frozen
class NamedFile:
    """A file that ``entry`` of ``table`` names; ``path`` is whole. ``is_secret``: the key takes references."""

    table: Table
    name: str
    entry: Entry
    path: str
    is_secret: bool


def credential_name(path: str) -> str:
    """A file's credential: ``github.secret-6f1c09d2a4b7e835``. No two paths have one, lest routes share a secret."""
    whole = os.path.abspath(path)  # noqa: PTH100  # links stay
    digest = hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{_OTHER.sub('_', whole.rpartition('/')[2])[-200:]}-{digest}"


def references(tree: Table) -> Iterator[tuple[Table, str, Entry]]:
    """Where a tree may refer to a secret: a table, the name of the key in it, and its entry."""
    for table in _tables(tree):
        for name, entry in list(table.entries.items()):
            key = table.section.key(name)
            if key is not None and key.kind in _REFERENCES:
                yield table, name, entry


def named_files(tree: Table) -> Iterator[NamedFile]:
    """The secrets, certificates and private keys that a tree names as files."""
    for table, name, entry in references(tree):
        value = str(entry.value)
        if value.startswith("file:"):
            yield NamedFile(table, name, entry, beside(entry.base, value[5:]), is_secret=True)
    for table in _tables(tree):
        for name in _KEY_FILES.get(_section(table.path), ()):
            if name in table:
                entry = table.entries[name]
                yield NamedFile(table, name, entry, beside(entry.base, str(entry.value)), is_secret=False)


def use_credentials(tree: Table, environ: Mapping[str, str]) -> None:
    """Put what systemd has handed over into the place of the files that are named. A file without a copy stays."""
    folder = environ.get(VARIABLE, "")
    if not folder:
        return
    for one in named_files(tree):
        copy = credential_name(one.path)
        if Path(folder, copy).exists():
            value = f"cred:{copy}" if one.is_secret else f"{folder}/{copy}"
            one.table.entries[one.name] = Entry(value, one.entry.place, "")


def _tables(table: Table) -> Iterator[Table]:
    yield table
    for entry in table.entries.values():
        inner = entry.value
        below = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else [inner]
        for one in below:
            if isinstance(one, Table):
                yield from _tables(one)


def _section(path: KeyPath) -> str:
    """The last word of a path: "tls" of ``tls[0]``."""
    words = [part for part in path if isinstance(part, str)]
    return words[-1] if words else ""
