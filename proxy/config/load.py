"""One load: flags over environment over file, then everything is built, and all that is wrong is told at once.

``load`` is what tests and a reload call; a command line with commands parses its flags with ``add_run_flags`` and hands
the namespace to ``load_namespace``. Bad flags are a FlagError (exit status 64), all else a ConfigError (78). What
prepares a host (a unit, a package) and may not see the secrets yet asks for the outline: ports, files, folders.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

from proxy.config.agents import of_agent
from proxy.config.build import build
from proxy.config.endpoints import ListenAddress
from proxy.config.flags import CONFIG_VARIABLE, Words, environment_tree, flag_tree, unknown_variables
from proxy.config.given_flags import parse_flags
from proxy.config.guarded_files import folder_of
from proxy.config.handed_over import named_files, references, use_credentials
from proxy.config.parse import parse_text
from proxy.config.problems import Problems
from proxy.config.schema import FLAG_ROUTE
from proxy.config.secret_files import read_bounded
from proxy.config.set_shelf import SetShelf, all_feeds, set_tables
from proxy.config.settings import Dials, Feed, Loaded
from proxy.config.tree import Entry, Table
from proxy.errors import Path, Place
from proxy.values import frozen

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
    unknown_variables(environ, _referenced(tree), problems)
    use_credentials(tree, environ)
    when = dt.datetime.now(dt.UTC).timestamp() if now is None else now
    try:
        loaded = build(
            tree,
            environ,
            SetShelf() if shelf is None else shelf,
            now=when,
            generation=generation,
            config_path=path,
            dials=dials is not None,
        )
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
    feeds = all_feeds(set_tables(tree), problems)
    problems.raise_if_any()
    return KnownSets(feeds, state_dir or tree.file("state_dir"), tuple(dict.fromkeys(_sets_used(tree))))


def _sets_used(tree: Table) -> Iterator[str]:
    for path, entry in tree.leaves():
        if path[-1] in {"allow", "deny", "trusted_proxies"} and isinstance(entry.value, tuple):
            yield from (text for text in entry.value if isinstance(text, str) and text.startswith("set:"))


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


def _referenced(tree: Table) -> list[str]:
    """The variables that hold secrets."""
    values = [entry.value for _, entry in tree.leaves()]
    return [value[4:] for value in values if isinstance(value, str) and value.startswith("env:")]


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
