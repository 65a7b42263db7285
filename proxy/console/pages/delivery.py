"""One delivery: the verdict in a sentence, each check with what it found, the cause, and the bytes as they came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.config.sizes import about_size, took
from proxy.console.pages import bodies
from proxy.console.pages.frame import page
from proxy.console.pages.markup import Child, Markup, tag
from proxy.console.pages.words import clock, day

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
        return [tag("p", "What came was not an HTTP request."), bodies.views(request["body"], "request")]
    line = f"{request['method']} {request['target']} {request['version']}"
    return [_head(line, request["fields"]), bodies.views(request["body"], "request")]


def _answer(answer: Found | None) -> list[Child]:
    if answer is None:
        return [tag("p", "The sender got no answer.")]
    line = f"HTTP/1.1 {answer['status']} {answer['phrase']}"
    by = "It is the application's." if answer["by"] == "application" else "It is hookward's own."
    shown: list[Child] = [tag("p", by), _head(line, answer["fields"])]
    return [*shown, bodies.views(answer["body"], "answer")] if answer["by"] == "application" else shown


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
    too_long = body["encoding"] != "utf-8" or body["kept"] > bodies.MAX_SHOWN
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
