"""The places of the pages. Each asks the API what it shows, so that a page never knows more than a program does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from proxy.console.access import Visitor
from proxy.console.api import Api, ApiProblem
from proxy.console.crew import Crew
from proxy.console.pages import deliveries, delivery, queue, routes, state
from proxy.console.pages.markup import Markup, page, problem, tag
from proxy.net.http_server import JSON, Answer, Request

HTML = b"text/html; charset=utf-8"
#: Rows of a page that is asked for; the script asks for more as they are looked at.
ROWS = 200


class Pages:
    """The handlers, beside those of the API. ``now`` is in seconds since the epoch."""

    def __init__(self, api: Api, crew: Crew, now: Callable[[], float]) -> None:
        self._api = api
        self._crew = crew
        self._now = now
        self.places = {
            "GET /": self._deliveries,
            "GET /rows": self._rows,
            "GET /live": self._live,
            "GET /deliveries/{id}": self._delivery,
            "GET /routes": self._routes,
            "GET /queue": self._queue,
            "GET /state": self._state,
        }

    async def _ask(self, place: str, request: Request, visitor: Visitor) -> Any:
        answer = await self._api.places[place](request, visitor)
        return json.loads(answer.content)

    async def _deliveries(self, request: Request, visitor: Visitor) -> Answer:
        query = request.query.get("q", "")
        # Positions come first: what comes while the list is made is in the stream after them.
        seen = ",".join(f"{one['tag']}:{one['seen']}" for one in await self._crew.ask_all("counts"))
        asked = _with(request, q=query, limit=str(ROWS), after=request.query.get("after", ""))
        try:
            found = await self._ask("GET /api/v1/deliveries", asked, visitor)
        except ApiProblem as mistake:
            return _mistaken(deliveries.mistaken, query, mistake)
        return _html(deliveries.render(found, query, seen, may_act=visitor.may_act))

    async def _rows(self, request: Request, visitor: Visitor) -> Answer:
        """More rows, for the script."""
        found = await self._ask("GET /api/v1/deliveries", request, visitor)
        rows = [deliveries.shown(one) for one in found["deliveries"]]
        return Answer(200, JSON, json.dumps({"rows": rows, "next": found["next"]}).encode("ascii"))

    async def _live(self, request: Request, _visitor: Visitor) -> Answer:
        """What comes, as rows, for the script."""
        return self._api.events(request, deliveries.shown_line)

    async def _delivery(self, request: Request, visitor: Visitor) -> Answer:
        try:
            found = await self._ask("GET /api/v1/deliveries/{id}", request, visitor)
        except ApiProblem as gone:
            content = gone.content
            shown = problem(str(content["what"]), str(content.get("mend", "")))
            return _html(page("Not kept", "", tag("h1", "Not kept"), shown), gone.status)
        return _html(delivery.render(found, may_act=visitor.may_act))

    async def _routes(self, request: Request, visitor: Visitor) -> Answer:
        found = await self._ask("GET /api/v1/routes", request, visitor)
        return _html(routes.render(found, self._now(), may_act=visitor.may_act))

    async def _queue(self, request: Request, visitor: Visitor) -> Answer:
        query = request.query.get("q", "")
        try:
            found = await self._ask(
                "GET /api/v1/queue", _with(request, q=query, after=request.query.get("after", "")), visitor
            )
        except ApiProblem as mistake:
            return _mistaken(queue.mistaken, query, mistake)
        return _html(queue.render(found, query, may_act=visitor.may_act))

    async def _state(self, request: Request, visitor: Visitor) -> Answer:
        found = await self._ask("GET /api/v1/status", request, visitor)
        return _html(state.render(found, self._now(), may_act=visitor.may_act))


def _with(request: Request, **query: str) -> Request:
    """The same request with these parameters alone."""
    return replace(request, head=replace(request.head, query=urlencode(query).encode("ascii")))


def _mistaken(page_of: Callable[[str, str, str, int], Markup], query: str, mistake: ApiProblem) -> Answer:
    content = mistake.content
    column = content.get("column", 1)
    assert isinstance(column, int)
    return _html(page_of(query, str(content["what"]), str(content.get("mend", "")), column), mistake.status)


def _html(content: Markup, status: int = 200) -> Answer:
    return Answer(status, HTML, content.encode("utf-8", "replace"))
