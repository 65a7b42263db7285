"""Where requests go: from ``upstream`` entries, their health and ``upstream_tls`` to endpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator

from proxy.config.endpoints import UpstreamAddress
from proxy.config.kinds import HEALTH, UPSTREAM
from proxy.config.secret_files import key_notes
from proxy.config.tree import Table
from proxy.core.policy import Endpoint, HealthCheck, UpstreamTls
from proxy.values import frozen


@frozen
class _Common:
    """What is the same for all upstreams of a route."""

    tls: UpstreamTls
    send_proxy: bool
    idle_timeout_s: float
    verifies: bool


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


def _common(view: Table, top: Table) -> _Common:
    own, idle_s = view.get("send_proxy", bool), view.get("upstream_idle_timeout", float)
    return _Common(
        read_upstream_tls((view if "upstream_tls" in view else top).table("upstream_tls")),
        top.need("send_proxy", bool) if own is None else own,
        top.need("upstream_idle_timeout", float) if idle_s is None else idle_s,
        view is not top and view.need("verify", str) == "agent",
    )


def _entries(view: Table, common: _Common) -> Iterator[tuple[Endpoint, bool]]:
    """Each endpoint, and whether it is drained."""
    for entry in view.tables("upstream"):
        if "url" in entry:
            yield _endpoint(entry, common), entry.need("drain", bool)
        elif not entry.doubtful("url"):
            entry.wrong("", "does not say where it is", UPSTREAM.form)
            entry.problems.doubt(entry.path)


def read_base(view: Table, top: Table) -> bytes:
    """The path of the URLs that a route's upstreams have, which must be one: it is the route's, whichever is chosen."""
    view = view if "upstream" in view else top
    bases = {entry.need("url", UpstreamAddress).base for entry in view.tables("upstream") if "url" in entry}
    if len(bases) > 1:
        view.wrong("upstream", "upstreams of one route have different paths", "write one path, or several routes")
    return min(bases, default=b"")


def _endpoint(entry: Table, common: _Common) -> Endpoint:
    address = entry.need("url", UpstreamAddress)
    own = entry.get("send_proxy", bool)
    if address.agent and own:
        entry.wrong("send_proxy", "an agent's connection is not one client's", "remove it: X-Forwarded-For names them")
    return Endpoint(
        address.host,
        address.port,
        address.path,
        common.tls if address.secure else None,
        send_proxy=not address.agent and (common.send_proxy if own is None else own),
        agent=address.agent,
        verifies=common.verifies,
        weight=entry.need("weight", int),
        health=_health(entry.table("health")) if "health" in entry else None,
        idle_timeout_s=common.idle_timeout_s,
    )


def read_copy_place(entry: Table, view: Table, top: Table) -> Endpoint:
    """Where a copy of what comes to the route ``view`` goes."""
    address, common = entry.need("url", UpstreamAddress), _common(view, top)
    tls = common.tls if address.secure else None
    return Endpoint(address.host, address.port, address.path, tls, idle_timeout_s=common.idle_timeout_s)


def _health(view: Table) -> HealthCheck | None:
    path = view.get("path", bytes)
    if path is None:
        if not view.doubtful("path"):
            view.wrong("", "`path` is missing", HEALTH.form)
        return None
    return HealthCheck(path.decode("ascii"), view.need("interval", float), view.need("timeout", float))


def read_upstream_tls(view: Table) -> UpstreamTls:
    """How ``https`` upstreams are verified."""
    for name in ("ca", "cert", "key"):
        check_readable(view, name)
    if "key" in view and "cert" not in view:
        view.wrong("key", "a key without its certificate", "add `cert`")
    key = view.file("key") or view.file("cert")  # both may be in one file
    if key is not None:
        warn_of_key(view, key)
    return UpstreamTls(view.file("ca"), view.file("cert"), view.file("key"), view.get("server_name", str))


def check_readable(view: Table, name: str) -> None:
    """A problem where what is named at a key is not a file that we may read."""
    path = view.file(name)
    if path is None:
        return
    if not os.path.isfile(path):  # noqa: PTH113  # as for all paths here, text in and text out
        view.wrong(name, f"there is no file {path}", "mend the path, or create the file")
    elif not os.access(path, os.R_OK):
        view.wrong(name, f"{path} may not be read", "let the user that runs hookward read it")


def warn_of_key(view: Table, path: str) -> None:
    """Say what others may do with the private key of a table with ``cert`` and perhaps ``key``."""
    for note in key_notes(path):
        view.warn(note.rule, "key" if "key" in view else "cert", note)
