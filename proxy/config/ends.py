"""Both ends: listeners' tables (certificates, plain TCP forwards, the console), where requests go (``upstream``,
health, ``upstream_tls``), and whether all of it fits together.

Only the configuration is judged here. Whether an address is free, or a certificate fits its key, is known when they are
used. A console that is not for this host alone needs TLS and a token: whoever reaches the page sees what was delivered,
and can have it delivered again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from proxy.config.admission import AllowReader
from proxy.config.kinds import HEALTH, UPSTREAM
from proxy.config.notation import ListenAddress, UpstreamAddress, is_loopback
from proxy.config.secret_files import key_notes
from proxy.config.settings import ConsoleSettings, Settings, TcpSettings, TlsFiles
from proxy.config.tree import Table
from proxy.core.addresses import AddressSet
from proxy.core.policy import Endpoint, HealthCheck, Route, UpstreamTls
from proxy.errors import Place
from proxy.values import frozen


def read_upstreams(view: Table, top: Table) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """The endpoints of a route, from its table or ``top``, and those that are drained; both () where none is named."""
    common = _common(view, top)
    view = view if "upstream" in view else top
    entries = list(_entries(view, common))
    addresses = {(one.host, one.port, one.path, one.tls is None, one.agent) for one, _ in entries}
    if len(addresses) < len(entries):
        view.wrong("upstream", "names the same upstream twice", "remove one of the two")
    drained = tuple(one for one, drain in entries if drain)
    if drained and len(drained) == len(entries):
        view.wrong("upstream", "every upstream is drained", "leave one without `drain`")
        return drained, ()
    return tuple(one for one, drain in entries if not drain), drained


def _common(view: Table, top: Table) -> Endpoint:
    """What is the same for all upstreams of a route: an endpoint that is nowhere yet."""
    own, idle_s = view.get("send_proxy", bool), view.get("upstream_idle_timeout", float)
    return Endpoint(
        host="",
        port=0,
        tls=read_upstream_tls((view if "upstream_tls" in view else top).table("upstream_tls")),
        send_proxy=top.need("send_proxy", bool) if own is None else own,
        idle_timeout_s=top.need("upstream_idle_timeout", float) if idle_s is None else idle_s,
        verifies=view is not top and view.need("verify", str) == "agent",
    )


def _entries(view: Table, common: Endpoint) -> Iterator[tuple[Endpoint, bool]]:
    """Each endpoint, and whether it is drained."""
    for entry in view.tables("upstream"):
        if "url" in entry:
            yield _endpoint(entry, common), entry.need("drain", bool)
        else:
            entry.lacks("url", "does not say where it is", UPSTREAM.form)
            entry.problems.doubt(entry.path)


def read_base(view: Table, top: Table) -> bytes:
    """The path of the URLs that a route's upstreams have, which must be one: it is the route's, whichever is chosen."""
    view = view if "upstream" in view else top
    bases = {entry.need("url", UpstreamAddress).base for entry in view.tables("upstream") if "url" in entry}
    if len(bases) > 1:
        view.wrong("upstream", "upstreams of one route have different paths", "write one path, or several routes")
    return min(bases, default=b"")


def _endpoint(entry: Table, common: Endpoint) -> Endpoint:
    address = entry.need("url", UpstreamAddress)
    own = entry.get("send_proxy", bool)
    if address.agent and own:
        entry.wrong("send_proxy", "an agent's connection is not one client's", "remove it: X-Forwarded-For names them")
    return replace(
        common,
        host=address.host,
        port=address.port,
        path=address.path,
        tls=common.tls if address.secure else None,
        send_proxy=not address.agent and (common.send_proxy if own is None else own),
        agent=address.agent,
        weight=entry.need("weight", int),
        health=_health(entry.table("health")) if "health" in entry else None,
    )


def read_copy_place(entry: Table, view: Table, top: Table) -> Endpoint:
    """Where a copy of what comes to the route ``view`` goes."""
    address, common = entry.need("url", UpstreamAddress), _common(view, top)
    tls = common.tls if address.secure else None
    return Endpoint(address.host, address.port, address.path, tls, idle_timeout_s=common.idle_timeout_s)


def _health(view: Table) -> HealthCheck | None:
    path = view.get("path", bytes)
    if path is None:
        view.lacks("path", "`path` is missing", HEALTH.form)
        return None
    return HealthCheck(path.decode("ascii"), view.need("interval", float), view.need("timeout", float))


def read_upstream_tls(view: Table) -> UpstreamTls:
    """How ``https`` upstreams are verified."""
    _check_readable(view, "ca", "cert", "key")
    if "key" in view and "cert" not in view:
        view.wrong("key", "a key without its certificate", "add `cert`")
    key = view.file("key") or view.file("cert")  # both may be in one file
    if key is not None:
        _warn_of_key(view, key)
    return UpstreamTls(view.file("ca"), view.file("cert"), view.file("key"), view.get("server_name", str))


def _check_readable(view: Table, *names: str) -> None:
    """A problem where what is named at one of the keys is not a file that we may read."""
    for name, path in ((name, view.file(name)) for name in names):
        if path is not None and not os.path.isfile(path):  # noqa: PTH113  # as for all paths here, text in and text out
            view.wrong(name, f"there is no file {path}", "mend the path, or create the file")
        elif path is not None and not os.access(path, os.R_OK):
            view.wrong(name, f"{path} may not be read", "let the user that runs hookward read it")


def _warn_of_key(view: Table, path: str) -> None:
    """Say what others may do with the private key of a table with ``cert`` and perhaps ``key``."""
    for note in key_notes(path):
        view.warn(note.rule, "key" if "key" in view else "cert", note)


@frozen
class ListenerReader:
    """Reads ``tls`` and ``tcp``. Of the top level, ``allow`` is for forwards without their own, ``deny`` for all."""

    lists: AllowReader
    top: Table
    allow: AddressSet | None
    deny: tuple[AddressSet, ...]

    def tls(self) -> tuple[TlsFiles, ...]:
        """The certificates, in order."""
        found = []
        client_ca, required = self._clients()
        for view in self.top.tables("tls"):
            cert = view.file("cert")
            if cert is None:
                view.lacks("cert", "no certificate", "add `cert` (flag: --tls-cert PATH)")
                continue
            key = view.file("key") or cert
            _check_readable(view, *(("cert",) if key == cert else ("cert", "key")))
            _warn_of_key(view, key)
            names = view.items("names", str)
            found.append(TlsFiles(cert, key, names, view.where("cert"), client_ca, required))
        return tuple(found)

    def _clients(self) -> tuple[str | None, bool]:
        """Who may be a client: the authorities' file, and whether a certificate is required.

        One rule for all certificates: a client that chose the name it asks for could otherwise choose its own rule.
        """
        views = self.top.tables("tls")
        for view in views[1:]:
            for name in ("client_ca", "client_cert"):
                if name in view:
                    what = "counts for all certificates, not for this one alone"
                    view.wrong(name, what, "write it in the first [[tls]] table")
        for first in views[:1]:
            chosen, word = first.file("client_ca"), first.get("client_cert", str)
            if chosen is None and word is not None:
                what = "whose certificates are asked for is not said"
                first.lacks("client_ca", what, "add `client_ca` (flag: --tls-client-ca PATH)", "client_cert")
            _check_readable(first, "client_ca")
            return chosen, chosen is not None and word != "optional"
        return None, False

    def tcp(self) -> tuple[TcpSettings, ...]:
        """The plain TCP forwards."""
        forwards = [self._forward(name, view) for name, view in self.top.named("tcp").items()]
        return tuple(forward for forward in forwards if forward is not None)

    def _forward(self, name: str, view: Table) -> TcpSettings | None:
        listen, upstream = view.get("listen", ListenAddress), view.get("upstream", UpstreamAddress)
        for key, value, form in (("listen", listen, "0.0.0.0:2222"), ("upstream", upstream, "127.0.0.1:22")):
            if value is None:
                view.lacks(key, f"has no `{key}`", f'add {key} = "{form}"')
        allow = self.lists.read(view, "allow")
        if allow is None:
            allow = self.allow
        deny = self.lists.read_deny(view, self.deny)
        if allow is None and not view.doubtful("allow"):
            view.warn("H304", "", f"no `allow`, so every address may connect to tcp {name!r}")
        if listen is None or upstream is None:
            return None
        send_proxy = view.need("send_proxy", bool)
        endpoint = Endpoint(upstream.host, upstream.port, upstream.path, send_proxy=send_proxy)
        return TcpSettings(name, listen, endpoint, allow, deny)

    def check(self, settings: Settings, routes: Sequence[Route]) -> None:
        """Problems where two listeners are the same, or where one leads back to itself."""
        top, forwards = self.top, self.top.named("tcp")
        places = [(top.where("listen"), address) for address in settings.listen]
        if settings.admin is not None:
            places.append((top.where("admin"), settings.admin))
            if not settings.admin.is_local and settings.admin.fd_name is None:
                top.warn("H401", "admin", "other hosts can reach the admin listener")
        if settings.console is not None:
            places.append((top.table("console").where("listen"), settings.console.listen))
        places += [(forwards[one.name].where("listen"), one.listen) for one in settings.tcp]
        self._check_twins(places)
        self._check_loops(settings, routes)

    def _check_loops(self, settings: Settings, routes: Sequence[Route]) -> None:
        top, http, tables = self.top, settings.listen, self.top.named("route")
        for route in routes:
            view = tables.get(route.name, top)
            self._check_loop((view if "upstream" in view else top).where("upstream"), http, route.upstream)
            for copy in route.copies:
                self._check_loop(view.where("copies"), http, copy.upstream)
        for one in settings.tcp:
            self._check_loop(top.named("tcp")[one.name].where("upstream"), [one.listen], [one.upstream])

    def _check_twins(self, places: list[tuple[Place, ListenAddress]]) -> None:
        seen: set[ListenAddress] = set()
        for where, address in places:
            if address in seen and (not address.is_tcp or address.port):
                what, mend = f"two listeners want {address}", "give each an address or port of its own"
                self.top.problems.add(where, what, mend)
            seen.add(address)

    def _check_loop(self, where: Place, listen: Sequence[ListenAddress], upstreams: Sequence[Endpoint]) -> None:
        if any(_leads_to(endpoint, address) for endpoint in upstreams for address in listen if not endpoint.agent):
            what, mend = "leads back to our own listener", "name the application's own address or port"
            self.top.problems.add(where, what, mend)


def _leads_to(endpoint: Endpoint, address: ListenAddress) -> bool:
    if endpoint.path is not None or not address.is_tcp:
        return endpoint.path is not None and endpoint.path == address.path
    if endpoint.port != address.port:
        return False
    return endpoint.host == address.host or (address.is_any and is_loopback(endpoint.host))


#: A token that can be guessed opens everything.
MIN_TOKEN_BYTES = 16


def read_console(top: Table, environ: Mapping[str, str]) -> ConsoleSettings | None:
    """The console that a configuration asks for; None where it asks for none. Problems go to the table."""
    if "console" not in top:
        return None
    view = top.table("console")
    listen = view.need("listen", ListenAddress)
    read_token, act_token = (_token(view, name, environ, listen) for name in ("read_token", "act_token"))
    if read_token is not None and read_token == act_token:
        view.wrong("act_token", "is the same as read_token: a program that may read could act", "make one for each")
    if not listen.is_local and not view.doubtful("listen"):
        _check_exposed(top, view, listen)
    own = {"store": view.file("store") if view.get("store", str) else None}
    return ConsoleSettings(**view.fields(ConsoleSettings) | own | {"read_token": read_token, "act_token": act_token})


def _check_exposed(top: Table, view: Table, listen: ListenAddress) -> None:
    if not top.written("tls"):
        what = f"other hosts can reach {listen}, and what is shown there goes over the network as it is"
        view.wrong("listen", what, 'add [tls] with `cert` and `key`, or write listen = "127.0.0.1:4041"')
    if "read_token" not in view and "act_token" not in view:
        what = f"other hosts can reach {listen}, and no token guards it"
        mend = 'add act_token = "file:/etc/hookward/console.token" (or read_token), or write listen = "127.0.0.1:4041"'
        view.wrong("listen", what, mend)


def _token(view: Table, name: str, environ: Mapping[str, str], listen: ListenAddress) -> bytes | None:
    value = view.secret(name, environ)
    if value is not None and len(value) < MIN_TOKEN_BYTES:
        if listen.is_local:
            view.warn("H102", name, f"the token has {len(value)} bytes")
        else:
            mend = "make one with `hookward gen-secret`, or `openssl rand -hex 32`"
            view.wrong(name, "is too short to be safe where other hosts can try", mend)
    return value
