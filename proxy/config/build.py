"""From a ``Tree`` to a ``Policy`` and ``Settings``: what the keys mean together.

Here stand the rules that no single key can know: what is admitted at accept, which load is open, local-only or by
routes, and what contradicts what. Secrets and lists are read on the way; sockets are not touched. All mistakes are
collected, and one ConfigError carries them.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from proxy.config.allow import AllowReader, ResolveSet
from proxy.config.duplicates import check_memory, read_store
from proxy.config.endpoints import ListenAddress
from proxy.config.fixtures import read_fixtures
from proxy.config.guards import GuardReader, slug_of
from proxy.config.listeners import ListenerReader
from proxy.config.notes import Note, audible
from proxy.config.parse import dotted
from proxy.config.problems import Problems, suggestion
from proxy.config.route import RouteReader, names_of, read_limits
from proxy.config.rules import RULES
from proxy.config.schema import FLAG_ROUTE
from proxy.config.set_shelf import SetReader, SetShelf, all_feeds, set_tables
from proxy.config.settings import Loaded, Settings, SetUse
from proxy.config.sizes import parse_time
from proxy.config.tree import Tree, View
from proxy.core.addresses import AddressSet
from proxy.core.handshakes import REFUSE
from proxy.core.policy import Exposure, Limits, Policy, Route, ServerLimits
from proxy.core.schemes import Provider, find
from proxy.core.schemes.custom import provider_from_table
from proxy.values import frozen, mutable

_EVERY_IPV4 = (0, (1 << 32) - 1)


@frozen
class World:
    """What a load may look at besides the tree. ``now`` is in seconds since the epoch."""

    environ: Mapping[str, str]
    now: float
    shelf: SetShelf = field(default_factory=SetShelf)
    resolve_set: ResolveSet | None = None  # instead of what the shelf knows
    known_sets: Sequence[str] = ()


def build(
    tree: Tree,
    world: World,
    problems: Problems,
    *,
    generation: int = 1,
    config_path: str | None = None,
    warnings: Sequence[str] = (),
) -> Loaded:
    """The policy and settings of a tree. Raises ConfigError with these and all earlier problems, if there are any."""
    return _Build(tree, world, problems, config_path, list(warnings)).loaded(generation)


@mutable
class _Build:
    """One load; the order of the methods is the order of the work."""

    tree: Tree
    world: World
    problems: Problems
    config_path: str | None
    warnings: list[str] = field(default_factory=list)

    @property
    def top(self) -> View:
        return self.tree.view("")

    def loaded(self, generation: int) -> Loaded:
        sets = self._sets()
        resolve = self.world.resolve_set or sets.resolve
        lists = AllowReader(self.problems, resolve, self.world.known_sets or sets.known, sets.missing)
        allow = lists.read(self.top, "allow")
        trusted = lists.read(self.top, "trusted_proxies")
        if trusted is None:
            trusted = AddressSet.empty()
        listeners = ListenerReader(self.problems, self.warnings, lists, self.top, allow)
        settings = self._settings(listeners)
        limits, server = self._limits()
        reader = self._route_reader(lists, limits, server.buffer_budget, allow)
        exposure, routes = self._routes(reader, has_http=bool(settings.listen) or not settings.tcp)
        self._check_ends(settings, exposure, routes, listeners)
        check_memory(self.top, settings, routes, self.problems, self.warnings)
        self._check_proxies(settings, trusted)
        self._warn_of_lent_keys(routes)
        admitted = admitted_by(exposure, routes)
        self._warn_of_unix(settings, admitted)
        self.problems.raise_if_any()
        policy = Policy(
            generation=generation,
            routes=routes,
            exposure=exposure,
            admission=None if admitted is None else admitted | trusted,
            allow=admitted,
            trusted_proxies=trusted,
            limits=limits,
            server=server,
            reserved_for=reserved_for(admitted, routes, trusted),
        )
        use = SetUse(tuple(lists.uses), dict(sets.used), tuple(sets.missing.values()), resolve)
        return Loaded(policy, replace(settings, warnings=audible(self.warnings, settings.silence)), use)

    def _settings(self, listeners: ListenerReader) -> Settings:
        top = self.top
        log = top.need("access_log", str)
        return Settings(
            listen=top.items("listen", ListenAddress),
            workers=self._workers(),
            admin=top.get("admin", ListenAddress),
            tls=listeners.tls(),
            proxy_protocol=top.need("proxy_protocol", str),
            kernel_filter=top.need("kernel_filter", str) == "auto",
            tcp=listeners.tcp(),
            ip_sets=tuple(table for table, _ in set_tables(self.tree)),
            drain_s=top.need("drain", float),
            log_format=top.need("log_format", str),
            log_level=top.need("log_level", str),
            log_sample=top.need("log_sample_refusals", int),
            log_per_address=top.need("log_refusals_per_address", int),
            access_log=log if log in {"-", "off"} else str(top.file("access_log")),
            state_dir=top.file("state_dir"),
            user=top.get("user", str),
            group=top.get("group", str),
            duplicates=read_store(top, self.world.environ, self.problems),
            config_path=None if self.config_path is None else os.path.abspath(self.config_path),  # noqa: PTH100
            silence=self._silence(),
            fixtures=read_fixtures(self.tree, self.problems),
            sources={dotted(path): entry.where for path, entry in self.tree.entries.items() if entry.value is not None},
            routes_at={name: self.tree.first("route", name) for name in self.tree.names("route")},
        )

    def _silence(self) -> tuple[str, ...]:
        ids = self.top.items("silence", str)
        for unknown in [one for one in ids if one not in RULES]:
            what, mend = f"there is no rule {unknown[:40]!r}", suggestion(unknown, RULES)
            self.problems.add(self.top.where("silence"), what, mend)
        return ids

    def _workers(self) -> int | str:
        workers = self.top.get("workers", object)
        assert isinstance(workers, int | str)
        return workers

    def _sets(self) -> SetReader:
        feeds = all_feeds(set_tables(self.tree), self.problems)
        return SetReader(self.world.shelf, feeds, self.top.file("state_dir"), self.world.now, self.warnings)

    def _limits(self) -> tuple[Limits, ServerLimits]:
        view = self.tree.view("limits", "limits")
        limits = Limits(**read_limits(view, names_of(Limits)))  # type: ignore[arg-type]  # kinds come from the schema
        server = ServerLimits(**read_limits(view, names_of(ServerLimits)))  # type: ignore[arg-type]
        if limits.hold_window > server.buffer_budget:
            key = "hold_window" if "hold_window" in view else "buffer_budget"
            self.problems.add(
                view.where(key),
                "one exchange would need more than the whole buffer_budget",
                "make hold_window smaller, or buffer_budget larger",
            )
        return limits, server

    def _schemes(self) -> dict[str, Provider | None]:
        found: dict[str, Provider | None] = {}
        for name in self.tree.names("scheme"):
            entry = self.tree.entries[("scheme", name)]
            assert isinstance(entry.value, Mapping)
            if find(name) is not None or slug_of(name) in found:
                self.problems.add(entry.where, f"there is a provider {slug_of(name)!r} already", "choose another name")
            provider, mistakes = provider_from_table(name, entry.value, parse_time)
            for key, what, mend in mistakes:
                self.problems.add(self._place_in_scheme(name, key), what, mend)
            found[slug_of(name)] = None if mistakes else provider
        return found

    def _place_in_scheme(self, name: str, key: str) -> str:
        first, _, rest = key.partition(".")
        entry = self.tree.entries.get(("scheme", name, first))
        if entry is None:
            return f"{self.tree.entries[('scheme', name)].where}.{key}"
        return f"{entry.where}.{rest}" if rest else entry.where

    def _route_reader(
        self, lists: AllowReader, limits: Limits, buffer_budget: int, allow: AddressSet | None
    ) -> RouteReader:
        guards = GuardReader(self.problems, self.world.environ, self._schemes(), self.world.now, self.warnings)
        is_open = self.top.need("open", bool)
        return RouteReader(self.problems, self.warnings, lists, guards, limits, buffer_budget, allow, self.top, is_open)

    def _routes(self, reader: RouteReader, *, has_http: bool) -> tuple[Exposure, tuple[Route, ...]]:
        """What is forwarded, by which routes. A list of addresses alone is a guard, and so makes a route."""
        names = self.tree.names("route")
        if not names and reader.allow is not None and not reader.open and has_http:
            names = [FLAG_ROUTE]
        if names:
            return Exposure.ROUTES, tuple(reader.read(name) for name in names)
        if reader.open:
            if reader.allow is None:
                self.warnings.append("open: every request of everybody is forwarded, and nothing is checked")
            return Exposure.OPEN, (reader.built_in("open"),)
        return Exposure.LOCAL, (reader.built_in("local"),)

    def _check_ends(
        self, settings: Settings, exposure: Exposure, routes: Sequence[Route], listeners: ListenerReader
    ) -> None:
        """Both ends of every way: something listens, and every route goes somewhere."""
        has_http = bool(settings.listen) or not settings.tcp or exposure is Exposure.ROUTES
        if not settings.listen and has_http and not self.top.doubtful("listen"):
            self.problems.add(
                self._missing("listen"), "nothing listens", 'add listen = ["0.0.0.0:443"] (flag: --listen 0.0.0.0:443)'
            )
        for route in routes:
            view = self.tree.view("route", "route", route.name)
            if not route.upstream and has_http and not self.top.doubtful("upstream") and not view.doubtful("upstream"):
                self.problems.add(
                    view.where() if view.exists and "upstream" not in self.top else self._missing("upstream"),
                    "does not say where admitted requests go" if view.exists else "nothing says where requests go",
                    'add upstream = "http://127.0.0.1:8000" (flag: --upstream 127.0.0.1:8000)',
                )
        listeners.check(settings, routes)

    def _missing(self, name: str) -> str:
        return f"{self.config_path}: {name}" if self.config_path else f"--{name}"

    def _check_proxies(self, settings: Settings, trusted: AddressSet) -> None:
        top = self.top
        lacking = "trusted_proxies" not in top and not top.doubtful("trusted_proxies")
        if settings.proxy_protocol == "require" and lacking:
            self.problems.add(
                top.where("proxy_protocol"),
                "nobody may send a PROXY header, so nobody could connect",
                'add trusted_proxies = ["10.0.0.0/8"] (flag: --trusted-proxy 10.0.0.0/8)',
            )
        if _EVERY_IPV4 in trusted.ranges4:
            text = f"{top.where('trusted_proxies')}: everybody is trusted to say who the client is"
            self.warnings.append(Note("H402", text))

    def _warn_of_lent_keys(self, routes: Sequence[Route]) -> None:
        for lender, other in lent_keys(routes):
            where = self.tree.view("route", "route", lender.name).where()
            text = f"{where}: anybody may have challenges signed with the secret of route {other.name!r}"
            self.warnings.append(Note("H111", text))

    def _warn_of_unix(self, settings: Settings, admitted: AddressSet | None) -> None:
        paths = [str(address) for address in settings.listen if address.path is not None]
        if paths and admitted is not None and not admitted.has_unix and settings.proxy_protocol == "off":
            self.warnings.append(Note("H404", f"{paths[0]}: no `allow` has 'unix:', so nobody is let in there"))


def admitted_by(exposure: Exposure, routes: Sequence[Route]) -> AddressSet | None:
    """Whom the routes admit together; None where one of them looks at no address."""
    if exposure is Exposure.LOCAL:
        return None
    sets = [route.allow for route in routes if route.allow is not None]
    return AddressSet.union(sets) if len(sets) == len(routes) else None


def lent_keys(routes: Sequence[Route]) -> Iterator[tuple[Route, Route]]:
    """Routes whose key signs challenges of strangers, each with a route that takes any body with the same key."""
    for lender in routes:
        check, signature = lender.endpoint_check, lender.signature
        if check is None or signature is None or not check.needs_secret or check.signed or lender.handshake == REFUSE:
            continue
        keys = {secret.value for secret in signature.secrets}
        for other in routes:
            taker = other.signature
            if taker is not None and not taker.scheme.opening and any(one.value in keys for one in taker.secrets):
                yield lender, other


def reserved_for(admitted: AddressSet | None, routes: Sequence[Route], trusted: AddressSet) -> AddressSet:
    """For whom a share of the connections is kept: the listed addresses, where others may connect as well."""
    listed = [route.allow for route in routes if route.allow is not None]
    if admitted is not None or not listed:
        return AddressSet.empty()
    return AddressSet.union([*listed, trusted])
