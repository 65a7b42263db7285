"""The console as a part of a worker: what is kept, who is let in, and the listener that answers.

Every path of the page and the API needs a credential; the only others are the one-time link and the sign-in with a
token, which give one. Opened by ``ops.worker`` where it is configured, and imported nowhere else.
"""

from __future__ import annotations

import json
import os
from asyncio import iscoroutine
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from proxy.config.settings import ConsoleSettings
from proxy.console import access
from proxy.console.access import ACT, FORGET, READ, Access, Visitor, session_key
from proxy.console.api import Api, AskedWorker, Place, answered
from proxy.console.capture import Capture
from proxy.console.copies import FORMS, DeliveryFile, export, keep
from proxy.console.desk import Crew, Desk, Private, Question
from proxy.console.history import History
from proxy.console.kept import Json, KeptExchange
from proxy.console.pages import Pages
from proxy.console.replay import Replayer
from proxy.errors import Mistake
from proxy.http1 import RequestHead
from proxy.net.http_server import JSON, TEXT, Answer, Answering, HttpServer, Paths, Places, Request
from proxy.net.site import Site

#: An edited body of a replay; larger ones are replayed as they came.
MAX_CONTENT = 8 * 1024 * 1024
#: Without a credential: a token to sign in with.
MAX_SIGN_IN = 4 * 1024
#: What a stranger may cause is told so often.
AUDIT_S = 1.0
_LEFT = Answer(204, TEXT, b"", [(b"Set-Cookie", FORGET)])
_READING = frozenset({b"GET", b"HEAD"})


class Console:
    """One worker's. ``server`` is its listener; ``capture`` what the site hands exchanges over to."""

    def __init__(
        self,
        settings: ConsoleSettings,
        site: Site,
        worker: AskedWorker,
        private: Private,
        *,
        state_dir: str | None,
        hosts: Iterable[str] = (),
        audit: Callable[[str], None],
    ) -> None:
        """``state_dir`` is where tests are kept; ``hosts`` are names of this host besides those of loopback; ``audit``
        takes a line for each act and each sight of a body. Raises StoreFailedError where the file cannot be used.
        """
        self.capture = site.capture = Capture(settings, site)
        self.server = HttpServer(self._judge, max_content=self._max_content)
        desk = self._desk = Desk(self.capture, site)
        if settings.store is not None:
            self.capture.store = DeliveryFile(settings, self.capture.maskings, site.clock.wall, audit)
        replayer = Replayer(self.capture, site)
        self._history = History(site.metrics, site.loop)
        self._history.begin(site.clock.wall())
        self.places: list[str] = []  # where it listens, as a browser writes it
        questions: dict[str, Question] = {
            "deliveries": lambda asked: desk.deliveries(desk.read(asked["query"]), asked["limit"], asked["after"]),
            "delivery": lambda asked: desk.delivery(asked["id"]),
            "counts": lambda _: desk.counts(),
            "history": lambda _: {"points": self._history.plain(desk.now)},
            "redeem": lambda asked: desk.redeem(asked["token"]),
            "export": partial(self._of_one, self._export),
            "replay": partial(self._of_one, lambda kept, asked: replayer.replay(kept, asked["how"])),
            "keep": partial(self._of_one, lambda kept, asked: keep(kept, asked["how"], state_dir)),
        }
        self._crew = Crew(self._desk, private, questions)
        private.paths.add("POST /console/link", self._link)
        key = session_key(private.siblings_folder)
        self._access = Access(settings, key, frozenset(hosts), os.geteuid(), site.clock.wall)
        self._audit = audit
        self._refused = SparingAudit(audit, site.clock.now)
        api = Api(self._crew, worker, audit)
        for place, handler in api.places.items():
            private.paths.add(place, partial(_of_our_user, handler))
        pages = Pages(api, self._crew, site.clock.wall)
        self._places = Places({**api.places, **pages.places})
        self._doors = Paths({"GET /enter": self._enter, "POST /api/v1/session": self._sign_in})
        self._doors.add("DELETE /api/v1/session", lambda _: _LEFT)

    def close(self) -> None:
        """Serve no more, and keep nothing."""
        self.server.close()
        self._history.close()
        self._desk.close()

    # -- one request

    def _max_content(self, request: Request) -> int:
        return MAX_SIGN_IN if isinstance(self._access.judge(request), Answer) else MAX_CONTENT

    def _judge(self, request: Request) -> Answering:
        found = self._respond(request)
        return _guarded(found) if isinstance(found, Answer) else _guarded_later(found)

    def _respond(self, request: Request) -> Answering:
        head = request.head
        refused = self._access.judge_origin(request)
        if refused is not None:
            return refused
        door = self._doors.find(request)
        if not isinstance(door, Answer):
            return door[0](door[1])
        visitor = self._access.judge(request)
        if isinstance(visitor, Answer):
            return _explained(visitor, head)
        file = access.FILES.get(head.path.decode("latin-1"))
        if file is not None and head.method in _READING:
            return file
        found = self._places.find(request)
        if isinstance(found, Answer):
            return found
        if head.method not in _READING:
            if not visitor.may_act:
                what = f"{head.method.decode()} {head.path.decode('latin-1')[:80]}"
                self._audit(f"audit: {visitor.name} may not {what}: refused")
                return Answer(403, TEXT, b"act_required\n")
            # What a page of another site can send without being asked first has another type.
            if request.content and not (head.get(b"content-type") or b"").lower().startswith(JSON):
                return Answer(415, TEXT, b"json_required\n")
        return answered(found[0], found[1], visitor)

    # -- doors

    async def _enter(self, request: Request) -> Answer:
        """The one-time link."""
        scope = await self._crew.ask_first("redeem", token=request.query.get("link", ""))
        if scope not in {READ, ACT}:
            return _explained(Answer(401, TEXT, b"the link was used already, or is too old\n"), request.head)
        self._audit(f"audit: {request.caller} entered by a link ({scope}): let in")
        cookie = self._access.cookie(scope, secure=request.secure)
        return Answer(303, TEXT, b"", [(b"Location", b"/"), (b"Set-Cookie", cookie)])

    def _sign_in(self, request: Request) -> Answer:
        """A token, of a program as JSON or of a form, becomes a cookie."""
        kind = (request.head.get(b"content-type") or b"").lower()
        token = _token_in(request.content, is_json=kind.startswith(JSON))
        scope = self._access.scope_of(token.encode("utf-8", "replace")) if token else None
        if scope is None:
            self._refused.tell(f"audit: {request.caller} signed in with a token: refused")
            return _explained(Answer(401, TEXT, b"token_refused\n"), request.head)
        self._audit(f"audit: {request.caller} signed in with a token: {scope}")
        cookie = (b"Set-Cookie", self._access.cookie(scope, secure=request.secure))
        if kind.startswith(JSON):
            return Answer(200, JSON, json.dumps({"scope": scope}).encode(), [cookie])
        return Answer(303, TEXT, b"", [(b"Location", b"/"), cookie])

    def _link(self, request: Request) -> Answer:
        """For ``hookward console``, over the private socket."""
        asked = _token_in(request.content, is_json=True, name="scope")
        token = self._desk.make_link(READ if asked == READ else ACT)
        self._audit(f"audit: {request.caller} asked for a link: made")
        return Answer(200, JSON, json.dumps({"token": token, "places": self.places}).encode())

    # -- questions of all workers

    async def _of_one(self, act: Callable[[KeptExchange, Any], Json | Awaitable[Json]], asked: Any) -> Any:
        """What comes of ``act`` with the delivery that is named, or what was mistaken; None where it is not here."""
        kept = self._desk.find(asked["id"])
        try:
            found = None if kept is None else act(kept, asked)
            return await found if iscoroutine(found) else found
        except Mistake as mistake:
            return {"what": mistake.what, "mend": mistake.mend}

    def _export(self, kept: KeptExchange, asked: Any) -> Json:
        found = export(kept, self.capture.maskings.of(kept.route), asked["form"])
        if found is None:
            mend = f"write as={' or as='.join(FORMS)}, of what has a head"
            raise Mistake("it cannot be exported in that form", mend)
        return found


class SparingAudit:
    """Lines that strangers cause: one a second, which says how many there were besides. ``now`` is monotonic."""

    def __init__(self, audit: Callable[[str], None], now: Callable[[], float]) -> None:
        self._audit = audit
        self._now = now
        self._next_at = 0.0
        self._untold = 0

    def tell(self, line: str) -> None:
        """One more of them."""
        now = self._now()
        if now < self._next_at:
            self._untold += 1
            return
        self._audit(f"{line} ({self._untold} more since the last line)" if self._untold else line)
        self._next_at, self._untold = now + AUDIT_S, 0


def _of_our_user(handler: Place, request: Request) -> Answering:
    """The API on the private socket, which answers root and the user that serves alone: what acts is told as ever."""
    return answered(handler, request, Visitor(str(request.caller), may_act=True))


def _token_in(content: bytes, *, is_json: bool, name: str = "token") -> str:
    """What was given of that name, as JSON or as a form; "" where nothing was."""
    if not is_json:
        return dict(parse_qsl(content.decode("latin-1"))).get(name, "")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def _explained(answer: Answer, head: RequestHead) -> Answer:
    """The same for people: a browser that opens a page is shown how to get in."""
    if b"text/html" not in (head.get(b"accept") or b""):
        return answer
    return replace(answer, kind=b"text/html; charset=utf-8", content=access.CLOSED)


def _guarded(answer: Answer) -> Answer:
    return replace(answer, fields=[*answer.fields, *access.GUARDS])


async def _guarded_later(found: Coroutine[None, None, Answer]) -> Answer:
    return _guarded(await found)
