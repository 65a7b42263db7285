"""What ``check`` says beyond the warnings of a load: settings that work, and should be changed all the same.

Judged on what was loaded, so flags, environment and file count alike. Names of secrets are shown, never values; that
two are equal is said, not what they are. A delivery that is refused for its event type is lost at a provider that never
sends again: words that a route's provider does not use are told before they count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from proxy.config.admission import callers
from proxy.config.notation import is_loopback, show_time
from proxy.config.problems import Note, audible, nearest
from proxy.config.settings import Loaded, Settings
from proxy.core.addresses import AddressSet
from proxy.core.causes.of_secret import api_key
from proxy.core.policy import Exposure, Policy, Route
from proxy.core.schemes import Provider, find
from proxy.core.signing.proof import SignatureCheck, TokenCheck, TokenKind, needs_public_keys
from proxy.core.signing.scheme import Method, Secret
from proxy.errors import Place

SHORT_SECRET_BYTES = 16
SOON_S = 14 * 86400.0
WIDE_TOLERANCE_S = 3600.0
#: Node, uvicorn and Apache close a connection that has been idle for this long.
USUAL_IDLE_S = 5.0
#: The shortest prefixes without a warning, in bits: shorter ones are a good part of the internet.
_WIDE4, _WIDE6 = 4, 8
_DAY_S = 86400.0
_TOKENS_IN = {TokenKind.QUERY: "in the query", TokenKind.PATH: "in the path"}


def lint(loaded: Loaded, now: float) -> tuple[str, ...]:
    """The notes on a load at ``now`` (seconds since the epoch), without those that its ``silence`` names."""
    policy, settings = loaded.policy, loaded.settings
    notes: list[Note] = []
    if policy.exposure is Exposure.ROUTES:
        for route in policy.routes:
            where = _where(settings, route)
            notes += [note.at(where) for note in (*_of_route(route, settings, now), *of_provider(route))]
        notes += _of_shared_secrets(policy, settings)
        notes += _of_order(policy, settings)
        notes += _of_slashes(policy, settings)
        notes += _of_places(policy, settings)
    # By identity: thousands of routes may share one list.
    wide = {key for key, allow in {id(allow): allow for _, allow in _lists(loaded)}.items() if _is_wide(allow)}
    notes += [Note("H203", f"{name} admits every address") for name, allow in _lists(loaded) if id(allow) in wide]
    return audible(notes, settings.silence)


def _where(settings: Settings, route: Route) -> str:
    """The place of a route, as its first key has it."""
    found = settings.routes_at.get(route.name, Place())
    return f"{Place(found.file, found.line)}: route {route.name}" if found.file else f"route {route.name}"


def _of_route(route: Route, settings: Settings, now: float) -> Iterator[Note]:
    for secret in _secrets(route):
        yield from _of_secret(secret, now, is_key=_is_key(route, secret))
    yield from _of_scheme(route)
    yield from _of_token(route, settings)
    proves = route.signature is not None or route.token is not None or route.client_names is not None
    judged = any(endpoint.verifies for endpoint in route.upstream)
    if route.allow is not None and not (proves or judged):
        yield Note("H202", "only the address is checked")
    yield from _of_upstream(route)


def _of_upstream(route: Route) -> Iterator[Note]:
    for endpoint in (*route.upstream, *(one.upstream[0] for one in route.copies)):
        is_open = endpoint.tls is None and endpoint.path is None and not endpoint.agent
        if is_open and not is_loopback(endpoint.host.lower()):
            yield Note("H403", f"deliveries go to {endpoint} in clear")
    kept_s = max((endpoint.idle_timeout_s for endpoint in route.upstream), default=0.0)
    if kept_s >= USUAL_IDLE_S:
        yield Note("H406", f"an idle connection to the upstream is used for up to {show_time(kept_s)}")


def _secrets(route: Route) -> tuple[Secret, ...]:
    signature = route.signature.secrets if route.signature is not None else ()
    return signature + (route.token.secrets if route.token is not None else ())


def _is_key(route: Route, secret: Secret) -> bool:
    """Whether the secret is one that both sides know, and not a public key."""
    signature = route.signature
    return signature is None or secret not in signature.secrets or not needs_public_keys(signature.scheme)


def _of_secret(secret: Secret, now: float, *, is_key: bool) -> Iterator[Note]:
    if is_key and len(secret.value) < SHORT_SECRET_BYTES:
        yield Note("H102", f"the secret {secret.name} has {len(secret.value)} bytes")
    what = api_key(secret.value) if is_key else None
    if what is not None:
        yield Note("H103", f"the secret {secret.name} looks like {what}")
    if secret.not_after is not None and 0 < secret.not_after - now < SOON_S:
        days = (secret.not_after - now) / _DAY_S
        yield Note("H105", f"the secret {secret.name} expires in {days:.0f} days")


def _of_scheme(route: Route) -> Iterator[Note]:
    provider = find(route.provider) if route.provider else None
    if provider is not None and provider.better:
        yield Note("H110", f"{provider.title}: {provider.advice}")
    elif route.signature is not None and route.signature.scheme.method is Method.HASH:
        yield Note("H110", "a plain digest is checked, which is open to length extension")
    tolerance = route.signature.tolerance_s if route.signature is not None else None
    if tolerance is not None and tolerance > WIDE_TOLERANCE_S:
        yield Note("H206", f"the tolerance is {tolerance:g} s")


def _of_token(route: Route, settings: Settings) -> Iterator[Note]:
    if route.token is not None and _in_clear(settings):
        yield Note("H201", f"the token {_TOKENS_IN.get(route.token.kind, 'in a header')} comes without TLS")


def _in_clear(settings: Settings) -> bool:
    """Whether senders reach us over a network without TLS. Behind a proxy, TLS is the proxy's."""
    if settings.tls or settings.proxy_protocol != "off" or ("trusted_proxies",) in settings.sources:
        return False
    return any(not address.is_local and address.fd_name is None for address in settings.listen)


def _of_shared_secrets(policy: Policy, settings: Settings) -> Iterator[Note]:
    first: dict[bytes, tuple[Route, Secret]] = {}
    for route in policy.routes:
        for secret in _secrets(route):
            if not _is_key(route, secret):
                continue
            other, named = first.setdefault(secret.value, (route, secret))
            if other is not route and other.provider != route.provider:
                text = f"the secret {secret.name} is that of route {other.name}, {named.name}"
                yield Note("H109", f"{_where(settings, route)}: {text}")


def _of_order(policy: Policy, settings: Settings) -> Iterator[Note]:
    on_path: dict[bytes, list[Route]] = {}
    for route in policy.routes:
        before = on_path.setdefault(route.path, [])
        # An exact route takes nothing below its path.
        rivals = [other for other in before if not other.exact or route.exact]
        before.append(route)
        whole = next((other for other in rivals if _takes_all(other, route)), None)
        heads = next((other for other in rivals if _takes_all(other, route, by_head=True)), None)
        if whole is not None:
            yield Note("H301", f"{_where(settings, route)}: route {whole.name} takes every request before it")
        elif heads is not None:
            why = f"route {heads.name} takes every delivery before it, by its head, and compares other secrets"
            mend = "write the secrets of both into one route, or give each a path of its own"
            yield Note("H305", f"{_where(settings, route)}: {why}: {mend}")


def _of_slashes(policy: Policy, settings: Settings) -> Iterator[Note]:
    """Routes that a trailing slash bypasses, to a route that asks for less."""
    table = policy.table
    for route in policy.routes:
        twin = route.path[:-1] if route.path.endswith(b"/") else route.path + b"/"
        for other in table.candidates(twin):
            less = _admits_all(other, route) and not _admits_all(route, other)
            if less and other.path != route.path and set(other.upstream) & set(route.upstream):
                text = f"{twin.decode('ascii', 'backslashreplace')} is of route {other.name}, which asks for less"
                yield Note("H306", f"{_where(settings, route)}: {text}")


def _of_places(policy: Policy, settings: Settings) -> Iterator[Note]:
    """Mapped routes that another one leads past, at the upstream that they share."""
    for route in policy.routes:
        for other in [] if route.path_map is None else policy.neighbours(route):
            if _admits_all(other, route) and not _admits_all(route, other):
                text = f"route {other.name} reaches the same at the upstream, and asks for less"
                yield Note("H307", f"{_where(settings, route)}: {text}")


def _takes_all(first: Route, second: Route, *, by_head: bool = False) -> bool:
    """Whether the first route, asked before, takes whatever the second admits; ``by_head``: or takes by its head."""
    return (
        first.methods >= second.methods
        and first.rate is None
        and first.limits.max_body >= second.limits.max_body
        and _admits_all(first, second, by_head=by_head)
    )


def _admits_all(first: Route, second: Route, *, by_head: bool = False) -> bool:
    """Whether the guards of the first route hold for whatever those of the second hold for."""
    return _lets_all(first, second) and (
        first.observe or (not second.observe and _asks_no_more(first, second, by_head=by_head))
    )


def _lets_all(first: Route, second: Route) -> bool:
    """Whether every address that the second route lets in may call the first."""
    if (first.allow, first.deny) == (second.allow, second.deny):
        return True
    outer, inner = callers(first.allow, first.deny), callers(second.allow, second.deny)
    return outer is None or (inner is not None and (outer is inner or outer | inner == outer))


def _asks_no_more(first: Route, second: Route, *, by_head: bool) -> bool:
    """Whether every proof that the second route accepts is one for the first."""
    return (
        _includes(first.events, second.events)
        and _includes(first.content_types, second.content_types)
        and _includes(first.client_names, second.client_names)
        and _same_token(first.token, second.token)
        and _same_signature(first.signature, second.signature, by_head=by_head)
    )


def _includes(first: frozenset[Any] | None, second: frozenset[Any] | None) -> bool:
    """Whether what ``second`` takes is taken by ``first`` too; None takes all."""
    return first is None or (second is not None and first >= second)


def _same_token(first: TokenCheck | None, second: TokenCheck | None) -> bool:
    if first is None or second is None:
        return first is None
    return (first.kind, first.name) == (second.kind, second.name) and _keys(first.secrets) >= _keys(second.secrets)


def _same_signature(first: SignatureCheck | None, second: SignatureCheck | None, *, by_head: bool) -> bool:
    if first is None or second is None:
        return first is None
    if (first.scheme, first.public_url, first.tolerance_s) != (second.scheme, second.public_url, second.tolerance_s):
        return False
    if by_head:
        # Which secret signed is seen in the head alone where a signed token stands there.
        in_head = first.scheme.claims is not None and first.scheme.document is None
        return not in_head and not all(secret.has_dates for secret in first.secrets)
    return set(first.topics) >= set(second.topics) and _keys(first.secrets) >= _keys(second.secrets)


def _keys(secrets: Iterable[Secret]) -> set[tuple[bytes, float | None, float | None]]:
    """Secrets without their names."""
    return {(secret.value, secret.not_before, secret.not_after) for secret in secrets}


def _lists(loaded: Loaded) -> Iterator[tuple[str, AddressSet]]:
    """Every list of addresses, with the name of its owner."""
    owners = [(_where(loaded.settings, route), route.allow) for route in loaded.policy.routes]
    owners += [(f"tcp {forward.name}", forward.allow) for forward in loaded.settings.tcp]
    yield from ((f"{name}: allow", allow) for name, allow in owners if allow is not None)


def _is_wide(allow: AddressSet) -> bool:
    """Whether a list has a good part of the internet in one range."""
    four, six = allow.widest()
    return four >= 1 << (32 - _WIDE4) or six >= 1 << (128 - _WIDE6)


#: What the endpoint checks of providers use, besides the methods of deliveries.
_OF_CHECKS = frozenset({b"GET", b"HEAD"})


def of_provider(route: Route) -> Iterator[Note]:
    """The notes on a route's events and methods. A scheme of one's own has no lists, and nothing is said of it."""
    provider = find(route.provider) if route.provider else None
    if provider is None:
        return
    yield from _of_events(route, provider)
    sent = {method.encode("ascii") for method in provider.methods}
    odd = route.methods - sent - (_OF_CHECKS if provider.handshake is not None else frozenset())
    told = ", ".join(provider.methods)
    if not route.methods & sent:
        yield Note("H321", f"{provider.title} sends {told}, which `methods` does not name: every delivery is refused")
    elif odd:
        yield Note("H321", f"{provider.title} sends {told}, and never {_list(method.decode() for method in odd)}")


def _of_events(route: Route, provider: Provider) -> Iterator[Note]:
    for event in sorted((route.events or frozenset()) - provider.events) if provider.events else ():
        near = nearest(event, sorted(provider.events), cutoff=0.7)
        meant = f"did you mean {near!r}?" if near else f"it has {_list(provider.events)}"
        yield Note("H320", f"{provider.title} has no event type {event[:80]!r}: {meant}")


def _list(words: Iterator[str] | frozenset[str]) -> str:
    most = 12
    listed = sorted(words)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
