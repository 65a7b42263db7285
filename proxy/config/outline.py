"""What a configuration asks of its host: ports, files, folders. Read without opening any secret, certificate or list.

For whoever prepares the host (a unit, a package) and may not see the secrets yet.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping

from proxy.config.endpoints import ListenAddress
from proxy.config.handed_over import named_files, references
from proxy.config.load import load_tree
from proxy.config.problems import Problems
from proxy.config.tree import Entry
from proxy.values import frozen


@frozen
class Outline:
    """The needs of one configuration. Paths as they were written, relative ones to the file that names them."""

    config: str | None
    listen: tuple[ListenAddress, ...]
    others: tuple[ListenAddress, ...]  # of plain TCP forwards, of the admin listener and the console
    workers: int | str
    user: str | None
    group: str | None
    drain_s: float
    access_log: str
    state_dir: str | None
    secret_files: tuple[str, ...]  # of the file; those that are flags are not in it
    key_files: tuple[str, ...]  # certificates and keys of the file, likewise
    variables: tuple[str, ...]  # that hold secrets


def load_outline(namespace: argparse.Namespace, environ: Mapping[str, str]) -> Outline:
    """The outline of parsed flags. Raises FlagError or ConfigError where they, or the file, cannot be understood."""
    problems = Problems()
    tree, path = load_tree(namespace, environ, problems)
    problems.raise_if_any()
    forwards = [table.get("listen", ListenAddress) for table in tree.named("tcp").values()]
    own = [tree.get("admin", ListenAddress)]
    own += [tree.table("console").get("listen", ListenAddress)] if "console" in tree else []
    workers = tree.get("workers", object)
    referred = [str(entry.value) for _, _, entry in references(tree)]
    named = [one for one in named_files(tree) if _is_in(path, one.entry)]
    # A flag and a variable are their own place; what is in the file is placed there.
    return Outline(
        config=path,
        listen=tree.items("listen", ListenAddress),
        others=tuple(one for one in [*forwards, *own] if one is not None),
        workers=workers if isinstance(workers, int | str) else 1,
        user=tree.get("user", str),
        group=tree.get("group", str),
        drain_s=tree.need("drain", float),
        access_log=tree.need("access_log", str),
        state_dir=tree.file("state_dir"),
        secret_files=_once(one.path for one in named if one.is_secret),
        key_files=_once(one.path for one in named if not one.is_secret),
        variables=_once(value[4:] for value in referred if value[:4] == "env:"),
    )


def _is_in(path: str | None, entry: Entry) -> bool:
    return path is not None and entry.place.file == path


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
