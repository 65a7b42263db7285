"""The places of the pages, and the page of one delivery.

Each place asks the API what it shows, so that a page never knows more than a program does.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from proxy.config.notation import about_size, took
from proxy.console import markup
from proxy.console.access import Visitor
from proxy.console.api import Api, ApiProblem, Place
from proxy.console.desk import Crew
from proxy.console.markup import Markup, button, clock, day, facts, page, part, problem, row, table, tag, template
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
        self.places: dict[str, Place] = {
            "GET /": partial(_searched, "Deliveries", "/", self._deliveries),
            "GET /rows": self._rows,
            "GET /live": self._live,
            "GET /deliveries/{id}": self._delivery,
            "GET /routes": partial(self._now_of, "GET /api/v1/routes", markup.routes_page),
            "GET /queue": partial(_searched, "Queue", "/queue", self._queue),
            "GET /state": partial(self._now_of, "GET /api/v1/status", markup.state_page),
        }

    async def _ask(self, place: str, request: Request, visitor: Visitor) -> Any:
        answer = await self._api.places[place](request, visitor)
        return json.loads(answer.content)

    async def _deliveries(self, request: Request, visitor: Visitor) -> Markup:
        # Positions come first: what comes while the list is made is in the stream after them.
        seen = ",".join(f"{one['tag']}:{one['seen']}" for one in await self._crew.ask_all("counts"))
        found = await self._ask("GET /api/v1/deliveries", _with(request, limit=str(ROWS)), visitor)
        return markup.deliveries_page(found, request.query.get("q", ""), seen, may_act=visitor.may_act)

    async def _rows(self, request: Request, visitor: Visitor) -> Answer:
        """More rows, for the script."""
        found = await self._ask("GET /api/v1/deliveries", request, visitor)
        rows = [markup.shown(one) for one in found["deliveries"]]
        return Answer(200, JSON, json.dumps({"rows": rows, "next": found["next"]}).encode("ascii"))

    async def _live(self, request: Request, _visitor: Visitor) -> Answer:
        """What comes, as rows, for the script."""
        return self._api.events(request, markup.shown_line)

    async def _delivery(self, request: Request, visitor: Visitor) -> Answer:
        try:
            found = await self._ask("GET /api/v1/deliveries/{id}", request, visitor)
        except ApiProblem as gone:
            return _html(page("Not kept", "", tag("h1", "Not kept"), problem(gone.what, gone.mend)), gone.status)
        return _html(delivery_page(found, may_act=visitor.may_act))

    async def _now_of(self, place: str, page_of: Callable[..., Markup], request: Request, visitor: Visitor) -> Answer:
        found = await self._ask(place, request, visitor)
        return _html(page_of(found, self._now(), may_act=visitor.may_act))

    async def _queue(self, request: Request, visitor: Visitor) -> Markup:
        found = await self._ask("GET /api/v1/queue", _with(request), visitor)
        return markup.queue_page(found, request.query.get("q", ""), may_act=visitor.may_act)


async def _searched(
    title: str, here: str, handler: Callable[[Request, Visitor], Awaitable[Markup]], request: Request, visitor: Visitor
) -> Answer:
    """The page of a list; of search words that cannot be read, where the mistake is."""
    try:
        return _html(await handler(request, visitor))
    except ApiProblem as mistake:
        what = f"Column {mistake.content.get('column', 1)}: {mistake.what}"
        return _html(markup.mistaken(title, here, request.query.get("q", ""), what, mistake.mend), mistake.status)


def _with(request: Request, **more: str) -> Request:
    """The same request with its search words, where to go on, and ``more`` alone."""
    asked = {name: request.query.get(name, "") for name in ("q", "after")}
    return replace(request, head=replace(request.head, query=urlencode({**asked, **more}).encode("ascii")))


def _html(content: Markup, status: int = 200) -> Answer:
    return Answer(status, HTML, content.encode("utf-8", "replace"))


# -- One delivery: the verdict in a sentence, each check with what it found, the cause, and the bytes as they came.


# -- The content of a message in the ways it can be read: JSON, a form, text, bytes.

#: What a page shows of a body; the rest is there to be exported.
MAX_SHOWN = 256 * 1024
MAX_HEX = 16 * 1024
MAX_PARAMETERS = 1000

Found = Mapping[str, Any]


def views(content: Found, name: str) -> Markup:
    """All of them, the fitting one open. ``name`` makes them one group: another one closes those that are open."""
    if not content["size"]:
        return tag("p", "No content.")
    text = content["text"]
    body = b64decode(text) if content["encoding"] == "base64" else text.encode()
    notes = [about_size(content["size"])]
    if content["cut"]:
        notes.append(f"of which the first {about_size(content['kept'])} are kept")
    if len(body) > MAX_SHOWN:
        notes.append(f"of which {about_size(MAX_SHOWN)} are shown; export it to see the rest")
    found = [
        tag("details", tag("summary", label), view, name=name, open=label.lower() == content["form"], class_="body")
        for label, view in _each(body, content)
    ]
    return tag("div", tag("p", ", ".join(notes), "."), found)


def _each(body: bytes, content: Found) -> Iterator[tuple[str, Markup]]:
    shown = body[:MAX_SHOWN]
    if content["form"] == "json" and len(body) <= MAX_SHOWN:
        with suppress(ValueError, RecursionError):
            yield "JSON", tag("pre", json.dumps(json.loads(body), indent=2, ensure_ascii=False), tabindex=0)
    if content["form"] == "form":
        pairs = _pairs(shown)
        yield "Form", table("Parameters", ("name", "value"), (row(*pair) for pair in pairs))
    if content["encoding"] == "utf-8":
        yield "Text", tag("pre", shown.decode("utf-8", "replace"), tabindex=0)
    yield "Hex", tag("pre", "\n".join(dump(body[:MAX_HEX])), class_="hex", tabindex=0)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return [("too many parameters to show", "")]


def dump(body: bytes) -> Iterator[str]:
    """Lines of sixteen bytes: where, in hexadecimal, and as ASCII."""
    for at in range(0, len(body), 16):
        piece = body[at : at + 16]
        ascii_ = "".join(chr(one) if 32 <= one < 127 else "." for one in piece)
        yield f"{at:08x}  {piece.hex(' '):<47}  {ascii_}"


_MARKS = {True: "passed", False: "failed", None: "noted"}


def delivery_page(one: Found, *, may_act: bool) -> Markup:
    """The page."""
    verdict = one["verdict"] or "ended"
    return page(
        f"{verdict} {one['method']} {one['path']}",
        "",
        tag("p", tag("a", "Deliveries", href="/"), class_="back"),
        tag("h1", tag("span", verdict, class_=f"badge {verdict}"), " ", one["method"], " ", one["path"]),
        tag("p", one["sentence"], id="sentence", class_="sentence"),
        _acts(one, may_act=may_act),
        part("Checks", _checks(one), id="checks"),
        part("Time", _time(one)),
        part("Request", _request(one["request"])),
        part("Answer", _answer(one["answer"])),
        part("Particulars", _particulars(one)),
        part("Replays", _replays(one["replays"])),
        _replay_dialog(one),
        may_act=may_act,
        page="delivery",
        id=one["id"],
    )


def _acts(one: Found, *, may_act: bool) -> Markup:
    copies = (
        button(f"Copy as {label}", data_copy=form)
        for form, label in (("curl", "curl"), ("raw", "raw HTTP"), ("har", "HAR"))
    )
    off = not may_act or not one["whole"]
    replay = button("Replay ", tag("kbd", "r"), id="replay", disabled=off)
    keep = button("Keep as a test ", tag("kbd", "t"), id="keep", disabled=off)
    why = None
    if not one["whole"]:
        why = tag("span", " Not all of it is kept, so it cannot be sent again.")
    elif not may_act:
        why = tag("span", " This session may look and not act.")
    return tag("p", replay, " ", keep, ((" ", each) for each in copies), why, class_="acts", hidden=True, id="acts")


def _checks(one: Found) -> list[Markup]:
    rows = (
        tag("li", tag("span", mark, class_=f"mark {mark}"), " ", tag("strong", check["name"]), " ", check["said"])
        for check, mark in ((check, _MARKS[check["passed"]]) for check in one["checks"])
    )
    found = [tag("ul", rows, class_="checks")]
    if not one["agrees"]:
        found.append(tag("p", "Made again now, the checks reach another verdict than when it came.", class_="cause"))
    return found


def _time(one: Found) -> list[Markup]:
    """A bar of the provider's patience, and in it what was used: by us, and by the application."""
    total, upstream, patience = one["duration_s"], one["upstream_duration_s"], one["patience_s"]
    whole = max(patience or 0.0, total, 1e-9)
    used, waited = (max(1000 * part / whole, 2.0 if part else 0.0) for part in (total, upstream))
    limit = f" of the {took(patience)} that the provider waits" if patience else ""
    said = f"{took(total)}{limit}; {took(upstream)} of it the application"
    bar = tag(
        "svg",
        tag("rect", width=1000, height=16, class_="patience"),
        tag("rect", width=f"{used:.1f}", height=16, class_="used"),
        tag("rect", width=f"{min(waited, used):.1f}", height=16, class_="waited"),
        viewBox="0 0 1000 16",
        preserveAspectRatio="none",
        role="img",
        aria_label=said,
        class_="timing",
    )
    return [bar, tag("p", said, ".")]


def _request(request: Found) -> list[Markup]:
    line = f"{request['method']} {request['target']} {request['version']}"
    none = request["target"] is None
    head = tag("p", "What came was not an HTTP request.") if none else _head(line, request["fields"])
    return [head, views(request["body"], "request")]


def _answer(answer: Found | None) -> list[Markup]:
    if answer is None:
        return [tag("p", "The sender got no answer.")]
    line = f"HTTP/1.1 {answer['status']} {answer['phrase']}"
    by = "It is the application's." if answer["by"] == "application" else "It is hookward's own."
    shown: list[Markup] = [tag("p", by), _head(line, answer["fields"])]
    return [*shown, views(answer["body"], "answer")] if answer["by"] == "application" else shown


def _head(line: str, fields: Iterable[tuple[str, str]]) -> Markup:
    return tag("pre", "\n".join([line, *_lines(fields)]), tabindex=0)


def _lines(fields: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name}: {value}" for name, value in fields]


def _particulars(one: Found) -> Markup:
    rows = (
        ("came", day(one["time"])),
        *((name, one[name]) for name in ("route", "provider", "event")),
        ("delivery", one["delivery_id"]),
        ("request", one["request_id"]),
        ("reason", one["reason"] + (f" ({one['detail']})" if one["detail"] else "")),
        ("cause", one["cause"]["word"] if one["cause"] else ""),
        ("ended by", f"{one['ended_by']}, {one['phase']}"),
        ("client", one["client"] + (f" by {one['peer']}" if one["peer"] != one["client"] else "")),
        ("host", one["host"]),
        ("sender", one["user_agent"]),
        *((name, one[name]) for name in ("secret", "upstream")),
        ("content", about_size(one["size"])),
        ("repeats", one["replay_of"]),
    )
    return facts((name, text) for name, text in rows if text)


def _replays(replays: Iterable[Found]) -> Markup:
    rows = []
    for each in replays:
        way = tag("a", clock(each["time"]), href=f"/deliveries/{each['id']}")
        rows.append(tag("li", way, f" {each['status']} ", each["reason"]))
    return tag("ol", rows, id="replays") if rows else tag("p", "None yet.", id="replays")


_REPLAY = template("replay.html")


def _replay_dialog(one: Found) -> Markup:
    body, fields = one["request"]["body"], "\n".join(_lines(one["request"]["fields"]))
    too_long = body["encoding"] != "utf-8" or body["kept"] > MAX_SHOWN
    text = "" if too_long else body["text"]
    edit = [
        tag("textarea", text, id="edit-body", rows=8, spellcheck="false", disabled=too_long),
        tag("p", "This content cannot be edited here.") if too_long else None,
    ]
    return _REPLAY(fields=fields, edit=edit)
