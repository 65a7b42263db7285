"""One route: from its table to a ``Route`` with checks, limits and endpoints, and what it asks of payloads.

Keys that contradict each other are problems: a body that streams freely under a signature, event types without a header
that names them, a limit that would loosen the global one.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

from proxy.config.admission import AllowReader
from proxy.config.delivery import body_without_signature, kept_body, read_delivery, read_rule, read_turns, with_copies
from proxy.config.ends import read_base, read_upstreams
from proxy.config.guards import GuardReader, Guards, read_handshake
from proxy.config.notation import show_size, show_time
from proxy.config.schema import FLAG_ROUTE, SECTIONS
from proxy.config.tree import Table
from proxy.core.addresses import AddressSet
from proxy.core.budget import RateRule
from proxy.core.grammar import TOKEN_SEGMENT
from proxy.core.payload import PayloadCondition, PayloadRule, Pointer
from proxy.core.policy import SPARE_S, BodyMode, Endpoint, Limits, Route
from proxy.core.schemes import Provider
from proxy.core.signing.proof import SignatureCheck, TokenKind
from proxy.values import frozen

USUAL_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
#: Of a slow rate: a provider's few deliveries of one event come together.
LEAST_BURST = 10
_GUARD = (
    "add `allow`, `provider` with `secrets`, or `token` (with flags: --allow, --provider with "
    "--secret-file, or --token-header with --token-file); `open = true` forwards without any check"
)
#: What a route has as its provider has it.
_OF_PROVIDER = ("event_header", "delivery_header", "refusal_status")
_GUARD_KEYS = ("allow", "client_names", "provider", "token", "secrets")


@frozen
class RouteReader:
    """Builds the routes of one load. Of the top level, ``allow`` is for routes without their own, ``deny`` for all."""

    lists: AllowReader
    guards: GuardReader
    limits: Limits
    buffer_budget: int
    allow: AddressSet | None
    deny: tuple[AddressSet, ...]
    top: Table
    open: bool
    workers: int

    def read(self, name: str, view: Table) -> Route:
        """The route called ``name``."""
        guards = self.guards.read(view)
        provider = guards.provider
        allow = self.lists.read(view, "allow")
        self._check_guarded(name, view, allow)
        limits, observe = self._limits(view, guards), self._observe(name, view)
        upstream, drained = read_upstreams(view, self.top)
        apart = self._apart(view, upstream)
        answer_s = provider.answer_s if provider else 0.0
        payload, body = read_payload_rule(view, guards), self._body(view, guards)
        route = Route(
            name=name,
            path=self._path(view, guards),
            exact=view.need("exact", bool),
            methods=frozenset(view.items("methods", bytes)),
            allow=self.allow if allow is None else allow,
            deny=self.lists.read_deny(view, self.deny),
            token=guards.token,
            signature=guards.signature,
            events=self._events(view, guards),
            body=kept_body(view, body if payload is None else body_of_payloads(view, view.get("body", str), body)),
            observe=observe,
            payload=payload,
            upstream=upstream,
            drained=drained,
            answer_s=answer_s,
            limits=limits,
            content_types=frozenset(view.items("content_types", bytes)) or None,
            client_names=self._client_names(view),
            rate=self._rate(view),
            provider=self._label(guards),
            hold_s=self._hold(view, answer_s),
            duplicates=read_rule(view, guards, limits, observe=observe),
            delivery=read_delivery(view),
            turns=read_turns(view, self.workers),
            endpoint_check=provider.handshake if provider and not apart else None,
            handshake="forward" if apart else read_handshake(view, provider),
            verify_token=self.guards.read_one(view, "verify_token"),
            rewrite=view.get("rewrite", bytes),
            base=read_base(view, self.top),
            **({name: getattr(provider, name) for name in _OF_PROVIDER} if provider else {}),
        )
        return with_copies(route, view, self.top, self.guards, guards)

    def built_in(self, name: str) -> Route:
        """The route of a load without routes: everything, for whoever the exposure admits."""
        upstream, drained = read_upstreams(self.top, self.top)
        return Route(
            name=name,
            path=b"/",
            exact=False,
            methods=USUAL_METHODS,
            allow=self.allow,
            deny=self.deny,
            token=None,
            signature=None,
            events=None,
            body=BodyMode.FREE,
            observe=False,
            upstream=upstream,
            limits=self.limits,
            drained=drained,
            base=read_base(self.top, self.top),
        )

    def _path(self, view: Table, guards: Guards) -> bytes:
        """The path, or what stands in it before the token."""
        path = view.need("path", bytes)
        has_token = guards.token is not None and guards.token.kind is TokenKind.PATH
        asks = has_token or view.table("token").exists or view.doubtful("token")
        if path.endswith(TOKEN_SEGMENT) and not asks:
            mend = 'add token = { path = true, secrets = ["file:/path"] }'
            view.wrong("path", "holds the place of a token, and no token is asked for there", mend)
        return path.removesuffix(TOKEN_SEGMENT)

    def _check_guarded(self, name: str, view: Table, allow: AddressSet | None) -> None:
        guards = (allow, self.allow, view.entry("provider"), view.entry("client_names"))
        named = view.table("token").exists or view.need("verify", str) == "agent" or guards.count(None) < len(guards)
        if named or view.doubtful(*_GUARD_KEYS) or self.top.doubtful("allow"):
            return
        if self.open or view.need("open", bool):
            view.warn("H303", "", f"route {name!r} is open: it forwards without any check")
        else:
            view.wrong("", "nothing guards this route, so it stays closed", _GUARD)

    def _apart(self, view: Table, upstream: tuple[Endpoint, ...]) -> bool:
        """Whether the verdict is given at the agent."""
        apart = view.need("verify", str) == "agent"
        if apart and not all(endpoint.agent for endpoint in upstream):
            what = "an upstream that is no agent would get deliveries that nothing has verified"
            view.wrong("verify", what, 'let every upstream of this route be an agent, or remove verify = "agent"')
        return apart

    def _client_names(self, view: Table) -> frozenset[str] | None:
        names = view.items("client_names", str)
        asked = any("client_ca" in table for table in self.top.tables("tls"))
        if names and not asked:
            what = "clients are not asked for a certificate, so none could pass"
            view.wrong("client_names", what, "add `client_ca` to the first [[tls]] table (flag: --tls-client-ca PATH)")
        return frozenset(name.lower() for name in names) if names else None

    def _rate(self, view: Table) -> RateRule | None:
        per_s, burst = view.get("rate", float), view.get("burst", int)
        if per_s is None:
            if burst is not None and not view.doubtful("rate"):
                view.wrong("burst", "a burst of no rate", 'add `rate` (flag: --rate "20/s")')
            return None
        return RateRule(per_s, burst or max(LEAST_BURST, ceil(2 * per_s)))

    def _label(self, guards: Guards) -> str:
        own = "token" if guards.token is not None else ""
        return own if guards.provider is None else guards.provider.slug

    def _events(self, view: Table, guards: Guards) -> frozenset[str] | None:
        events = view.items("events", str)
        if not events:
            return None
        provider = guards.provider
        title = provider.title if provider else "a route without a provider"
        names = provider is not None and (provider.event_header or provider.event_place)
        if not names and (provider is not None or not view.written("provider")):
            what = f"{title} has no header that names the event, and no place for it in its payloads is known"
            mend = 'write where = { "PLACE" = ["NAME"] }, with the place where the event stands'
            view.wrong("events", what, mend)
        return frozenset(events)

    def _body(self, view: Table, guards: Guards) -> BodyMode:
        asked = view.get("body", str)
        if guards.signature is None:
            return body_without_signature(view, asked)
        if asked == "free":
            what = '"free" would pass the whole body on before its signature is checked'
            view.wrong("body", what, 'write body = "tail" or "hold"')
        if guards.signature.whole_body and asked == "tail":
            text = f"body = 'tail' is taken for 'hold': {self._label(guards)} signs what only the whole body shows"
            view.warn("H323", "body", text)
        return BodyMode.HOLD if guards.signature.whole_body else BodyMode(asked or "tail")

    def _observe(self, name: str, view: Table) -> bool:
        observe = view.need("mode", str) == "observe"
        if observe:
            view.warn("H302", "mode", f"route {name!r} only observes: a delivery whose proof fails is passed on")
        return observe

    def _hold(self, view: Table, answer_s: float) -> float:
        hold_s = view.need("hold", float)
        most_s = answer_s - SPARE_S
        if not answer_s or hold_s <= most_s:
            return hold_s
        cut = f"`hold` is cut from {show_time(hold_s)} to {show_time(most_s)}"
        view.warn("H405", "hold", f"the provider waits {show_time(answer_s)} in all: {cut}")
        return most_s

    def _limits(self, view: Table, guards: Guards) -> Limits:
        """The global limits, tightened by the route's own keys or its table, else by what its scheme takes."""
        table = view.table("limits")
        chosen: dict[str, Any] = {}
        for key in SECTIONS["route_limits"].keys:
            direct = key.name in view
            if direct and key.name in table:
                table.wrong(key.name, f"`{key.name}` is set twice", "remove one of the two")
            own = view if direct else table
            value = own.get(key.name, object)
            if value is not None:
                attribute = key.attribute
                most = getattr(self.limits, attribute)
                if isinstance(value, int | float) and value > most:
                    what = f"{key.show(value)} would loosen limits.{key.name}, which is {key.show(most)}"
                    mend = f"a route may only tighten: choose at most {key.show(most)}, or raise limits.{key.name}"
                    own.wrong(key.name, what, mend)
                chosen[attribute] = value
        if guards.signature is not None and guards.signature.max_body is not None:
            chosen["max_body"] = self._whole_body(view, guards.signature, chosen.get("max_body"))
        return replace(self.limits, **chosen)

    def _whole_body(self, view: Table, check: SignatureCheck, stated: object) -> int:
        """The largest body of a scheme that needs all of it: as the route says, else little; at most half a budget."""
        # With flags there is one route, and one --max-body.
        if stated is None and view.path[-1] == FLAG_ROUTE and "max_body" in self.top.table("limits"):
            stated = self.limits.max_body
        most = self.buffer_budget // 2 // check.work_factor
        if isinstance(stated, int):
            if stated > most:
                why = f"a body of {show_size(stated)} would take more than half of buffer_budget to verify"
                view.warn("", "max_body", f"{why}: this route takes {most} bytes; make buffer_budget larger")
            return min(stated, most)
        return min(check.max_body or most, self.limits.max_body, most)


def read_payload_rule(view: Table, guards: Guards) -> PayloadRule | None:
    """What a route asks of payloads; None where it looks at none."""
    where = view.items("where", PayloadCondition)
    place = _event_place(guards.provider)
    events = frozenset(view.items("events", str)) if place is not None else frozenset()
    if not where and not events:
        if "undecided" in view and not view.doubtful("where"):
            view.wrong("undecided", "`undecided` has no effect without `where`", "add `where`, or remove it")
        return None
    passes = view.need("undecided", str) == "pass"
    if passes and events:
        what = "what cannot be read is never passed on where `events` stand in the payload"
        view.wrong("undecided", what, "remove `events`, or `undecided`")
    return PayloadRule(where, place, events or None, passes)


def _event_place(provider: Provider | None) -> Pointer | None:
    """Where the event stands in the payload; None where a header has it, or nothing is known."""
    if provider is None or provider.event_header is not None or not provider.event_place:
        return None
    return Pointer.parse(provider.event_place)


def body_of_payloads(view: Table, asked: str | None, mode: BodyMode) -> BodyMode:
    """How the body goes where its payload is looked at: held back within the window, even where nothing is signed."""
    if asked == "free":
        what = '"free" would pass the body on before its payload is looked at'
        view.wrong("body", what, 'write body = "tail" or "hold", or leave `body` out')
    return BodyMode.TAIL if mode is BodyMode.FREE else mode
