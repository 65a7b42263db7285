"""One load: flags over environment over file, then everything is built, and all that is wrong is told at once.

``load`` is what tests and a reload call; a command line with commands parses its flags with ``add_run_flags`` and hands
the namespace to ``load_namespace``. Bad flags are a FlagError (exit status 64), all else a ConfigError (78). What
prepares a host (a unit, a package) and may not see the secrets yet asks for the outline: ports, files, folders.

A service that has a user made for it reads no file of root's; systemd reads them, and puts copies into the folder of
the service's credentials. A copy is found by the path that the configuration has, so that one file serves the service
and whoever checks it by hand. `hookward unit` writes the names.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path as FilePath

from proxy.config import kinds
from proxy.config.agents import of_agent
from proxy.config.build import Build
from proxy.config.flags import CONFIG_VARIABLE, FLAGS, Words, environment_tree, flag_tree, take_file, unknown_variables
from proxy.config.guarded_files import beside, folder_of
from proxy.config.kinds import STORE_URL
from proxy.config.notation import ListenAddress
from proxy.config.parse import parse_text
from proxy.config.problems import Problems
from proxy.config.schema import FLAG_ROUTE
from proxy.config.secret_files import read_bounded
from proxy.config.set_shelf import SetShelf, all_feeds
from proxy.config.settings import Dials, Feed, Loaded
from proxy.config.tree import Entry, Table
from proxy.errors import Path, Place
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
    for one in named_files(tree) if folder else ():
        copy = credential_name(one.path)
        if FilePath(folder, copy).exists():
            value = f"cred:{copy}" if one.is_secret else f"{folder}/{copy}"
            one.table.entries[one.name] = Entry(value, one.entry.place, "")


def _tables(table: Table) -> Iterator[Table]:
    yield table
    for entry in table.entries.values():
        inner = entry.value
        for one in inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else [inner]:
            if isinstance(one, Table):
                yield from _tables(one)


def _section(path: Path) -> str:
    """The last word of a path: "tls" of ``tls[0]``."""
    return next((part for part in reversed(path) if isinstance(part, str)), "")


_MAX_CONFIG_BYTES = 4 * 1024 * 1024


def load(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    generation: int = 1,
    now: float | None = None,
    shelf: SetShelf | None = None,
) -> Loaded:
    """Load the configuration of a command line without a command. See ``load_namespace``."""
    return load_namespace(parse_flags(argv), environ, generation=generation, now=now, shelf=shelf)


def load_namespace(
    namespace: Words,
    environ: Mapping[str, str],
    *,
    generation: int = 1,
    now: float | None = None,
    shelf: SetShelf | None = None,
    dials: Dials | None = None,
) -> Loaded:
    """Load the configuration of parsed flags; ``dials`` where it is that of an agent.

    ``generation`` numbers the policy; ``now`` (seconds since the epoch) judges the dates of secrets and is the present
    unless given; ``shelf`` holds the published address sets that were fetched since the process began. Raises FlagError
    or ConfigError, each with every problem found.
    """
    problems = Problems()
    tree, path = load_tree(namespace, environ, problems)
    values = [entry.value for _, entry in tree.leaves()]
    referenced = [value[4:] for value in values if isinstance(value, str) and value.startswith("env:")]
    unknown_variables(environ, referenced, problems)
    use_credentials(tree, environ)
    when = dt.datetime.now(dt.UTC).timestamp() if now is None else now
    try:
        shelf = SetShelf() if shelf is None else shelf
        loaded = Build(tree, environ, shelf, when, path, dials is not None).loaded(generation)
        return loaded if dials is None else of_agent(loaded, dials)
    finally:
        tree.clear()


def load_tree(namespace: Words, environ: Mapping[str, str], problems: Problems) -> tuple[Table, str | None]:
    """What is written, before anything of it is used, and the path of the file. Raises FlagError."""
    flags = flag_tree(namespace, problems)
    variables = environment_tree(environ, problems)
    path = namespace.config or environ.get(CONFIG_VARIABLE) or None
    written = Table(problems) if path is None else _read_file(path, problems)
    _check_flag_route(written, variables.under(flags), path, problems)
    return written.under(variables).under(flags), path


@frozen
class OnHost:
    """What a configuration names of this host, and where each key of it was written."""

    user: str | None
    group: str | None
    access_log: str  # a path, "-" or "off"
    sources: Mapping[Path, Place]

    def where(self, key: str) -> str:
        """The place of a key, for a problem."""
        return str(self.sources.get((key,), key))


def load_on_host(namespace: Words, environ: Mapping[str, str]) -> OnHost:
    """Read only this, of a configuration that may be wrong otherwise. Raises FlagError."""
    tree, _ = load_tree(namespace, environ, Problems())
    log = tree.need("access_log", str)
    path = log if log in {"-", "off"} else tree.file("access_log") or log
    sources = {path: entry.place for path, entry in tree.leaves()}
    return OnHost(tree.get("user", str), tree.get("group", str), path, sources)


@frozen
class KnownSets:
    """What a configuration says of published address sets: all lists by name, where copies are kept, which are used."""

    feeds: Mapping[str, Feed]
    state_dir: str | None
    used: tuple[str, ...]


def load_sets(path: str | None, state_dir: str | None, environ: Mapping[str, str]) -> KnownSets:
    """Read only this of a configuration (None: that of the environment, if any). ConfigError where that is wrong."""
    problems = Problems()
    path = path or environ.get(CONFIG_VARIABLE) or None
    written = Table(problems) if path is None else _read_file(path, problems)
    # What is wrong with other keys is not asked here.
    problems.forget(lambda key: bool(key) and key[0] != "ip_set")
    tree = written.under(environment_tree(environ, Problems()))
    feeds = all_feeds(tree)
    problems.raise_if_any()
    lists = [entry.value for path, entry in tree.leaves() if path[-1] in {"allow", "deny", "trusted_proxies"}]
    texts = chain.from_iterable(one for one in lists if isinstance(one, tuple))
    return KnownSets(feeds, state_dir or tree.file("state_dir"), _once(one for one in texts if one[:4] == "set:"))


def _read_file(path: str, problems: Problems) -> Table:
    """The tree of a file; what is wrong with it goes into the problems."""
    try:
        data, _ = read_bounded(path, _MAX_CONFIG_BYTES, any_link=True)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        return _unusable(Place(path), f"cannot be read: {why}", "name a readable file with --config", problems)
    if len(data) > _MAX_CONFIG_BYTES:
        return _unusable(Place(path), "is larger than 4MiB", "name a configuration file with --config", problems)
    try:
        text = data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _unusable(Place(path, line), "is not UTF-8", "save the file as UTF-8", problems)
    return parse_text(text, path, folder_of(path), problems)


def _unusable(place: Place, what: str, mend: str, problems: Problems) -> Table:
    problems.add(place, what, mend)
    problems.unreadable = True
    return Table(problems)


def _check_flag_route(written: Table, given: Table, path: str | None, problems: Problems) -> None:
    """Beside the routes of a file, flags make a route of their own; without a path it would take all that is left."""
    routes = written.named("route")
    ours = given.named("route").get(FLAG_ROUTE)
    if ours is not None and routes and FLAG_ROUTE not in routes and "path" not in ours:
        mend = f"write it into a route of {path}, or give --path too: then flags make a route beside those of the file"
        problems.add(ours.where(), f"speaks of the route {FLAG_ROUTE!r}, which {path} does not have", mend)


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


def load_outline(namespace: Words, environ: Mapping[str, str]) -> Outline:
    """The outline of parsed flags. Raises FlagError or ConfigError where they, or the file, cannot be understood."""
    problems = Problems()
    tree, path = load_tree(namespace, environ, problems)
    problems.raise_if_any()
    forwards = [table.get("listen", ListenAddress) for table in tree.named("tcp").values()]
    own = [tree.get("admin", ListenAddress)]
    own += [tree.table("console").get("listen", ListenAddress)] if "console" in tree else []
    referred = [str(entry.value) for _, _, entry in references(tree)]
    # A flag and a variable are their own place; what is in the file is placed there.
    named = [one for one in named_files(tree) if one.entry.place.file == path]
    return Outline(
        **tree.fields(Outline) | {"state_dir": tree.file("state_dir")},
        config=path,
        others=tuple(one for one in [*forwards, *own] if one is not None),
        secret_files=_once(one.path for one in named if one.is_secret),
        key_files=_once(one.path for one in named if not one.is_secret),
        variables=_once(value[4:] for value in referred if value[:4] == "env:"),
    )


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


# -- A command line that has flags alone. What is written right is read here, and all else by ``argparse``, which says
# what is wrong, and shows help. To import that one, and to make a parser of a hundred flags, takes a twentieth of a
# start, and memory that the process never needs again.

_BY_OPTION = {flag.option: flag for flag in FLAGS}
_FILE = {"-c", "--config"}
#: A word that begins with a dash is no value, unless it is one.
_VALUE = re.compile(r"-|[^-].*", re.DOTALL)


def parse_flags(argv: Sequence[str]) -> Words:
    """What a command line without a command says. FlagError names every unknown flag, with a suggestion."""
    words = Words()
    rest: list[str] = []
    if not _read(argv, words, rest):
        from proxy.config import parsers

        words, rest = parsers.parse_known_flags(argv)
    take_file(words, rest)
    return words


def _read(argv: Sequence[str], words: Words, rest: list[str]) -> bool:
    """Whether each word is a flag that is known, its value, or neither, which goes into ``rest``."""
    left = iter(argv)
    for word in left:
        if not word.startswith("-"):
            rest.append(word)
        elif not _take(word, left, words):
            return False
    return True


def _take(word: str, left: Iterator[str], words: Words) -> bool:
    """Whether ``word`` is a flag that is known, with its value: behind a "=", or the next word that is left."""
    option, equals, text = word.partition("=")
    flag = _BY_OPTION.get(option)
    if flag is not None and flag.key.kind is kinds.BOOL:
        text = "" if equals else "true"
    elif not equals:
        text = next(left, "")
    if not _VALUE.fullmatch(text):
        return False
    if flag is not None:
        words.keep(flag, text)
    elif option in _FILE and words.config in {None, text}:
        words.config = text
    else:
        return False
    return True
