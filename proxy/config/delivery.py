"""How routes deliver: what is done about duplicates, the queue, copies, and where the process keeps and remembers.

Keys without an effect are problems, and so is what would look like a promise and be none: a memory that is shorter than
signatures stay fresh, or that each worker has for itself; a route that keeps and no place to keep in; a body that
streams and could not be kept whole; strangers who could fill the disk.

A copy is a ``Route`` that the courier delivers as any other: with the route's rule of delivery, and its own place,
filter and secret. Its name, which is that of its lane, is made from its place, so that what waits for one place never
goes to another when the list is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.machinery import PathFinder

from proxy.config.ends import read_copy_place
from proxy.config.guarded_files import beside
from proxy.config.guards import GuardReader, Guards
from proxy.config.host import how_to_add
from proxy.config.kinds import STORE_FORM, is_redis_url
from proxy.config.notation import UpstreamAddress, prepare_names, show_time
from proxy.config.secret_files import read_reference
from proxy.config.settings import DuplicateSettings, QueueSettings, Settings
from proxy.config.tree import Table
from proxy.core.delivery import Deliver, DeliveryRule, DuplicateRule, RetryRule, TurnRule, failures_of
from proxy.core.payload import PayloadCondition, PayloadRule, Pointer
from proxy.core.policy import SPARE_S, BodyMode, Endpoint, Limits, Route
from proxy.core.schemes import ANSWER_S, Provider
from proxy.core.signing.proof import Scheme, TokenCheck, TokenKind, needs_public_keys
from proxy.core.signing.scheme import Method, Secret
from proxy.errors import Mistake

#: The name of the file in ``state_dir``.
FILE_NAME = "duplicates.sqlite3"
#: By what the claim of a process that died outlives the longest exchange.
GRACE_S = 2.0


def read_rule(view: Table, guards: Guards, limits: Limits, *, observe: bool) -> DuplicateRule | None:
    """The rule of a route; None where it does not look for duplicates."""
    word, by = view.need("duplicates", str), view.need("duplicates_by", str)
    if word == "off":
        _check_off(view)
        return None
    if not view.doubtful("provider") and ("provider" not in view or guards.provider is not None):
        _check_telling(view, guards.provider, by)
    remembers = word == "refuse-delivered"
    window = view.need("duplicates_window", float)
    if remembers:
        _check_window(view, guards, window)
    answer_s = ANSWER_S if guards.provider is None else guards.provider.answer_s
    patience_s = max(0.0, min(answer_s, limits.request_timeout_s) - SPARE_S)
    return DuplicateRule(
        remembers=remembers,
        window_s=window,
        patience_s=0.0 if observe else patience_s,  # what only observes makes none wait
        hold_s=limits.request_timeout_s + GRACE_S,
        by_id=by != "signature",
        by_signature=by != "id",
    )


def _check_off(view: Table) -> None:
    if not view.doubtful("duplicates"):
        for key in ("duplicates_by", "duplicates_window"):
            if key in view:
                view.wrong(key, "has no effect: the route does not look for duplicates", "set `duplicates`, too")


def body_without_signature(view: Table, asked: str | None) -> BodyMode:
    """How the body goes where nothing signs it: freely, but the end of a duplicate must stay here."""
    if view.need("duplicates", str) == "off":
        return BodyMode(asked or "free")
    if asked == "free":
        what = '"free" would pass the end of a body on before it is known whether it is a duplicate'
        view.wrong("body", what, 'write body = "tail" or "hold", or leave `body` out')
    return BodyMode.HOLD if asked == "hold" else BodyMode.TAIL


def read_store(top: Table, environ: Mapping[str, str]) -> DuplicateSettings:
    """Where the process remembers. What is missing is a problem."""
    view = top.table("duplicates")
    store = view.need("store", str)
    for key, owner in (("path", "sqlite"), ("url", "redis")):
        _check_owner(view, key, owner)
    path = _path(top, view, FILE_NAME) if store == "sqlite" else None
    if store == "sqlite" and path is None and not top.doubtful("state_dir"):
        mend = f'add path = "/var/lib/hookward/{FILE_NAME}", or `state_dir` at the top level'
        view.lacks("path", "the file is not named", mend, "store")
    own = {"path": path, "url": _url(view, environ) if store == "redis" else None}
    return DuplicateSettings(**view.fields(DuplicateSettings) | own, refuses=view.need("on_error", str) == "refuse")


def _check_owner(view: Table, key: str, owner: str) -> None:
    """A problem where a key is written that only the store ``owner`` has."""
    store = view.need("store", str)
    if key in view and store != owner and not view.doubtful("store"):
        view.wrong(key, f"has no effect with store = {store!r}", f'write store = "{owner}"')


def check_memory(top: Table, settings: Settings, routes: Sequence[Route]) -> None:
    """Whether all who must know of a delivery share the memory of it, and whether anybody asks it."""
    uses = any(route.duplicates is not None for route in routes)
    view = top.table("duplicates")
    if uses and settings.workers != 1 and settings.duplicates.store == "memory" and not view.doubtful("store"):
        mend = 'add store = "sqlite" to [duplicates] (flag: --duplicates-store sqlite), or write workers = 1'
        top.wrong("workers", "each worker would remember for itself, so a duplicate could pass at another one", mend)
    if view.exists and not uses:
        view.warn("", "", "no route looks for duplicates")


def _check_telling(view: Table, provider: Provider | None, by: str) -> None:
    title, has_id, signs = "a route without a provider", False, False
    if provider is not None:
        title, has_id = provider.title, provider.delivery_header is not None
        signs = provider.scheme is not None and marks_deliveries(provider.scheme)
    if not has_id and not signs:
        what = f"{title} has neither a signature nor an id that would tell a delivery from another"
        view.wrong("duplicates", what, "leave `duplicates` out, and let the application tell")
    elif by == "id" and not has_id:
        what = f"{title} has no header with the id of a delivery"
        view.wrong("duplicates_by", what, 'write duplicates_by = "signature"')
    elif by == "signature" and not signs:
        what = f"{title} has no signature that is another one for each delivery"
        view.wrong("duplicates_by", what, 'write duplicates_by = "id"')


def _check_window(view: Table, guards: Guards, window_s: float) -> None:
    """A delivery that was sent with a clock that is ahead stays fresh for twice the tolerance."""
    tolerance_s = None if guards.signature is None else guards.signature.freshness_s
    if tolerance_s is not None and window_s < 2 * tolerance_s:
        least = show_time(2 * tolerance_s)
        what = f"a signature stays fresh for up to {least}, and could be replayed after {show_time(window_s)}"
        mend = f'write duplicates_window = "{least}" or more, or a shorter `tolerance`'
        view.wrong("duplicates_window", what, mend)


def marks_deliveries(scheme: Scheme) -> bool:
    """Whether what is signed is another thing for each delivery."""
    if scheme.claims is None:
        return scheme.method is not Method.EQUAL
    return scheme.claims.body is not None or scheme.document is not None


def _path(top: Table, view: Table, name: str) -> str | None:
    """What is named at ``path``, else ``name`` in ``state_dir``; None where neither is written."""
    folder = top.file("state_dir")
    return view.file("path") or (beside(folder, name) if folder else None)


def _url(view: Table, environ: Mapping[str, str]) -> str | None:
    """The URL of a Redis at ``url``, maybe a reference; None, and a problem, where there is none, or no client."""
    if PathFinder.find_spec("redis") is None:
        view.wrong("store", "the client for Redis is not installed", how_to_add("redis"))
    entry = view.entry("url")
    if entry is None:
        view.lacks("url", "where the Redis is is not said", 'add url = "redis://127.0.0.1:6379/0"', "store")
        return None
    prepare_names()
    text = str(entry.value)
    if is_redis_url(text):
        return text
    try:
        found = read_reference(text, entry.base, environ).value.decode("ascii", "replace")
    except Mistake as mistake:
        view.wrong("url", mistake.what, mistake.mend)
        return None
    if not is_redis_url(found):
        view.wrong("url", "what it names is not the URL of a Redis (not shown here)", STORE_FORM)
        return None
    return found


#: The name of the folder in ``state_dir``.
FOLDER_NAME = "queue"
#: Keys that mean nothing where nothing is kept: those of what the sender is told, and those that copies have as well.
_OF_ANSWERS = ("resign", "accepted_status", "ambiguous")
_OF_KEPT = ("keep_authorization", "retry", "order", "order_by", "coalesce")
_OF_TURNS = ("concurrency", "pace")
_UNSIGNED = "nothing signs what comes to this route"


def _idle_keys(view: Table, deliver: Deliver) -> tuple[str, ...]:
    """Those that mean nothing where nothing is kept."""
    if deliver is not Deliver.DIRECT or view.doubtful("deliver"):
        return ()
    return _OF_ANSWERS if has_copies(view) else (*_OF_ANSWERS, *_OF_KEPT)


def _check_keys(view: Table, deliver: Deliver) -> None:
    """Keys that have no effect: better said than ignored, and no mistake, so that `deliver` can be changed alone."""
    idle = _idle_keys(view, deliver)
    for key in filter(view.differs, idle):
        view.warn("H322", key, f"`{key}` has no effect: the route delivers directly")
    if deliver is Deliver.QUEUE and view.differs("ambiguous"):
        view.warn("H322", "ambiguous", '`ambiguous` has no effect with deliver = "queue", which tries all again')
    ordered = view.need("order", str) == "strict" or view.doubtful("order")
    if "order_by" in view and "order_by" not in idle and not ordered:
        view.wrong("order_by", "has no effect without an order", 'write order = "strict"')


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
    _check_owner(view, "url", "redis")
    if "path" in view and store != "sqlite":
        view.warn("H322", "path", f"`path` has no effect with store = {store!r}")
    path = _path(top, view, FOLDER_NAME) if store == "sqlite" else None
    if store == "sqlite" and path is None:
        return None
    own = {"path": path, "url": _url(view, environ) if store == "redis" else None}
    return QueueSettings(**view.fields(QueueSettings) | own)


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
        table.wrong("resign", _UNSIGNED, "leave `resign` out")
    elif needs_public_keys(route.signature.scheme):
        mend = "leave `resign` out, and let the application rely on `Webhook-Verified`"
        table.wrong("resign", _has_private_key(route), mend)


def _cause(route: Route) -> str:
    """The key for which a route keeps."""
    return "deliver" if route.delivery is not None and route.delivery.keeps else "copies"


def is_guarded(route: Route) -> bool:
    """Whether a route lets in only what has shown where it comes from."""
    return any(one is not None for one in (route.signature, route.token, route.allow, route.client_names))


def with_copies(route: Route, view: Table, top: Table, reader: GuardReader, guards: Guards) -> Route:
    """``route`` with the copies that its table ``view`` names."""
    found: dict[str, Route] = {}
    for entry in view.tables("copies"):
        if "url" not in entry:
            mend = 'write "http://staging:8000", or a table with `url`'
            entry.lacks("url", "does not say where the copy goes", mend)
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
    where = entry.items("where", PayloadCondition)
    secret = _copy_secret(route, entry, reader, guards)
    assert route.delivery is not None
    return replace(
        route,
        name=f"{route.name}@{str(place).removeprefix('http://')}{address.base.decode('ascii')}",
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
    what = ""
    if route.signature is not None:
        what = _has_private_key(route) if needs_public_keys(route.signature.scheme) else ""
    elif route.token is None:
        what = _UNSIGNED
    elif route.token.kind is TokenKind.PATH:
        what = "the token of the path is left out of what is sent, so nothing would carry the secret"
    if what:
        entry.wrong("secret", what, "leave `secret` out")
    return None if what else Secret("copy", value)


def _has_private_key(route: Route) -> str:
    return f"{route.provider} signs with a private key, which only the provider has"
