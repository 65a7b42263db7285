"""Listeners' tables: certificates and plain TCP forwards, and whether all places to listen fit together.

Only the configuration is judged here. Whether an address is free, or a certificate fits its key, is known when they are
used.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from proxy.config.allow import AllowReader
from proxy.config.endpoints import ListenAddress, UpstreamAddress
from proxy.config.notes import Note
from proxy.config.problems import Problems
from proxy.config.route import check_readable
from proxy.config.secret_files import key_notes
from proxy.config.settings import Settings, TcpForward, TlsFiles
from proxy.config.tree import View
from proxy.core.addresses import AddressSet
from proxy.core.policy import Endpoint, Route
from proxy.values import frozen


@frozen
class ListenerReader:
    """Reads ``tls`` and ``tcp``. ``allow`` is the top level's, for forwards without their own."""

    problems: Problems
    warnings: list[str]
    lists: AllowReader
    top: View
    allow: AddressSet | None

    def tls(self) -> tuple[TlsFiles, ...]:
        """The certificates, in order."""
        found = []
        client_ca, required = self._clients()
        for index in self.top.tree.indexes("tls"):
            view = self.top.tree.view("tls", "tls", index)
            cert = view.file("cert")
            if cert is None:
                if not view.doubtful("cert"):
                    self.problems.add(view.where(), "no certificate", "add `cert` (flag: --tls-cert PATH)")
                continue
            key = view.file("key") or cert
            check_readable(view.where("cert"), cert, self.problems)
            if key != cert:
                check_readable(view.where("key"), key, self.problems)
            self.warnings.extend(key_notes(view.where("key" if "key" in view else "cert"), key))
            names = view.items("names", str)
            found.append(TlsFiles(cert, key, names, view.where("cert"), client_ca, required))
        return tuple(found)

    def _clients(self) -> tuple[str | None, bool]:
        """Who may be a client: the authorities' file, and whether a certificate is required.

        One rule for all certificates: a client that chose the name it asks for could otherwise choose its own rule.
        """
        chosen: str | None = None
        word: str | None = None
        for number, index in enumerate(self.top.tree.indexes("tls")):
            view = self.top.tree.view("tls", "tls", index)
            for name in ("client_ca", "client_cert"):
                if number and name in view:
                    what = "counts for all certificates, not for this one alone"
                    self.problems.add(view.where(name), what, "write it in the first [[tls]] table")
            if number:
                continue
            chosen, word = view.file("client_ca"), view.get("client_cert", str)
            if chosen is not None:
                check_readable(view.where("client_ca"), chosen, self.problems)
            elif word is not None and not view.doubtful("client_ca"):
                what = "whose certificates are asked for is not said"
                self.problems.add(view.where("client_cert"), what, "add `client_ca` (flag: --tls-client-ca PATH)")
        return chosen, chosen is not None and word != "optional"

    def tcp(self) -> tuple[TcpForward, ...]:
        """The plain TCP forwards."""
        tree = self.top.tree
        forwards = [self._forward(name, tree.view("tcp", "tcp", name)) for name in tree.names("tcp")]
        return tuple(forward for forward in forwards if forward is not None)

    def _forward(self, name: str, view: View) -> TcpForward | None:
        listen, upstream = view.get("listen", ListenAddress), view.get("upstream", UpstreamAddress)
        for key, value, form in (("listen", listen, "0.0.0.0:2222"), ("upstream", upstream, "127.0.0.1:22")):
            if value is None and not view.doubtful(key):
                self.problems.add(view.where(), f"has no `{key}`", f'add {key} = "{form}"')
        allow = self.lists.read(view, "allow")
        if allow is None:
            allow = self.allow
        if allow is None and not view.doubtful("allow"):
            text = f"{view.where()}: no `allow`, so everybody may connect to tcp {name!r}"
            self.warnings.append(Note("H304", text))
        if listen is None or upstream is None:
            return None
        return TcpForward(name, listen, _endpoint(view, upstream), allow)

    def check(self, settings: Settings, routes: Sequence[Route]) -> None:
        """Problems where two listeners are the same, or where one leads back to itself."""
        tree = self.top.tree
        places = [(self.top.where("listen"), address) for address in settings.listen]
        if settings.admin is not None:
            places.append((self.top.where("admin"), settings.admin))
            if not settings.admin.is_local and settings.admin.fd_name is None:
                text = f"{self.top.where('admin')}: other hosts can reach the admin listener"
                self.warnings.append(Note("H401", text))
        places += [(tree.view("tcp", "tcp", one.name).where("listen"), one.listen) for one in settings.tcp]
        seen: set[ListenAddress] = set()
        for where, address in places:
            if address in seen and (not address.is_tcp or address.port):
                self.problems.add(where, f"two listeners want {address}", "give each an address or port of its own")
            seen.add(address)
        http = list(settings.listen)
        for route in routes:
            view = tree.view("route", "route", route.name)
            where = view.where("upstream") if "upstream" in view else self.top.where("upstream")
            self._check_loop(where, http, route.upstream)
        for one in settings.tcp:
            self._check_loop(tree.view("tcp", "tcp", one.name).where("upstream"), [one.listen], [one.upstream])

    def _check_loop(self, where: str, listen: Sequence[ListenAddress], upstreams: Sequence[Endpoint]) -> None:
        for endpoint in upstreams:
            if any(_leads_to(endpoint, address) for address in listen):
                self.problems.add(where, "leads back to our own listener", "name the application's own address or port")


def _endpoint(view: View, upstream: UpstreamAddress) -> Endpoint:
    return Endpoint(upstream.host, upstream.port, upstream.path, send_proxy=view.need("send_proxy", bool))


def _leads_to(endpoint: Endpoint, address: ListenAddress) -> bool:
    if endpoint.path is not None or not address.is_tcp:
        return endpoint.path is not None and endpoint.path == address.path
    if endpoint.port != address.port:
        return False
    return endpoint.host == address.host or (_is_any(address.host) and _is_loopback(endpoint.host))


def _is_any(host: str) -> bool:
    return host == "" or ip_address(host).is_unspecified


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
