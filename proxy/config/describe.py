"""A load of the configuration in plain sentences, for ``check``: who may send, what proves it, where it goes.

Written for the person who has to answer for it. Secrets appear by their names and dates only. The text is stable: the
same configuration gives the same lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proxy.config.admission import addresses, only, senders
from proxy.config.guards import algorithm, show_instant, token_place
from proxy.config.notation import ListenAddress, show_rate, show_time
from proxy.config.schema import SECTIONS
from proxy.config.settings import DuplicateSettings, ListUse, Loaded, Settings
from proxy.core.delivery import Deliver, DeliveryRule, DuplicateRule
from proxy.core.grammar import PathMap
from proxy.core.payload import PayloadRule
from proxy.core.policy import BodyMode, Exposure, Limits, Policy, Route
from proxy.core.signing.proof import SignatureCheck, TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret

_INDENT = "    "
_BODIES = {
    BodyMode.FREE: "free: it is passed on as it comes.",
    BodyMode.TAIL: "tail: nothing is passed on within {window}; beyond, all but the end, until the proof holds.",
    BodyMode.HOLD: "hold: nothing is passed on until the proof holds.",
}


def describe(loaded: Loaded, sets: Mapping[str, str] | None = None) -> str:
    """What a configuration means, as text of several lines without a final newline. Warnings are not part of it.
    ``sets`` says of published address sets, by name, how many prefixes they have and of when they are.
    """
    policy, settings = loaded.policy, loaded.settings
    blocks = [list(_process(policy, settings))]
    if policy.exposure is Exposure.ROUTES:
        lists = {id(use.value): _list_of(use, sets or {}) for use in loaded.sets.lists if not use.denies}
        blocks += [_route(route, policy.limits, lists.get(id(route.allow))) for route in policy.routes]
        blocks.append(["What no route owns is answered 404."])
    elif settings.listen:
        blocks.append([_exposure(policy)])
    for forward in settings.tcp:
        title = f"TCP {forward.name}: {forward.listen} to {str(forward.upstream).removeprefix('http://')}."
        blocks.append([title, f"{_INDENT}May connect: {senders(forward.allow, forward.deny)}."])
    blocks.append(_changed_limits(policy))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _list_of(use: ListUse, told: Mapping[str, str]) -> str:
    """A list of addresses with published sets in it, as it was written."""
    named = [f"set:{name}{f'?{query}' if query else ''}" for name, query in use.sets]
    shown = [f"{text} ({told[text[4:]]})" if text[4:] in told else text for text in named]
    return _list([*shown, addresses(use.fixed)] if use.fixed else shown)


def _process(policy: Policy, settings: Settings) -> Iterator[str]:
    if settings.listen:
        yield f"Listens on {_list(map(_listening, settings.listen))}, {_tls(settings)}."
        yield _admission(policy, settings)
    if policy.trusted_proxies:
        yield f"Trusts proxies at {addresses(policy.trusted_proxies)} to name the client."
    if settings.proxy_protocol == "require":
        yield "Every connection must begin with a PROXY header."
    if settings.admin is not None:
        yield f"Answers for health and metrics on {settings.admin}."
    if settings.console is not None:
        yield f"Shows what came in a console on {settings.console.listen}."
    yield from _stores(policy, settings)


def _stores(policy: Policy, settings: Settings) -> Iterator[str]:
    if settings.queue is not None and any(route.delivery is not None for route in policy.routes):
        yield f"Keeps deliveries in {settings.queue.path or 'a Redis'}."
    if any(route.duplicates is not None for route in policy.routes):
        yield f"Remembers deliveries {_memory(settings.duplicates)}."


def _listening(address: ListenAddress) -> str:
    if address.is_tcp and not address.host:
        return f"port {address.port} of every address of this host, IPv4 and IPv6"
    return str(address)


def _memory(settings: DuplicateSettings) -> str:
    if settings.store == "memory":
        return "in this process, until it ends"
    then = "are refused" if settings.refuses else "go by this process"
    return f"in {settings.path or 'a Redis'}; while it cannot be asked, deliveries {then}"


def _tls(settings: Settings) -> str:
    if not settings.tls:
        return "without TLS"
    named = [_list(one.names) if one.names else f"the names in {one.cert}" for one in settings.tls]
    asked = {None: "", False: ", client certificates welcome", True: ", client certificates required"}
    first = settings.tls[0]
    return f"with TLS for {'; '.join(named)}{asked[first.client_required if first.client_ca else None]}"


def _admission(policy: Policy, settings: Settings) -> str:
    if settings.proxy_protocol == "require":
        off = " The kernel filter is off: the kernel cannot see what they name." if settings.kernel_filter else ""
        return f"Only trusted proxies may connect.{off}"
    if policy.admission is None:
        return f"Every address may connect.{' The kernel filter drops nothing.' if settings.kernel_filter else ''}"
    if not policy.admission:
        return "Nobody may connect: no list has an address yet."
    others = "the kernel filter drops all others" if settings.kernel_filter else "all others are reset at accept"
    admitted = only(policy.admission)
    return f"{admitted[0].upper()}{admitted[1:]} may connect; {others}."


def _exposure(policy: Policy) -> str:
    to = _list(map(str, policy.routes[0].upstream))
    if policy.exposure is Exposure.OPEN:
        return f"OPEN: every request is passed on to {to}, and nothing is checked."
    return f"Local only: requests of this host to a loopback name are passed on to {to}; all others are refused."


def _route(route: Route, limits: Limits, allowed: str | None) -> list[str]:
    below = "alone" if route.exact else "and below"
    methods = ", ".join(sorted(method.decode("ascii") for method in route.methods))
    lines = [
        f"May call: {senders(route.allow, route.deny, allowed)}.",
        *_proofs(route),
        f"Body: {_BODIES[route.body].format(window=_limit('hold_window', route.limits))}",
        *_taken(route, limits),
        *_passed_on(route),
        *_handshake(route),
        *["ONLY OBSERVED: a delivery whose proof fails is passed on and counted."] * route.observe,
    ]
    to = _list(map(str, route.upstream))
    return [f"Route {route.name}: {methods} {route.shown_path} {below}, to {to}.", *(_INDENT + line for line in lines)]


def _passed_on(route: Route) -> Iterator[str]:
    """Where, when and how often the application gets what was taken."""
    if route.path_map is not None:
        yield _mapped(route.path_map)
    if route.copies:
        yield f"Copies, by the queue: {_list([_copy(one) for one in route.copies])}."
    if route.drained:
        yield f"Drained, so they get nothing: {_list(map(str, route.drained))}."
    if route.duplicates is not None:
        yield _duplicates(route.duplicates)
    if route.delivery is not None and route.delivery.keeps:
        yield _kept(route.delivery)
    if route.hold_s:
        yield f"An upstream that is unreachable or not ready is waited for: {show_time(route.hold_s)}."


def _copy(copy: Route) -> str:
    filtered = ", filtered by `where`" if copy.payload is not None else ""
    signed = ", signed with a secret of its own" if copy.delivery is not None and copy.delivery.resign else ""
    return f"{copy.upstream[0]}{copy.base.decode('ascii')}{filtered}{signed}"


def _taken(route: Route, limits: Limits) -> Iterator[str]:
    """What of a genuine sender's requests is taken."""
    if route.events is not None:
        yield f"Events: {_list(sorted(route.events))}; others are refused."
    if route.content_types is not None:
        types = _list(sorted(name.decode("ascii") for name in route.content_types))
        yield f"Content types: {types}; others are refused."
    if route.payload is not None and route.payload.where:
        yield _selection(route.payload)
    tightened = [
        f"{key.name} {_limit(key.name, route.limits)}"
        for key in SECTIONS["route_limits"].keys
        if getattr(route.limits, key.attribute) != getattr(limits, key.attribute)
    ]
    if tightened:
        yield f"Tighter limits: {_list(tightened)}."
    if route.rate is not None:
        yield f"Each address: {show_rate(route.rate.per_s)}, at most {route.rate.burst} at once."


def _selection(rule: PayloadRule) -> str:
    conditions = "; ".join(f"{one.place.text} {one}" for one in rule.where)
    undecided = "passed on" if rule.may_pass else "refused"
    return f"Passed on: {conditions}. Others are answered 200; what cannot be read is {undecided}."


def _mapped(path_map: PathMap) -> str:
    left_out = ", without the token" if path_map.has_token else ""
    return f"There its path is {path_map.place.decode('ascii')}{left_out}; a signed URL is the one that came."


def _handshake(route: Route) -> list[str]:
    if route.handshake == "answer":
        return ["The provider's endpoint check is answered here."]
    check = route.endpoint_check
    if check is None or check.signed:
        return []
    if route.handshake == "refuse":
        return [f"The provider's endpoint check ({check.request}) is refused."]
    if check.verify and route.verify_token is not None:
        return [f"The provider's endpoint check ({check.request}) is passed on if its token is right."]
    where = "with the token alone" if route.token is not None else "unsigned, at this path alone"
    return [f"The provider's endpoint check ({check.request}) is passed on {where}."]


def _duplicates(rule: DuplicateRule) -> str:
    what = f"answered as delivered for {show_time(rule.window_s)}" if rule.remembers else "stopped while in flight only"
    by = " or ".join(word for word, told in (("id", rule.by_id), ("signature", rule.by_signature)) if told)
    return f"Duplicates: {what}, told by {by}."


def _kept(rule: DeliveryRule) -> str:
    when = "every delivery" if rule.deliver is Deliver.QUEUE else "what the application cannot be given now"
    told = f"the sender is told {rule.accepted_status} once it is on stable storage"
    return f"Kept: {when}; {told}, and it is tried for {show_time(rule.retry.for_s)}."


def _proofs(route: Route) -> list[str]:
    found = []
    if route.signature is not None:
        found.append(f"Proof: {_signature(route.provider, route.signature)}.")
    if route.token is not None:
        found.append(f"Proof: {_token(route.provider, route.token)}.")
    if any(endpoint.verifies for endpoint in route.upstream):
        found.append("Proof: checked by the agent, which has the secrets.")
    if route.client_names is not None:
        found.append(f"Proof: a client certificate of {' or '.join(sorted(route.client_names))}.")
    return found or ["Proof: none."]


def _signature(provider: str, check: SignatureCheck) -> str:
    scheme = check.scheme
    headers = _list([name.decode("latin-1") for name in scheme.headers])
    where = f" in {headers}" if headers else " in the body"
    tolerance = check.tolerance_s
    if tolerance is None and scheme.timestamp is not None:
        tolerance = scheme.timestamp.tolerance_s
    fresh = f", not older or newer than {show_time(tolerance)}" if tolerance is not None else ""
    topics = f", of {_list(check.topics)}" if check.topics else ""
    return f"signature of {provider}{where} ({algorithm(scheme)}){topics}{fresh}, with {_secrets(check.secrets)}"


def _token(provider: str, check: TokenCheck) -> str:
    owner = "" if provider == "token" else f" of {provider}"
    removed = ", which is then removed" if check.kind in {TokenKind.QUERY, TokenKind.PATH} else ""
    return f"token{owner} ({token_place(check.kind, check.name)}{removed}), with {_secrets(check.secrets)}"


def _secrets(secrets: Sequence[Secret]) -> str:
    shown = []
    for secret in secrets:
        both = (("from", secret.not_before), ("until", secret.not_after))
        dates = [f"{word} {show_instant(instant)}" for word, instant in both if instant is not None]
        shown.append(f"{secret.name} ({' '.join(dates)})" if dates else secret.name)
    return f"the secret{'s' if len(shown) > 1 else ''} {_list(shown)}"


def _changed_limits(policy: Policy) -> list[str]:
    changed = []
    for key in SECTIONS["limits"].keys:
        attribute = key.attribute
        value = getattr(policy.limits if hasattr(policy.limits, attribute) else policy.server, attribute)
        if value != key.kind.read(key.default):
            changed.append(f"{key.name} {key.show(value)} (default {key.default})")
    return [f"Limits that differ from their defaults: {_list(changed)}."] if changed else []


def _limit(name: str, limits: Limits) -> str:
    key = SECTIONS["limits"].key(name)
    assert key is not None
    return key.show(getattr(limits, key.attribute))


_list = ", ".join
