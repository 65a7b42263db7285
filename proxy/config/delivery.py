"""How routes deliver, where the process keeps what is not delivered yet, and the copies of a route.

What would look like a promise and be none is a problem: a route that keeps and no place to keep in, a body that streams
and could not be kept whole, strangers who could fill the disk.

A copy is a ``Route`` that the courier delivers as any other: with the route's rule of delivery, and its own place,
filter and secret. Its name, which is that of its lane, is made from its place, so that what waits for one place never
goes to another when the list is changed.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import replace

from proxy.config.duplicates import read_url
from proxy.config.endpoints import UpstreamAddress
from proxy.config.guards import GuardReader, Guards
from proxy.config.settings import QueueSettings, Settings
from proxy.config.tree import Table
from proxy.config.upstreams import read_copy_place
from proxy.core.delivery import Deliver, DeliveryRule, RetryRule, TurnRule, failures_of
from proxy.core.payload import PayloadCondition, PayloadRule, Pointer
from proxy.core.policy import BodyMode, Endpoint, Route
from proxy.core.signatures import needs_public_keys
from proxy.core.tokens import Secret, TokenCheck, TokenKind

#: The name of the folder in ``state_dir``.
FOLDER_NAME = "queue"
#: Keys that mean nothing where nothing is kept: those of what the sender is told, and those that copies have as well.
_OF_ANSWERS = ("resign", "accepted_status", "ambiguous")
_OF_KEPT = ("keep_authorization", "retry", "order", "order_by", "coalesce")
_OF_TURNS = ("concurrency", "pace")


def _check_keys(view: Table, deliver: Deliver) -> None:
    """Keys that have no effect: better said than ignored, and no mistake, so that `deliver` can be changed alone."""
    idle = _idle_keys(view, deliver)
    for key in idle:
        if view.differs(key):
            view.warn("H322", key, f"`{key}` has no effect: the route delivers directly")
    if deliver is Deliver.QUEUE and view.differs("ambiguous"):
        view.warn("H322", "ambiguous", '`ambiguous` has no effect with deliver = "queue", which tries all again')
    ordered = view.need("order", str) == "strict" or view.doubtful("order")
    if "order_by" in view and "order_by" not in idle and not ordered:
        view.wrong("order_by", "has no effect without an order", 'write order = "strict"')


def _idle_keys(view: Table, deliver: Deliver) -> tuple[str, ...]:
    """Those that mean nothing where nothing is kept."""
    if deliver is not Deliver.DIRECT or view.doubtful("deliver"):
        return ()
    return _OF_ANSWERS if has_copies(view) else (*_OF_ANSWERS, *_OF_KEPT)


def read_delivery(view: Table) -> DeliveryRule | None:
    """The rule of a route; None where it delivers directly, and has no copies."""
    deliver = Deliver(view.need("deliver", str))
    _check_keys(view, deliver)
    if deliver is Deliver.DIRECT and not has_copies(view):
        return None
    return DeliveryRule(
        deliver=deliver,
        accepted_status=view.need("accepted_status", int),
        ambiguous=view.need("ambiguous", str) == "keep",
        retry=_retry(view.table("retry")),
        concurrency=view.need("concurrency", int),
        pace_per_s=view.get("pace", float) or 0.0,
        strict=view.need("order", str) == "strict",
        order_by=_place(view, "order_by"),
        resign=view.need("resign", bool),
        coalesce=_place(view, "coalesce"),
        keeps_authorization=view.need("keep_authorization", bool),
    )


def has_copies(view: Table) -> bool:
    """Whether a route names copies."""
    return bool(view.tables("copies"))


def read_turns(view: Table, workers: int) -> TurnRule | None:
    """How a route lets exchanges through; None: as they come. What is only kept is measured by its courier."""
    if not _has_turns(view):
        return None
    concurrency = view.need("concurrency", int) if "concurrency" in view else 0
    if 0 < concurrency < workers:
        what = f"each of {workers} workers lets one through, so that is how many the application may have at once"
        view.warn("", "concurrency", what)
    return TurnRule(concurrency, view.get("pace", float) or 0.0, workers)


def _has_turns(view: Table) -> bool:
    return view.need("deliver", str) != Deliver.QUEUE.value and any(key in view for key in _OF_TURNS)


def kept_body(view: Table, mode: BodyMode) -> BodyMode:
    """How the body goes where it may be kept or wait for its turn: none of it before its verdict."""
    word = view.need("deliver", str)
    if word == "direct" and not has_copies(view):
        return _waiting_body(view, mode) if _has_turns(view) else mode
    asked = view.get("body", str)
    if asked is not None and asked != "hold" and not view.doubtful("deliver"):
        view.warn("H323", "body", f"body = {asked!r} is taken for 'hold': a body must be here whole to be kept")
    return BodyMode.HOLD


def _waiting_body(view: Table, mode: BodyMode) -> BodyMode:
    if view.get("body", str) == "tail":
        view.warn("H323", "body", "body = 'tail' is taken for 'hold': it is not known before whether it has a turn")
    return BodyMode.HOLD if mode is BodyMode.TAIL else mode


def _place(view: Table, key: str) -> Pointer | None:
    text = view.get(key, str)
    return Pointer.parse(text) if text else None


def _retry(view: Table) -> RetryRule:
    first, most = view.need("first", float), view.need("most", float)
    if first > most:
        view.wrong("first" if "first" in view else "most", "the first pause is above the longest", "exchange them")
    statuses, classes = failures_of(view.items("on", object))  # type: ignore[arg-type]  # the kind has read them
    return RetryRule(first, most, view.need("for", float), statuses, classes)


def read_queue(top: Table, environ: Mapping[str, str]) -> QueueSettings | None:
    """Where the process keeps; None where no place is named."""
    view = top.table("queue")
    store = view.need("store", str)
    if "url" in view and store != "redis" and not view.doubtful("store"):
        view.wrong("url", f"has no effect with store = {store!r}", 'write store = "redis"')
    if "path" in view and store != "sqlite":
        view.warn("H322", "path", f"`path` has no effect with store = {store!r}")
    path = url = None
    if store == "sqlite":
        folder = top.file("state_dir")
        path = view.file("path") or (os.path.join(folder, FOLDER_NAME) if folder else None)  # noqa: PTH118 - as for all paths here, text in and text out
        if path is None:
            return None
    else:
        url = read_url(view, environ)
    return QueueSettings(
        store=store, path=path, url=url, max_bytes=view.need("max_bytes", int), max_age_s=view.need("max_age", float)
    )


def check_queue(top: Table, settings: Settings, routes: Sequence[Route]) -> None:
    """Whether what is to be kept has a place, and only what was let in for a reason is."""
    view, tables = top.table("queue"), top.named("route")
    keeping = [route for route in routes if route.delivery is not None]
    doubtful = top.doubtful("state_dir") or view.doubtful("path") or view.doubtful("url")
    for route in keeping:
        _check_keeping(tables[route.name], route, has_place=settings.queue is not None or doubtful)
    if view.exists and not keeping:
        view.warn("", "", 'no route keeps deliveries: write deliver = "fallback" or "queue" in one')


def _check_keeping(table: Table, route: Route, *, has_place: bool) -> None:
    if route.delivery is not None and route.delivery.resign:
        _check_resigning(table, route)
    if not has_place:
        mend = 'add state_dir = "/var/lib/hookward" at the top level, or `path` in [queue] (flag: --state-dir PATH)'
        table.wrong(_cause(route), "no place is named to keep deliveries in", mend)
    if not is_guarded(route):
        what = "nothing guards this route, so any client could fill the disk"
        table.wrong(_cause(route), what, "add `provider` with `secrets`, `token` or `allow`, or remove the key")


def _check_resigning(table: Table, route: Route) -> None:
    if route.signature is None:
        table.wrong("resign", "nothing signs what comes to this route", "leave `resign` out")
    elif needs_public_keys(route.signature.scheme):
        what = "signs with a private key, which only the provider has"
        what = f"{route.provider} {what}"
        table.wrong("resign", what, "leave `resign` out, and let the application rely on `Webhook-Verified`")


def _cause(route: Route) -> str:
    """The key for which a route keeps."""
    return "deliver" if route.delivery is not None and route.delivery.keeps else "copies"


def is_guarded(route: Route) -> bool:
    """Whether a route lets in only what has shown where it comes from."""
    guards = (route.signature, route.token, route.allow, route.client_names)
    return any(guard is not None for guard in guards)


def with_copies(route: Route, view: Table, top: Table, reader: GuardReader, guards: Guards) -> Route:
    """``route`` with the copies that its table ``view`` names."""
    found: dict[str, Route] = {}
    for entry in view.tables("copies"):
        if "url" not in entry:
            if not entry.doubtful("url"):
                what = "does not say where the copy goes"
                entry.wrong("", what, 'write "http://staging:8000", or a table with `url`')
            continue
        copy = _copy_of(route, entry, read_copy_place(entry, view, top), reader, guards)
        if copy.name in found:
            entry.wrong("", "two copies go to the same place", "remove one of the two")
        found[copy.name] = copy
    return replace(route, copies=tuple(found.values())) if found else route


def _copy_of(route: Route, entry: Table, place: Endpoint, reader: GuardReader, guards: Guards) -> Route:
    address = entry.need("url", UpstreamAddress)
    if address.agent:
        entry.wrong("url", "a copy cannot go to an agent", "name a URL")
    where: tuple[PayloadCondition, ...] = entry.get("where", tuple) or ()
    secret = _copy_secret(route, entry, reader, guards)
    base = address.base.decode("ascii")
    assert route.delivery is not None
    return replace(
        route,
        name=f"{route.name}@{str(place).removeprefix('http://')}{base}",
        upstream=(place,),
        drained=(),
        base=address.base,
        hold_s=0.0,
        turns=None,
        payload=PayloadRule(where) if where else None,
        # What is signed again with the route's own secrets would be a proof for the application itself.
        delivery=replace(route.delivery, deliver=Deliver.QUEUE, resign=secret is not None),
        signature=replace(route.signature, secrets=(secret,)) if secret and route.signature else route.signature,
        token=_copy_token(route, entry, secret),
    )


def _copy_token(route: Route, entry: Table, secret: Secret | None) -> TokenCheck | None:
    """The token that a copy is sent with; one in the path never is."""
    if secret is None or route.token is None or route.token.kind is TokenKind.PATH:
        return route.token
    try:
        return replace(route.token, secrets=(secret,))
    except ValueError as error:
        entry.wrong("secret", str(error), "write it as the place expects it, or leave `secret` out")
        return route.token


def _copy_secret(route: Route, entry: Table, reader: GuardReader, guards: Guards) -> Secret | None:
    """The secret of its own; None where there is none, or it can be used for nothing."""
    value = reader.read_one(entry, "secret", guards.provider)
    if value is None:
        return None
    if route.signature is None and route.token is None:
        entry.wrong("secret", "nothing signs what comes to this route", "leave `secret` out")
        return None
    if route.signature is None and route.token is not None and route.token.kind is TokenKind.PATH:
        what = "the token of the path is left out of what is sent, so nothing would carry the secret"
        entry.wrong("secret", what, "leave `secret` out")
        return None
    if route.signature is not None and needs_public_keys(route.signature.scheme):
        what = f"{route.provider} signs with a private key, which only the provider has"
        entry.wrong("secret", what, "leave `secret` out")
        return None
    return Secret("copy", value)
