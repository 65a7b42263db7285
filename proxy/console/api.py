"""``/api/v1``: what programs and the page ask of the console; ``openapi.json`` beside this says it in full.

Each place is a handler that is given a request and the visitor, who has been let in. Errors are JSON, and say what is
wrong and how to mend it. What acts, and what shows a body, is told to the audit log before it is answered.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from proxy.config.notation import parse_time
from proxy.console.access import OPENAPI, Visitor
from proxy.console.desk import Crew, TooManyViewersError
from proxy.console.history import merge
from proxy.console.kept import Json
from proxy.console.replay import ANSWERED_S
from proxy.core.search import SearchError
from proxy.net.http_server import JSON, Answer, Request
from proxy.net.private import ANSWER_S, PrivateError

MAX_LIMIT = 1000
MAX_WAIT_S = 600.0
#: Workers whose place in the stream a ``Last-Event-ID`` names; older ones have ended.
MAX_POSITIONS = 64
_EVENTS = b"text/event-stream; charset=utf-8"

Place = Callable[[Request, Visitor], Awaitable[Answer]]


class ApiProblem(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A request that cannot be answered: ``status`` and what the answer says."""

    def __init__(self, status: int, what: str, mend: str = "", **more: object) -> None:
        super().__init__(what)
        self.status, self.what, self.mend = status, what, mend
        self.content: Json = {"what": what, **({"mend": mend} if mend else {}), **more}


class AskedWorker(Protocol):
    """What the console asks of the worker that it is a part of."""

    @property
    def describe(self) -> Callable[[], Awaitable[dict[str, Any]]]:
        """The configuration in force and the state of the parts, of all workers."""

    def reload(self) -> None:
        """Have the process load its configuration again. OSError where this worker may not."""


class Api:
    """The handlers. ``audit`` takes a line for each act and each sight of a body."""

    def __init__(self, crew: Crew, worker: AskedWorker, audit: Callable[[str], None]) -> None:
        self._crew = crew
        self._worker = worker
        self._audit = audit
        self.places: dict[str, Place] = {
            "GET /api/v1/openapi.json": self._openapi,
            "GET /api/v1/deliveries": self._deliveries,
            "GET /api/v1/deliveries/wait": self._wait,
            "GET /api/v1/deliveries/{id}": lambda request, visitor: self._seen(request.params["id"], visitor),
            "GET /api/v1/deliveries/{id}/export": self._export,
            "POST /api/v1/deliveries/{id}/replay": self._replay,
            "POST /api/v1/deliveries/{id}/keep": self._keep,
            "GET /api/v1/stream": self._stream,
            "GET /api/v1/routes": self._routes,
            "POST /api/v1/routes/{name}/pause": self._pause,
            "POST /api/v1/routes/{name}/resume": self._pause,
            "GET /api/v1/queue": self._queue,
            "POST /api/v1/queue/{id}/replay": self._queue_act,
            "POST /api/v1/queue/{id}/drop": self._queue_act,
            "POST /api/v1/reload": self._reload,
            "GET /api/v1/status": self._status,
        }

    # -- deliveries

    async def _deliveries(self, request: Request, _visitor: Visitor) -> Answer:
        asked = request.query
        limit, query, after = _limit(asked), self._query(asked.get("q", "")), asked.get("after", "")
        found = await self._crew.ask_all("deliveries", query=query, limit=limit + 1, after=after)
        stored = await self._crew.desk.stored(self._crew.desk.read(query), limit + 1, after)
        # What is both in memory and in the file is one.
        known = {row["id"]: row for rows in (stored, *(one["deliveries"] for one in found)) for row in rows}
        rows = [known[name] for name in sorted(known, reverse=True)]
        more = rows[limit - 1]["id"] if len(rows) > limit else None
        return _json({"deliveries": rows[:limit], "next": more, "counts": _summed(one["counts"] for one in found)})

    async def _seen(self, name: str, visitor: Visitor) -> Answer:
        found = await self._crew.ask_first("delivery", id=name) or await self._crew.desk.stored_one(name)
        if found is None:
            raise _no_delivery(name)
        self._audit_of(visitor, "saw the delivery", str(found["id"]), "shown")
        return _json(found)

    async def _wait(self, request: Request, visitor: Visitor) -> Answer:
        asked = request.query
        query = self._query(asked.get("q", ""))
        patience_s = _seconds(asked.get("for", "30s"))
        only_new = asked.get("new", "") in {"1", "true"}
        try:
            async with asyncio.timeout(patience_s):
                name = await self._first(query, only_new=only_new)
        except TimeoutError:
            raise ApiProblem(408, f"no delivery matched within {patience_s:g} s", "send one, or ask for less") from None
        return await self._seen(name, visitor)

    async def _first(self, query: str, *, only_new: bool) -> str:
        """The id of the newest delivery that matches and is kept, or of the next one that comes."""
        # Positions come first: what comes while the kept ones are looked through is in the stream after them.
        positions = {one["tag"]: one["seen"] for one in await self._crew.ask_all("counts")}
        if not only_new:
            found = await self._crew.ask_all("deliveries", query=query, limit=1, after="")
            if names := [str(row["id"]) for one in found for row in one["deliveries"]]:
                return max(names)
        async with aclosing(self._crew.stream(query, positions)) as events:
            async for event in (event async for batch in events for event in batch):
                if "delivery" in event:
                    return str(json.loads(str(event["delivery"]))["id"])
        raise ApiProblem(503, "this worker is stopping", "ask again")

    async def _export(self, request: Request, visitor: Visitor) -> Answer:
        form = request.query.get("as", "raw")
        found = await self._of_one("export", request, visitor, form=form)
        self._audit_of(visitor, f"exported as {form} the delivery", request.params["id"], "shown")
        return _json(found)

    async def _replay(self, request: Request, visitor: Visitor) -> Answer:
        found = await self._of_one("replay", request, visitor, ANSWERED_S, how=_content(request))
        what = "looked at a replay of" if found.get("dry_run") else "replayed the delivery"
        self._audit_of(visitor, what, request.params["id"], found["outcome"])
        return _json(found)

    async def _keep(self, request: Request, visitor: Visitor) -> Answer:
        found = await self._of_one("keep", request, visitor, how=_content(request))
        self._audit_of(visitor, "kept as a test the delivery", request.params["id"], found["file"])
        return _json(found)

    async def _of_one(
        self, question: str, request: Request, visitor: Visitor, within_s: float = ANSWER_S, **more: object
    ) -> Any:
        """What is answered of a delivery that is in memory as it came."""
        name = request.params["id"]
        found = await self._crew.ask_first(question, within_s, id=name, **more)
        if found is None and await self._crew.desk.stored_one(name) is not None:
            what = "only the file has it, masked, and not as it came: the worker that took it has ended"
            raise ApiProblem(409, what, "have the provider send it again")
        if found is None:
            raise _no_delivery(name)
        if "what" in found:
            self._audit_of(visitor, f"asked to {question} the delivery", name, found["what"])
            raise ApiProblem(400 if question == "export" else 409, **found)
        return found

    # -- the stream

    async def _stream(self, request: Request, _visitor: Visitor) -> Answer:
        return self.events(request, str)

    def events(self, request: Request, shown: Callable[[str], str]) -> Answer:
        """What comes, as server-sent events; ``shown`` makes their data of a summary in JSON. TooManyViewersError."""
        query = self._query(request.query.get("q", ""))
        last = request.head.get(b"last-event-id") or request.query.get("after", "").encode()
        since = _positions(last.decode("latin-1"))
        if not self._crew.desk.capture.has_room:
            raise TooManyViewersError
        events = self._crew.stream(query, since)
        return Answer(200, _EVENTS, stream=_as_events(events, since or {}, shown))

    # -- routes, the queue, the process

    async def _routes(self, _request: Request, _visitor: Visitor) -> Answer:
        described, found = await asyncio.gather(self._worker.describe(), self._crew.ask_all("history"))
        hours, routes = merge(one["points"] for one in found), described["routes"]
        names = [str(route["name"]) for route in routes]
        paused = await self._crew.ask_here("POST", "/queue/paused", {"routes": names}) or {}
        nothing: Json = {"hour": None, "points": []}
        rows = [
            {**route, **hours.get(name, nothing), "pausable": name in paused, "paused": paused.get(name, False)}
            for name, route in zip(names, routes, strict=True)
        ]
        return _json({"routes": rows, "others": {name: one for name, one in hours.items() if name not in names}})

    async def _pause(self, request: Request, visitor: Visitor) -> Answer:
        name, word = request.params["name"], request.head.path.decode("latin-1").rpartition("/")[2]
        described = await self._worker.describe()
        if name not in {route["name"] for route in described["routes"]}:
            raise ApiProblem(404, f"there is no route {name!r}", "GET /api/v1/routes lists them")
        found = await self._crew.ask_here("POST", f"/queue/{word}", {"route": name})
        self._audit_of(visitor, f"{word}d the route", name, "done" if found is not None else "it keeps nothing")
        if found is None:
            what = f"the route {name!r} keeps nothing: what comes would go on"
            raise ApiProblem(409, what, 'write deliver = "fallback" there')
        return _json({"route": name, "paused": word == "pause"})

    async def _queue(self, request: Request, _visitor: Visitor) -> Answer:
        asked = request.query
        meant = {"q": self._query(asked.get("q", "")), "limit": _limit(asked), "after": asked.get("after", "")}
        found = await self._crew.ask_here("POST", "/queue/list", meant)
        return _json(found if found is not None else {"configured": False, "records": [], "next": None})

    async def _queue_act(self, request: Request, visitor: Visitor) -> Answer:
        name, word = request.params["id"], request.head.path.decode("latin-1").rpartition("/")[2]
        found = await self._crew.ask_here("POST", f"/queue/{word}", {"ids": [name]})
        self._audit_of(visitor, f"{word} of the queue's", name, "done" if found else "there is none")
        if not found:
            raise ApiProblem(404, f"the queue has no delivery {name[:80]!r}", "GET /api/v1/queue lists them")
        return _json(found)

    async def _reload(self, _request: Request, visitor: Visitor) -> Answer:
        try:
            self._worker.reload()
        except OSError as error:
            self._audit_of(visitor, "asked for", "a reload", error.strerror or "failed")
            mend = "run `systemctl reload hookward`, or send SIGHUP as the user that started it"
            raise ApiProblem(409, "this process may not signal the one that reloads", mend) from None
        self._audit_of(visitor, "asked for", "a reload", "begun")
        return _json({"reload": "begun"}, 202)

    async def _status(self, _request: Request, visitor: Visitor) -> Answer:
        described, found = await asyncio.gather(self._worker.describe(), self._crew.ask_all("counts"))
        counts = {**_summed(found), "workers": len(found)}
        return _json({**described, "console": counts, "visitor": {"name": visitor.name, "may_act": visitor.may_act}})

    async def _openapi(self, _request: Request, _visitor: Visitor) -> Answer:
        return Answer(200, JSON, OPENAPI)

    # -- common to them

    def _query(self, text: str) -> str:
        """Search words, once they are known to be some."""
        try:
            self._crew.desk.read(text)
        except SearchError as error:
            raise ApiProblem(400, error.what, error.mend, column=error.column) from None
        return text

    def _audit_of(self, visitor: Visitor, what: str, name: str, result: object) -> None:
        self._audit(f"audit: {visitor.name} {what} {name[:80]}: {str(result)[:200]}")


async def answered(place: Place, request: Request, visitor: Visitor) -> Answer:
    """The answer of a handler, or of the problem that it has met."""
    try:
        return await place(request, visitor)
    except ApiProblem as problem:
        return _json({"error": problem.content}, problem.status)
    except TooManyViewersError:
        return _json({"error": {"what": "too many streams are open already", "mend": "close one of them"}}, 503)
    except PrivateError as error:
        return _json({"error": {"what": str(error), "mend": "look at the log"}}, error.status or 503)


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, JSON, json.dumps(value).encode("ascii") + b"\n")


def _content(request: Request) -> Json:
    if not request.content:
        return {}
    try:
        found = json.loads(request.content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        mend = 'send {} or what openapi.json says, as "application/json"'
        raise ApiProblem(400, "the content is no JSON object", mend)
    return found


def _no_delivery(name: str) -> ApiProblem:
    return ApiProblem(404, f"no delivery {name[:80]!r} is kept", "GET /api/v1/deliveries lists those that are")


def _limit(asked: Mapping[str, str]) -> int:
    text = asked.get("limit", "100")
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MAX_LIMIT:
        raise ApiProblem(400, f"limit is no number from 1 to {MAX_LIMIT}", "write limit=100")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = parse_time(text if text[-1:].isalpha() else f"{text}s")
    except ValueError:
        found = -1.0
    if not 0 < found <= MAX_WAIT_S:
        raise ApiProblem(400, f"`for` is no time up to {MAX_WAIT_S:g} s", "write for=30s")
    return found


def _summed(counts: Iterable[Json]) -> Json:
    """The counts of all workers as one."""
    found: Counter[str] = Counter()
    for one in counts:
        found.update({name: number for name, number in one.items() if isinstance(number, int)})
    return dict(found)


# -- server-sent events: the id of each says of every worker which number was seen last


def _positions(text: str) -> dict[str, int] | None:
    """What a ``Last-Event-ID`` says; None where it is none of ours."""
    found = {}
    for part in text.split(",")[-MAX_POSITIONS:] if text else ():
        tag, _, number = part.partition(":")
        if not tag or not number.isascii() or not number.isdecimal() or len(number) > 15:
            return None
        found[tag] = int(number)
    return found or None


async def _as_events(
    events: AsyncGenerator[list[Json], None], seen: dict[str, int], shown: Callable[[str], str]
) -> AsyncGenerator[bytes, None]:
    yield b"retry: 1000\n\n"
    async with aclosing(events):
        async for batch in events:
            yield "".join([_as_event(event, seen, shown) for event in batch]).encode("ascii")


def _as_event(event: Json, seen: dict[str, int], shown: Callable[[str], str]) -> str:
    if "tag" in event:
        tag = str(event["tag"])
        seen.pop(tag, None)  # the last that spoke stands last
        seen[tag] = int(str(event["number"]))
        mark = ",".join(f"{one}:{number}" for one, number in list(seen.items())[-MAX_POSITIONS:])
        if "delivery" in event:
            return f"id: {mark}\nevent: delivery\ndata: {shown(str(event['delivery']))}\n\n"
        return f"id: {mark}\nevent: begin\ndata: {json.dumps({'worker': tag})}\n\n"
    if "missed" in event:
        return f"event: gap\ndata: {json.dumps(event)}\n\n"
    return ": alive\n\n"
