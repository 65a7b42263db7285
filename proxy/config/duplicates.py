"""What is done about duplicates: the rule of a route, and where the process remembers what was delivered.

Keys without an effect are problems, and so is what would look like a guard and be none: a memory that is shorter than
signatures stay fresh, one that each worker has for itself, a route with nothing to tell a delivery by.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

from proxy.config.endpoints import prepare_names
from proxy.config.guarded_files import beside
from proxy.config.guards import Guards
from proxy.config.host import how_to_add
from proxy.config.kinds import STORE_FORM, is_redis_url
from proxy.config.secret_files import read_reference
from proxy.config.settings import DuplicateSettings, Settings
from proxy.config.sizes import show_time
from proxy.config.tree import Table
from proxy.core.duplicates import DuplicateRule
from proxy.core.policy import SPARE_S, BodyMode, Limits, Route
from proxy.core.schemes import ANSWER_S, Provider
from proxy.core.signatures import Scheme
from proxy.core.signing.scheme import Method
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
        if key in view and store != owner and not view.doubtful("store"):
            view.wrong(key, f"has no effect with store = {store!r}", f'write store = "{owner}"')
    path = url = None
    if store == "sqlite":
        path = _path(top, view)
    elif store == "redis":
        url = read_url(view, environ)
    return DuplicateSettings(
        store=store,
        path=path,
        url=url,
        refuses=view.need("on_error", str) == "refuse",
        max_entries=view.need("max_entries", int),
    )


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
    title = "a route without a provider"
    has_id = signs = False
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
        view.wrong(
            "duplicates_window",
            f"a signature stays fresh for up to {show_time(2 * tolerance_s)}, and could be replayed after "
            f"{show_time(window_s)}",
            f'write duplicates_window = "{show_time(2 * tolerance_s)}" or more, or a shorter `tolerance`',
        )


def marks_deliveries(scheme: Scheme) -> bool:
    """Whether what is signed is another thing for each delivery."""
    if scheme.claims is not None:
        return scheme.claims.body is not None or scheme.document is not None
    return scheme.method is not Method.EQUAL


def _path(top: Table, view: Table) -> str | None:
    path, folder = view.file("path"), top.file("state_dir")
    if path is None and folder is None:
        if not view.doubtful("path") and not top.doubtful("state_dir"):
            what = "the file is not named"
            view.wrong("store", what, f'add path = "/var/lib/hookward/{FILE_NAME}", or `state_dir` at the top level')
        return None
    return path or beside(str(folder), FILE_NAME)


def read_url(view: Table, environ: Mapping[str, str]) -> str | None:
    """The URL of a Redis at ``url``, maybe a reference; None, and a problem, where there is none, or no client."""
    if importlib.util.find_spec("redis") is None:
        view.wrong("store", "the client for Redis is not installed", how_to_add("redis"))
    entry = view.entry("url")
    if entry is None:
        if not view.doubtful("url"):
            view.wrong("store", "where the Redis is is not said", 'add url = "redis://127.0.0.1:6379/0"')
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
