"""From a tree of tables to a ``Policy`` and ``Settings``: what the keys mean together.

Here stand the rules that no single key can know: what is admitted at accept, which load is open, local-only or by
routes, and what contradicts what. Secrets and lists are read on the way; sockets are not touched. All mistakes are
collected, and one ConfigError carries them.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from proxy.config import admission
from proxy.config.admission import AllowReader
from proxy.config.agents import AgentReader, check_listens_on_nothing
from proxy.config.delivery import check_memory, check_queue, read_queue, read_store
from proxy.config.ends import ListenerReader, read_console
from proxy.config.guards import GuardReader, slug_of
from proxy.config.host import worker_count
from proxy.config.problems import audible, suggestion, unknown_rules
from proxy.config.route import RouteReader
from proxy.config.schema import FLAG_ROUTE
from proxy.config.schemes import read_scheme
from proxy.config.set_shelf import SetReader, SetShelf, all_feeds
from proxy.config.settings import Fixture, Loaded, Settings, SetUse
from proxy.config.tree import Table
from proxy.core.addresses import AddressSet, Peer
from proxy.core.handshakes import REFUSE
from proxy.core.policy import Exposure, Limits, Policy, Route, ServerLimits
from proxy.core.schemes import Provider, find
from proxy.core.signing.scheme import Secret
from proxy.errors import Place
from proxy.reasons import Reason
from proxy.values import frozen

_EVERY_IPV4 = (0, 1 << 32)  # as bounds


@frozen
class Build:
    """One load of the tables below ``top``; the order of the methods is the order of the work. ``now`` is in seconds
    since the epoch, ``shelf`` has the published sets. ``dials``: it is an agent's, which listens on nothing.
    """

    top: Table
    environ: Mapping[str, str]
    shelf: SetShelf
    now: float
    config_path: str | None = None
    dials: bool = False

    def loaded(self, generation: int = 1) -> Loaded:
        """The policy and settings. ConfigError has these and all earlier problems, if there are any."""
        feeds, state_dir = all_feeds(self.top), self.top.file("state_dir")
        sets = SetReader(self.shelf, feeds, state_dir, self.now, self.top.problems)
        lists = AllowReader(sets.resolve, sets.known, sets.missing)
        allow = lists.read(self.top, "allow")
        deny = lists.read_deny(self.top)
        trusted = lists.read(self.top, "trusted_proxies")
        if trusted is None:
            trusted = AddressSet.empty()
        listeners = ListenerReader(lists, self.top, allow, deny)
        settings = self._settings(listeners)
        limits, server = self._limits()
        reader = self._route_reader(lists, limits, server.buffer_budget, allow, deny)
        exposure, routes = self._routes(reader, has_http=bool(settings.listen) or not settings.tcp)
        self._check_ends(settings, exposure, routes, listeners)
        if self.dials:
            check_listens_on_nothing(self.top)
        agents = AgentReader(lists, self.top, self.environ, deny)
        settings = replace(settings, agents=agents.read())
        agents.check(settings.agents, routes, secure=bool(settings.tls))
        doors = tuple(rule.allow for rule in settings.agents.rules.values())
        check_memory(self.top, settings, routes)
        self._check_callers(routes, lists)
        self._check_token_paths(routes)
        check_queue(self.top, settings, routes)
        self._check_proxies(settings, trusted)
        self._warn_of_lent_keys(routes)
        admitted = admission.admitted_by(exposure, routes)
        self._warn_of_unix(settings, admitted)
        self._warn_of_reach(settings, trusted, routes, exposure)
        self.top.problems.raise_if_any()
        policy = Policy(
            generation=generation,
            routes=routes,
            exposure=exposure,
            admission=admission.admission_of(admitted, trusted, doors),
            allow=admitted,
            trusted_proxies=trusted,
            limits=limits,
            server=server,
            reserved_for=admission.reserved_for(admitted, routes, trusted, doors),
            doors=doors,
        )
        use = SetUse(tuple(lists.uses), dict(sets.used), tuple(sets.missing.values()), sets.resolve)
        return Loaded(policy, replace(settings, warnings=audible(self.top.problems.warnings, settings.silence)), use)

    def _settings(self, listeners: ListenerReader) -> Settings:
        top, log = self.top, self.top.need("access_log", str)
        own = {
            "tls": listeners.tls(),
            "tcp": listeners.tcp(),
            "access_log": log if log in {"-", "off"} else top.file("access_log"),
            "state_dir": top.file("state_dir"),
            "kernel_filter": top.get("kernel_filter", str) == "auto",
            "duplicates": read_store(top, self.environ),
            "console": read_console(top, self.environ),
            "config_path": None if self.config_path is None else os.path.abspath(self.config_path),  # noqa: PTH100 - text in and text out
            "queue": read_queue(top, self.environ),
            "silence": self._silence(),
            "fixtures": tuple(filter(None, map(_fixture, top.tables("test")))),
            "sources": {path: entry.place for path, entry in top.leaves()},
            "routes_at": {name: table.first() for name, table in top.named("route").items()},
        }
        return Settings(**(top.fields(Settings) | own))

    def _silence(self) -> tuple[str, ...]:
        ids = self.top.items("silence", str)
        for what, mend in unknown_rules(ids):
            self.top.wrong("silence", what, mend)
        return ids

    def _limits(self) -> tuple[Limits, ServerLimits]:
        view = self.top.table("limits")
        limits = Limits(**view.fields(Limits))
        server = ServerLimits(**view.fields(ServerLimits))
        if limits.hold_window > server.buffer_budget:
            key = "hold_window" if "hold_window" in view else "buffer_budget"
            what = "one exchange would need more than the whole buffer_budget"
            view.wrong(key, what, "make hold_window smaller, or buffer_budget larger")
        return limits, server

    def _schemes(self) -> dict[str, Provider | None]:
        found: dict[str, Provider | None] = {}
        for name, table in self.top.named("scheme").items():
            slug = slug_of(name)
            if find(name) is not None or slug in found:
                table.wrong("", f"there is a provider {slug!r} already", "choose another name")
            found[slug] = read_scheme(name, table)
        return found

    def _route_reader(
        self,
        lists: AllowReader,
        limits: Limits,
        buffer_budget: int,
        allow: AddressSet | None,
        deny: tuple[AddressSet, ...],
    ) -> RouteReader:
        guards = GuardReader(self.environ, self._schemes(), self.now)
        workers = 1 if self.dials else worker_count(self.top.need("workers", object))  # type: ignore[arg-type]  # the kind has read it
        open_ = self.top.need("open", bool)
        return RouteReader(lists, guards, limits, buffer_budget, allow, deny, self.top, open_, workers)

    def _routes(self, reader: RouteReader, *, has_http: bool) -> tuple[Exposure, tuple[Route, ...]]:
        """What is forwarded, by which routes. A list of addresses alone is a guard, and so makes a route."""
        tables = self.top.named("route")
        if not tables and reader.allow is not None and not reader.open and has_http:
            tables = {FLAG_ROUTE: Table(self.top.problems, "route", ("route", FLAG_ROUTE))}
        if tables:
            return Exposure.ROUTES, tuple(reader.read(name, table) for name, table in tables.items())
        if self.dials:
            return Exposure.OPEN, (reader.built_in("agent"),)
        if reader.open:
            if reader.allow is None:
                self.top.problems.warn("", "open", "every request is forwarded without any check")
            return Exposure.OPEN, (reader.built_in("open"),)
        return Exposure.LOCAL, (reader.built_in("local"),)

    def _check_ends(
        self, settings: Settings, exposure: Exposure, routes: Sequence[Route], listeners: ListenerReader
    ) -> None:
        """Both ends of every way: something listens, and every route goes somewhere."""
        if settings.listen or not settings.tcp or exposure is Exposure.ROUTES:
            if not (settings.listen or self.dials or self.top.doubtful("listen")):
                mend = 'add listen = ["0.0.0.0:443"] (flag: --listen 0.0.0.0:443)'
                self.top.problems.add(self._missing("listen"), "nothing listens", mend)
            tables = self.top.named("route")
            for route in routes:
                if not route.upstream and not self.top.doubtful("upstream"):
                    self._goes_nowhere(tables.get(route.name))
        listeners.check(settings, routes)

    def _goes_nowhere(self, view: Table | None) -> None:
        """Of the table of a route, or of the one that flags make."""
        if view is not None and view.doubtful("upstream"):
            return
        self.top.problems.add(
            self._missing("upstream") if view is None or "upstream" in self.top else view.where(),
            "nothing says where requests go" if view is None else "does not say where admitted requests go",
            'add upstream = "http://127.0.0.1:8000" (flag: --upstream 127.0.0.1:8000)',
        )

    def _missing(self, name: str) -> Place:
        return Place(self.config_path, key=(name,)) if self.config_path else Place.of(f"--{name}")

    def _check_callers(self, routes: Sequence[Route], lists: AllowReader) -> None:
        tables = self.top.named("route")
        # A list that has not been fetched yet is warned of, and one that cannot be read is a problem already.
        for route in [] if lists.missing_sets or self.top.problems.found else admission.shut(routes):
            view = tables.get(route.name, self.top)
            owner = view if "deny" in view else self.top
            what = f"denies every address that may call route {route.name!r}, so none could"
            owner.wrong("deny", what, "make `deny` narrower, or `allow` wider")

    def _check_token_paths(self, routes: Sequence[Route]) -> None:
        """A route that knows of no token in its path would log it and pass it on."""
        hiding = {route.path: route for route in routes if route.path_map is not None and route.path_map.has_token}
        for route in routes if hiding else ():
            other = hiding.get(route.path)
            if other is not None and not (route.path_map is not None and route.path_map.has_token):
                what = f"owns the same requests as {other.shown_path} of route {other.name!r}, and would show its token"
                self.top.named("route")[route.name].wrong("path", what, "give one of the two another path")

    def _check_proxies(self, settings: Settings, trusted: AddressSet) -> None:
        top = self.top
        if settings.proxy_protocol == "require" and not top.written("trusted_proxies"):
            what = "no peer may send a PROXY header, so none could connect"
            top.wrong("proxy_protocol", what, 'add trusted_proxies = ["10.0.0.0/8"] (flag: --trusted-proxy 10.0.0.0/8)')
        if trusted.bounds4 == _EVERY_IPV4:
            top.warn("H402", "trusted_proxies", "every peer is trusted to name the client")

    def _warn_of_lent_keys(self, routes: Sequence[Route]) -> None:
        for lender, other in lent_keys(routes):
            text = f"anybody may have challenges signed with the secret of route {other.name!r}"
            self.top.named("route")[lender.name].warn("H111", "", text)

    def _warn_of_unix(self, settings: Settings, admitted: AddressSet | None) -> None:
        paths = [str(address) for address in settings.listen if address.path is not None]
        if paths and admitted is not None and not admitted.has_unix and settings.proxy_protocol == "off":
            self.top.problems.warn("H404", paths[0], "no `allow` has 'unix:', so every connection there is refused")

    def _warn_of_reach(
        self, settings: Settings, trusted: AddressSet, routes: Sequence[Route], exposure: Exposure
    ) -> None:
        tables, forwards = self.top.named("route"), self.top.named("tcp")
        proxied = settings.proxy_protocol == "require"
        # In local-only mode a listener that others reach is no mistake: it waits for the first route.
        reachable = () if exposure is Exposure.LOCAL else routes
        for route, why in admission.shut_out(settings.listen, trusted, reachable, proxied=proxied):
            view = tables.get(route.name, self.top)
            view.warn("H310", "allow" if "allow" in view else "", f"nothing can call route {route.name!r}: {why}")
        for forward, why in admission.shut_forwards(settings.tcp):
            forwards[forward.name].warn("H310", "allow", f"nothing can connect to tcp {forward.name!r}: {why}")
        for route in routes:
            if why := admission.clashes(route):
                tables.get(route.name, self.top).warn("H311", "", f"route {route.name!r} admits nothing: {why}")


def lent_keys(routes: Sequence[Route]) -> Iterator[tuple[Route, Route]]:
    """Routes whose key signs challenges of strangers, each with a route that takes any body with the same key."""
    takers: dict[bytes, dict[str, Route]] = {}
    for taker in routes:
        for secret in _takes_any_body_by(taker):
            takers.setdefault(secret.value, {})[taker.name] = taker
    for lender in routes:
        lent: dict[str, Route] = {}
        for secret in _signs_challenges_by(lender):
            lent |= takers.get(secret.value, {})
        yield from ((lender, other) for other in lent.values())


def _takes_any_body_by(route: Route) -> Sequence[Secret]:
    signature = route.signature
    return () if signature is None or signature.scheme.opening else signature.secrets


def _signs_challenges_by(route: Route) -> Sequence[Secret]:
    check, signature = route.endpoint_check, route.signature
    if check is None or signature is None or check.signed or route.handshake == REFUSE:
        return ()
    return signature.secrets if check.needs_secret else ()


ADMITTED = "admitted"
WORDS = (ADMITTED, *(reason.word for reason in Reason))


def _fixture(view: Table) -> Fixture | None:
    """One of the tests of a configuration; None, and a problem, where something is wrong with it."""
    file, expect, address = view.file("file"), view.need("expect", str), view.get("from", str)
    if file is None:
        view.lacks("file", "names no saved delivery", 'add file = "push.http"; `hookward send --save` makes one')
    elif expect not in WORDS:
        mend = suggestion(expect, WORDS, what="write admitted, or a reason such as")
        view.wrong("expect", f"{expect[:60]!r} is no outcome", mend)
    elif address is not None and not _is_peer(address):
        view.wrong("from", f"{address[:60]!r} is not an address", 'write "192.0.2.7" or "unix:"')
    else:
        return Fixture(file, expect, view.where(), view.get("at", float), address)
    return None


def _is_peer(text: str) -> bool:
    with suppress(ValueError):
        return text == "unix:" or bool(Peer.of(text))
    return False
