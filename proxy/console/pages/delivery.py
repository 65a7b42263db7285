"""One delivery: the verdict in a sentence, each check with what it found, the cause, and the bytes as they came."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from proxy.config.sizes import about_size, took
from proxy.console.pages.markup import Child, Markup, clock, day, page, table, tag

# -- The content of a message in the ways it can be read: JSON, a form, text, bytes.

#: What a page shows of a body; the rest is there to be exported.
MAX_SHOWN = 256 * 1024
MAX_HEX = 16 * 1024
MAX_PARAMETERS = 1000

Content = Mapping[str, Any]


def views(content: Content, name: str) -> Markup:
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


def _each(body: bytes, content: Content) -> Iterator[tuple[str, Markup]]:
    shown = body[:MAX_SHOWN]
    if content["form"] == "json" and len(body) <= MAX_SHOWN and (pretty := _pretty(body)) is not None:
        yield "JSON", tag("pre", pretty, tabindex=0)
    if content["form"] == "form":
        pairs = _pairs(shown)
        yield "Form", table("Parameters", ("name", "value"), (tag("tr", map(_cell, pair)) for pair in pairs))
    if content["encoding"] == "utf-8":
        yield "Text", tag("pre", shown.decode("utf-8", "replace"), tabindex=0)
    yield "Hex", tag("pre", "\n".join(dump(body[:MAX_HEX])), class_="hex", tabindex=0)


def _pretty(body: bytes) -> str | None:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return [("too many parameters to show", "")]


def _cell(text: str) -> Markup:
    return tag("td", text)


def dump(body: bytes) -> Iterator[str]:
    """Lines of sixteen bytes: where, in hexadecimal, and as ASCII."""
    for at in range(0, len(body), 16):
        piece = body[at : at + 16]
        ascii_ = "".join(chr(one) if 32 <= one < 127 else "." for one in piece)
        yield f"{at:08x}  {piece.hex(' '):<47}  {ascii_}"


Found = Mapping[str, Any]

_MARKS = {True: "passed", False: "failed", None: "noted"}


def render(one: Found, *, may_act: bool) -> Markup:
    """The page."""
    verdict = one["verdict"] or "ended"
    return page(
        f"{verdict} {one['method']} {one['path']}",
        "",
        tag("p", tag("a", "Deliveries", href="/"), class_="back"),
        tag("h1", tag("span", verdict, class_=f"badge {verdict}"), " ", one["method"], " ", one["path"]),
        tag("p", one["sentence"], id="sentence", class_="sentence"),
        _acts(one, may_act=may_act),
        tag("section", tag("h2", "Checks"), _checks(one), id="checks"),
        tag("section", tag("h2", "Time"), _time(one)),
        tag("section", tag("h2", "Request"), _request(one["request"])),
        tag("section", tag("h2", "Answer"), _answer(one["answer"])),
        tag("section", tag("h2", "Particulars"), _particulars(one)),
        tag("section", tag("h2", "Replays"), _replays(one["replays"])),
        _replay_dialog(one),
        may_act=may_act,
        page="delivery",
        id=one["id"],
    )


def _acts(one: Found, *, may_act: bool) -> Markup:
    copies = (
        tag("button", f"Copy as {label}", type="button", data_copy=form)
        for form, label in (("curl", "curl"), ("raw", "raw HTTP"), ("har", "HAR"))
    )
    off = not may_act or not one["whole"]
    replay = tag("button", "Replay ", tag("kbd", "r"), type="button", id="replay", disabled=off)
    keep = tag("button", "Keep as a test ", tag("kbd", "t"), type="button", id="keep", disabled=off)
    why = None
    if not one["whole"]:
        why = tag("span", " Not all of it is kept, so it cannot be sent again.")
    elif not may_act:
        why = tag("span", " This session may look and not act.")
    return tag("p", replay, " ", keep, ((" ", each) for each in copies), why, class_="acts", hidden=True, id="acts")


def _checks(one: Found) -> list[Markup]:
    rows = (
        tag(
            "li",
            tag("span", _MARKS[check["passed"]], class_=f"mark {_MARKS[check['passed']]}"),
            " ",
            tag("strong", check["name"]),
            " ",
            check["said"],
        )
        for check in one["checks"]
    )
    found = [tag("ul", rows, class_="checks")]
    if not one["agrees"]:
        found.append(tag("p", "Made again now, the checks reach another verdict than when it came.", class_="cause"))
    return found


def _time(one: Found) -> list[Child]:
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


def _request(request: Found) -> list[Child]:
    if request["target"] is None:
        return [tag("p", "What came was not an HTTP request."), views(request["body"], "request")]
    line = f"{request['method']} {request['target']} {request['version']}"
    return [_head(line, request["fields"]), views(request["body"], "request")]


def _answer(answer: Found | None) -> list[Child]:
    if answer is None:
        return [tag("p", "The sender got no answer.")]
    line = f"HTTP/1.1 {answer['status']} {answer['phrase']}"
    by = "It is the application's." if answer["by"] == "application" else "It is hookward's own."
    shown: list[Child] = [tag("p", by), _head(line, answer["fields"])]
    return [*shown, views(answer["body"], "answer")] if answer["by"] == "application" else shown


def _head(line: str, fields: Iterable[tuple[str, str]]) -> Markup:
    return tag("pre", "\n".join([line, *(f"{name}: {value}" for name, value in fields)]), tabindex=0)


def _particulars(one: Found) -> Markup:
    rows = (
        ("came", day(one["time"])),
        ("route", one["route"]),
        ("provider", one["provider"]),
        ("event", one["event"]),
        ("delivery", one["delivery_id"]),
        ("request", one["request_id"]),
        ("reason", one["reason"] + (f" ({one['detail']})" if one["detail"] else "")),
        ("cause", one["cause"]["word"] if one["cause"] else ""),
        ("ended by", f"{one['ended_by']}, {one['phase']}"),
        ("client", one["client"] + (f" by {one['peer']}" if one["peer"] != one["client"] else "")),
        ("host", one["host"]),
        ("sender", one["user_agent"]),
        ("secret", one["secret"]),
        ("upstream", one["upstream"]),
        ("content", about_size(one["size"])),
        ("repeats", one["replay_of"]),
    )
    return tag("dl", ((tag("dt", name), tag("dd", text)) for name, text in rows if text), class_="facts")


def _replays(replays: Iterable[Found]) -> Markup:
    rows = [
        tag(
            "li", tag("a", clock(each["time"]), href=f"/deliveries/{each['id']}"), f" {each['status']} ", each["reason"]
        )
        for each in replays
    ]
    return tag("ol", rows, id="replays") if rows else tag("p", "None yet.", id="replays")


def _replay_dialog(one: Found) -> Markup:
    request = one["request"]
    body, fields = request["body"], request["fields"]
    text = body["text"] if body["encoding"] == "utf-8" else ""
    too_long = body["encoding"] != "utf-8" or body["kept"] > MAX_SHOWN
    edit = tag(
        "fieldset",
        tag("legend", "What is sent"),
        tag("p", tag("label", "Fields", for_="edit-fields")),
        tag(
            "textarea",
            "\n".join(f"{name}: {value}" for name, value in fields),
            id="edit-fields",
            rows=5,
            spellcheck="false",
        ),
        tag("p", tag("label", "Content", for_="edit-body")),
        tag("textarea", "" if too_long else text, id="edit-body", rows=8, spellcheck="false", disabled=too_long),
        tag("p", "This content cannot be edited here.") if too_long else None,
    )
    form = tag(
        "form",
        tag("button", "Send", id="send", type="submit", autofocus=True),
        " ",
        tag("button", "Show what would be sent", id="preview", type="button"),
        " ",
        tag("button", "Close", id="cancel", type="button"),
        _choices("Proof", "sign", (("received", "as received"), ("now", "signed again, as of now"))),
        _choices("Through", "to", (("checks", "every check"), ("application", "to the application alone"))),
        tag("p", tag("label", tag("input", type="checkbox", name="duplicates"), " let a duplicate pass, this once")),
        edit,
        tag("pre", id="diff", tabindex=0, hidden=True, aria_label="What would be sent"),
        tag("p", id="outcome", role="status"),
        id="replay-form",
    )
    return tag("dialog", tag("h2", "Replay"), form, id="replay-dialog", aria_label="Replay")


def _choices(legend: str, name: str, options: Iterable[tuple[str, str]]) -> Markup:
    made = (
        tag("label", tag("input", type="radio", name=name, value=value, checked=first), f" {label} ")
        for (value, label), first in zip(options, (True, False), strict=True)
    )
    return tag("fieldset", tag("legend", legend), made)
