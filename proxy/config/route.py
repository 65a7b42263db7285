"""One route: from its table to a ``Route`` with checks, limits and endpoints.

Keys that contradict each other are problems: a body that streams freely under a signature, event types without a header
that names them, a limit that would loosen the global one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from math import ceil

from proxy.config.allow import AllowReader
from proxy.config.duplicates import body_without_signature, read_rule
from proxy.config.endpoints import Upstream
from proxy.config.guards import GuardReader, Guards
from proxy.config.kinds import SIZE, TIME
from proxy.config.notes import Note
from proxy.config.problems import Problems
from proxy.config.schema import FLAG_ROUTE, SECTIONS, Key
from proxy.config.secret_files import key_notes
from proxy.config.sizes import show_size, show_time
from proxy.config.tree import View
from proxy.core.addresses import AddressSet
from proxy.core.policy import SPARE_S, BodyMode, Endpoint, HealthCheck, Limits, Route, UpstreamTls
from proxy.core.rate import RateRule
from proxy.core.schemes import Provider
from proxy.core.schemes.handshake import Form
from proxy.core.signatures import SignatureCheck
from proxy.values import frozen

USUAL_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
#: Of a slow rate: a provider's few deliveries of one event come together.
LEAST_BURST = 10
_GUARD_KEYS = ("allow", "client_names", "provider", "token", "secrets")


@frozen
class RouteReader:
    """Builds the routes of one load. ``allow`` is the top level's, for routes without their own."""

    problems: Problems
    warnings: list[str]
    lists: AllowReader
    guards: GuardReader
    limits: Limits
    buffer_budget: int
    allow: AddressSet | None
    top: View
    open: bool

    def read(self, name: str) -> Route:
        """The route called ``name``. All its mistakes go into the problems."""
        view = self.top.tree.view("route", "route", name)
        guards = self.guards.read(view)
        allow = self.lists.read(view, "allow")
        self._check_guarded(name, view, allow)
        limits, observe = self._limits(view, guards), self._observe(name, view)
        upstream, drained = self._upstreams(view)
        answer_s = guards.provider.answer_s if guards.provider else 0.0
        return Route(
            name=name,
            path=view.need("path", bytes),
            exact=view.need("exact", bool),
            methods=frozenset(view.items("methods", bytes)),
            allow=self.allow if allow is None else allow,
            token=guards.token,
            signature=guards.signature,
            events=self._events(view, guards),
            body=self._body(view, guards),
            observe=observe,
            upstream=upstream,
            drained=drained,
            answer_s=answer_s,
            limits=limits,
            client_names=self._client_names(view),
            rate=self._rate(view),
            provider=self._label(guards),
            event_header=guards.provider.event_header if guards.provider else None,
            delivery_header=guards.provider.delivery_header if guards.provider else None,
            hold_s=self._hold(view, answer_s),
            refusal_status=guards.provider.refusal_status if guards.provider else None,
            duplicates=read_rule(view, guards, limits, self.problems, observe=observe),
            endpoint_check=guards.provider.handshake if guards.provider else None,
            handshake=self._handshake(view, guards),
            verify_token=self.guards.read_one(view, "verify_token"),
        )

    def built_in(self, name: str) -> Route:
        """The route of a load without routes: everything, for whoever the exposure admits."""
        upstream, drained = self._upstreams(self.top)
        return Route(
            name=name,
            path=b"/",
            exact=False,
            methods=USUAL_METHODS,
            allow=self.allow,
            token=None,
            signature=None,
            events=None,
            body=BodyMode.FREE,
            observe=False,
            upstream=upstream,
            limits=self.limits,
            drained=drained,
        )

    def _check_guarded(self, name: str, view: View, allow: AddressSet | None) -> None:
        tree = view.tree
        named = (
            allow is not None
            or "provider" in view
            or "client_names" in view
            or tree.view("token", *view.prefix, "token").exists
        )
        if named or view.doubtful(*_GUARD_KEYS) or self.top.doubtful("allow"):
            return
        if self.open or view.need("open", bool):
            if self.allow is None:
                self.warnings.append(Note("H303", f"{view.where()}: route {name!r} is open: everybody may call it"))
        elif self.allow is None:
            self.problems.add(
                view.where(),
                "nothing guards this route, so it stays closed",
                "add `allow`, `provider` with `secrets`, or `token` (with flags: --allow, --provider with "
                "--secret-file, or --token-header with --token-file); `open = true` lets everybody in",
            )

    def _client_names(self, view: View) -> frozenset[str] | None:
        names = view.items("client_names", str)
        asked = any("client_ca" in self.top.tree.view("tls", "tls", index) for index in self.top.tree.indexes("tls"))
        if names and not asked:
            self.problems.add(
                view.where("client_names"),
                "nobody is asked for a certificate, so nobody could pass",
                "add `client_ca` to the first [[tls]] table (flag: --tls-client-ca PATH)",
            )
        return frozenset(name.lower() for name in names) if names else None

    def _rate(self, view: View) -> RateRule | None:
        per_s, burst = view.get("rate", float), view.get("burst", int)
        if per_s is None:
            if burst is not None and not view.doubtful("rate"):
                self.problems.add(view.where("burst"), "a burst of no rate", 'add `rate` (flag: --rate "20/s")')
            return None
        return RateRule(per_s, burst or max(LEAST_BURST, ceil(2 * per_s)))

    def _label(self, guards: Guards) -> str:
        if guards.provider is not None:
            return guards.provider.slug
        return "token" if guards.token is not None else ""

    def _events(self, view: View, guards: Guards) -> frozenset[str] | None:
        events = view.items("events", str)
        if not events:
            return None
        known = guards.provider is not None or not view.doubtful("provider")
        if known and (guards.provider is None or guards.provider.event_header is None):
            who = guards.provider.title if guards.provider else "a route without a provider"
            if guards.provider is not None or "provider" not in view:
                self.problems.add(
                    view.where("events"),
                    f"{who} has no header that names the event",
                    "remove `events`, and let the application choose",
                )
        return frozenset(events)

    def _body(self, view: View, guards: Guards) -> BodyMode:
        asked = view.get("body", str)
        if guards.signature is None:
            return body_without_signature(view, asked, self.problems)
        if asked == "free":
            self.problems.add(
                view.where("body"),
                '"free" would pass the whole body on before its signature is checked',
                'write body = "tail" or "hold"',
            )
        if guards.signature.whole_body and asked == "tail":
            self.problems.add(
                view.where("body"),
                f"the signature of {self._label(guards)} can only be checked on the whole body",
                'write body = "hold", or leave `body` out',
            )
        return BodyMode.HOLD if guards.signature.whole_body else BodyMode(asked or "tail")

    def _observe(self, name: str, view: View) -> bool:
        observe = view.need("mode", str) == "observe"
        if observe:
            text = f"{view.where('mode')}: route {name!r} only observes: a delivery whose proof fails is passed on"
            self.warnings.append(Note("H302", text))
        return observe

    def _handshake(self, view: View, guards: Guards) -> str:
        handshake = view.need("handshake", str)
        if handshake == "answer" and guards.provider is None and "provider" not in view:
            self.problems.add(
                view.where("handshake"), "only a provider's endpoint check can be answered", "name `provider`"
            )
        if guards.provider is not None:
            self._check_handshake(view, guards.provider, handshake)
        return handshake

    def _check_handshake(self, view: View, provider: Provider, handshake: str) -> None:
        check = provider.handshake
        if "verify_token" in view and (check is None or not check.needs_token):
            self.warnings.append(f"{view.where('verify_token')}: {provider.title} has no endpoint check with a token")
        if handshake == "answer":
            for what, mend in answer_problems(view, provider):
                self.problems.add(view.where("handshake"), what, mend)
        unproved = check is not None and not check.signed and not (check.verify and "verify_token" in view)
        if handshake == "forward" and unproved and provider.scheme is not None and view.need("path", bytes) == b"/":
            self.warnings.append(
                f"{view.where()}: nobody signs the endpoint check of {provider.title}, so it is passed on at the "
                "route's own path alone, which is /: set `path` to that of the webhook"
            )

    def _hold(self, view: View, answer_s: float) -> float:
        hold_s = view.need("hold", float)
        most_s = answer_s - SPARE_S
        if not answer_s or hold_s <= most_s:
            return hold_s
        who = f"{view.where('hold')}: the provider waits {show_time(answer_s)} in all"
        self.warnings.append(Note("H405", f"{who}: `hold` is cut from {show_time(hold_s)} to {show_time(most_s)}"))
        return most_s

    def _upstreams(self, view: View) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
        owner = view if "upstream" in view else self.top
        send_proxy = view.get("send_proxy", bool)
        if send_proxy is None:
            send_proxy = self.top.need("send_proxy", bool)
        idle_s = view.get("upstream_idle_timeout", float)
        if idle_s is None:
            idle_s = self.top.need("upstream_idle_timeout", float)
        tls = self._tls_of(view)
        return read_upstreams(owner, tls, self.problems, send_proxy=send_proxy, idle_timeout_s=idle_s)

    def _tls_of(self, view: View) -> UpstreamTls:
        own = view.tree.view("upstream_tls", *view.prefix, "upstream_tls")
        if not own.exists:
            own = view.tree.view("upstream_tls", "upstream_tls")
        return read_upstream_tls(own, self.problems, self.warnings)

    def _limits(self, view: View, guards: Guards) -> Limits:
        """The global limits, tightened by the route's own keys or its table, else by what its scheme takes."""
        table = view.tree.view("route_limits", *view.prefix, "limits")
        chosen: dict[str, object] = {}
        for key in SECTIONS["route_limits"].keys:
            direct = key.name in view
            if direct and key.name in table:
                self.problems.add(table.where(key.name), f"`{key.name}` is set twice", "remove one of the two")
            own = view if direct else table
            value = own.get(key.name, object)
            if value is not None:
                attribute = attribute_of(key)
                most = getattr(self.limits, attribute)
                if isinstance(value, int | float) and value > most:
                    self._loosens(own, key, value, most)
                chosen[attribute] = value
        if guards.signature is not None and guards.signature.max_body is not None:
            chosen["max_body"] = self._whole_body(view, guards.signature, chosen.get("max_body"))
        return replace(self.limits, **chosen)  # type: ignore[arg-type]  # names and kinds come from the schema

    def _whole_body(self, view: View, check: SignatureCheck, stated: object) -> int:
        """The largest body of a scheme that needs all of it: what the route says, else little; and what half of the
        budget can hold while its verdict is made.
        """
        # With flags there is one route, and one --max-body.
        if stated is None and view.prefix[-1] == FLAG_ROUTE and "max_body" in self.top.tree.view("limits", "limits"):
            stated = self.limits.max_body
        most = self.buffer_budget // 2 // check.work_factor
        if isinstance(stated, int):
            if stated > most:
                self.warnings.append(
                    f"{view.where('max_body')}: a body of {show_size(stated)} would take more than half of "
                    f"buffer_budget to verify: this route takes {most} bytes; make buffer_budget larger"
                )
            return min(stated, most)
        return min(check.max_body or most, self.limits.max_body, most)

    def _loosens(self, own: View, key: Key, value: float, most: float) -> None:
        self.problems.add(
            own.where(key.name),
            f"{show_limit(key, value)} would loosen limits.{key.name}, which is {show_limit(key, most)}",
            f"a route may only tighten: choose at most {show_limit(key, most)}, or raise limits.{key.name}",
        )


def answer_problems(view: View, provider: Provider) -> Iterator[tuple[str, str]]:
    """Why the endpoint check of ``provider`` cannot be answered here: (what, mend)."""
    check = provider.handshake
    if check is None:
        yield f"{provider.title} has no endpoint check to answer", "leave `handshake` out"
    elif check.form is Form.NONE:
        what = f"only the application can answer the endpoint check of {provider.title}: {check.reason}"
        yield what, 'write handshake = "forward"'
    elif check.needs_token and "verify_token" not in view and not view.doubtful("verify_token"):
        what = f"the endpoint check of {provider.title} needs the token that is configured there"
        yield what, 'add verify_token = "file:/path" (flag: --verify-token-file PATH)'
    elif check.needs_url and "public_url" not in view and not view.doubtful("public_url"):
        what = f"the answer to the endpoint check of {provider.title} is made with the endpoint's URL"
        yield what, 'add public_url = "https://hooks.example.com", as it is configured there (flag: --public-url URL)'


def show_limit(key: Key, value: float) -> str:
    """A limit as one writes it."""
    if key.kind is TIME:
        return show_time(value)
    return show_size(int(value)) if key.kind is SIZE else str(value)


def attribute_of(key: Key) -> str:
    """The name of a limit in ``Limits`` and ``ServerLimits``: times end in ``_s``."""
    return key.name + "_s" if key.kind is TIME else key.name


def read_limits(view: View, names: Sequence[str]) -> dict[str, object]:
    """The values of the limits whose attributes are ``names``."""
    keys = {attribute_of(key): key.name for key in SECTIONS["limits"].keys}
    return {name: view.get(keys[name], object) for name in names}


def names_of(limits: type) -> list[str]:
    """The attributes of a class of limits."""
    return [field.name for field in fields(limits)]


def read_upstreams(
    view: View, tls: UpstreamTls, problems: Problems, *, send_proxy: bool, idle_timeout_s: float
) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """The endpoints of a table's ``upstream``, and those of them that are drained; both () where there is none, which
    the caller judges.
    """
    entries = view.items("upstream", Upstream)
    addresses = [entry.address for entry in entries]
    if len(set(addresses)) < len(addresses):
        problems.add(view.where("upstream"), "names the same upstream twice", "remove one of the two")
    none_is_left = all(entry.drain for entry in entries)
    if entries and none_is_left:
        problems.add(view.where("upstream"), "every upstream is drained", "leave one without `drain`")
    endpoints = [_endpoint(entry, tls, send_proxy=send_proxy, idle_timeout_s=idle_timeout_s) for entry in entries]
    return (
        tuple(one for one, entry in zip(endpoints, entries, strict=True) if not entry.drain or none_is_left),
        tuple(one for one, entry in zip(endpoints, entries, strict=True) if entry.drain),
    )


def _endpoint(entry: Upstream, tls: UpstreamTls, *, send_proxy: bool, idle_timeout_s: float) -> Endpoint:
    address = entry.address
    health = HealthCheck(entry.health_path, entry.health_interval_s, entry.health_timeout_s)
    return Endpoint(
        address.host,
        address.port,
        address.path,
        tls if address.secure else None,
        send_proxy=send_proxy if entry.send_proxy is None else entry.send_proxy,
        weight=entry.weight,
        health=health if entry.health_path else None,
        idle_timeout_s=idle_timeout_s,
    )


def read_upstream_tls(view: View, problems: Problems, warnings: list[str]) -> UpstreamTls:
    """How ``https`` upstreams are verified."""
    for name in ("ca", "cert", "key"):
        path = view.file(name)
        if path is not None:
            check_readable(view.where(name), path, problems)
    if "key" in view and "cert" not in view:
        problems.add(view.where("key"), "a key without its certificate", "add `cert`")
    key = view.file("key") or view.file("cert")  # both may be in one file
    if key is not None:
        warnings += key_notes(view.where("key" if "key" in view else "cert"), key)
    return UpstreamTls(view.file("ca"), view.file("cert"), view.file("key"), view.get("server_name", str))


def check_readable(where: str, path: str, problems: Problems) -> None:
    """A problem where ``path`` is not a file that we may read."""
    if not os.path.isfile(path):  # noqa: PTH113  # as for all paths here, text in and text out
        problems.add(where, f"there is no file {path}", "mend the path, or create the file")
    elif not os.access(path, os.R_OK):
        problems.add(where, f"{path} may not be read", "let the user that runs hookward read it")
