"""The pages of a running hookward, read without a script: what they say, and that nothing in them can run."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from proxy.console.markup import PLACES
from tests.console.asking import BODY, READ, delivery, token
from tests.console.hostile import PAYLOADS, in_a_path
from tests.console.reading import Reader, harmless
from tests.whole.conftest import SECRET
from tests.whole.console import Visitor
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.test_queue import until
from tests.whole.wire import github, once, request

Start = Callable[..., Hookward]


def read(visitor: Visitor, target: str, status: int = 200) -> Reader:
    reply = visitor.ask("GET", target)
    assert reply.status == status
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "require-trusted-types-for 'script'" in reply.headers["Content-Security-Policy"]
    return harmless(reply.content.decode())


def links(page: Reader, start: str) -> list[str]:
    found = [attributes.get("href") or "" for name, attributes in page.elements if name == "a"]
    return [link for link in found if link.startswith(start)]


def test_from_the_list_to_the_cause(begin: Start) -> None:
    hookward = begin()
    assert once(hookward.address, delivery()).status == 200
    assert once(hookward.address, delivery(key=b"another secret", name="d-2")).status == 403
    visitor = token(hookward)
    page = read(visitor, "/")
    assert "2 deliveries kept of 2 seen." in page.text
    [refused, admitted] = links(page, "/deliveries/")
    shown = read(visitor, refused)
    assert "Refused by the route github with 403: signature mismatch." in shown.text
    assert "proof" in shown.text
    assert "of the 10.00 s that the provider waits" in shown.text
    assert BODY.decode() in shown.text
    assert "sha256=[masked, 64 bytes]" in shown.text
    assert "It is hookward's own." in shown.text
    good = read(visitor, admitted)
    assert "Admitted by the route github with the secret" in good.text
    assert "It is the application's." in good.text
    for page in (shown, good):
        assert SECRET.decode() not in page.text


def test_the_filter_stands_in_the_address(begin: Start) -> None:
    hookward = begin()
    once(hookward.address, delivery())
    once(hookward.address, delivery(key=b"another secret", name="d-2"))
    visitor = token(hookward)
    assert len(links(read(visitor, "/?q=verdict%3Arefused"), "/deliveries/")) == 1
    assert "No delivery matches yet." in read(visitor, "/?q=needless").text
    wrong = read(visitor, "/?q=" + quote("a colour:red"), 400)
    assert 'Column 3: "colour:" is no search word' in wrong.text
    assert ("value", "a colour:red") in [
        pair for name, each in wrong.elements if name == "input" for pair in each.items()
    ]
    assert "Column 3:" in read(visitor, "/queue?q=" + quote("a colour:red"), 400).text


def test_what_is_not_kept(begin: Start) -> None:
    page = read(token(begin()), "/deliveries/none", 404)
    assert "no delivery 'none' is kept" in page.text


def test_routes_with_their_hour(begin: Start) -> None:
    direct = '[route.direct]\npath = "/direct"\nopen = true\n'
    hookward = begin(more=f"[queue]\n{direct}", route='deliver = "fallback"')
    once(hookward.address, delivery())
    once(hookward.address, delivery(key=b"another secret", name="d-2"))
    page = read(token(hookward), "/routes")
    assert "2 requests, 1 refused; p50 " in page.text
    assert links(page, "/?q=route%3Agithub+reason") == ["/?q=route%3Agithub+reason%3Asignature_mismatch"]
    assert "rect" in page.names
    pauses = [each.get("data-route") for name, each in page.elements if name == "button" and each.get("data-act")]
    assert pauses == ["github"], "what comes to the other one goes on to the application"


def test_the_script_is_given_the_rows_of_the_page(begin: Start) -> None:
    hookward = begin()
    visitor = token(hookward)
    for number in range(3):
        once(hookward.address, delivery(name=f"d-{number}"))
    page = read(visitor, "/")
    rows = visitor.ask("GET", "/rows?limit=2").json
    assert [one["href"] for one in rows["rows"]] == links(page, "/deliveries/")[:2]
    assert rows["next"] == rows["rows"][1]["id"]
    assert " ".join(text for _, text in rows["rows"][0]["cells"]) in " ".join(page.text.split())
    connection = visitor.connect()
    connection.request("GET", "/live?after=x:0", headers=visitor.fields)
    answer = connection.getresponse()
    lines = iter(answer.readline, b"")
    first = next(line for line in lines if line.startswith(b'data: {"id"'))
    connection.close()
    assert json.loads(first[6:]) == visitor.ask("GET", "/rows").json["rows"][2]
    assert visitor.ask("GET", "/rows?q=nope:x").status == 400
    assert visitor.ask("GET", "/live?q=nope:x").status == 400


def test_the_queue(begin: Start, upstream: RecordingUpstream) -> None:
    upstream.manner.answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    hookward = begin(more="[queue]\n", route='deliver = "queue"')
    visitor = token(hookward)
    assert "Nothing waits." in read(visitor, "/queue").text
    once(hookward.address, delivery())
    # Once as the head of a column, and once of the delivery.
    assert until(lambda: read(visitor, "/queue?q=route:github").pieces.count("dead") == 2)
    page = read(visitor, "/queue")
    assert "Replay" in page.text
    assert "404" in page.text


def test_where_there_is_no_queue(begin: Start) -> None:
    page = read(token(begin()), "/queue")
    assert "No route keeps deliveries" in page.text


def test_the_state(begin: Start) -> None:
    hookward = begin()
    once(hookward.address, delivery())
    page = read(token(hookward), "/state")
    assert "without an end" in page.text
    assert "act token from 127.0.0.1" in page.text


def test_a_visitor_that_may_not_act_is_given_nothing_to_press(begin: Start) -> None:
    hookward = begin(more="[queue]\n")
    once(hookward.address, delivery())
    visitor = token(hookward, READ)
    [link] = links(read(visitor, "/"), "/deliveries/")
    pressed = [
        attributes for name, attributes in read(visitor, link).elements if name == "button" and "id" in attributes
    ]
    assert "disabled" in next(each for each in pressed if each["id"] == "replay")
    assert [
        each for name, each in read(visitor, "/routes").elements if name == "button" and "disabled" not in each
    ] == [
        {}  # it closes the help
    ]
    assert "Reload" not in read(visitor, "/state").text


@pytest.mark.parametrize("place", [place for place, _ in PLACES] + ["/deliveries/x", "/console.js", "/console.css"])
def test_nothing_without_a_credential(begin: Start, place: str) -> None:
    reply = Visitor(begin().addresses[1]).ask("GET", place, Accept="text/html")
    assert reply.status == 401
    assert b"This console is closed" in reply.content


def test_what_strangers_write_stays_text(begin: Start, upstream: RecordingUpstream) -> None:
    hookward = begin()
    visitor = token(hookward)
    for payload in PAYLOADS[:20]:
        text = payload.encode()
        upstream.manner.answer = b"HTTP/1.1 200 OK\r\nX-Said: %b\r\nContent-Length: %d\r\n\r\n%b" % (
            text,
            len(text),
            text,
        )
        fields = github(SECRET, text, delivery=payload, event=payload)
        once(
            hookward.address,
            request("POST", f"/hooks/{in_a_path(payload)}?{quote(payload)}", {**fields, "X-Said": payload}, text),
        )
        [link] = links(read(visitor, "/?limit=1&q=" + quote("method:POST")), "/deliveries/")[:1]
        assert payload in read(visitor, link).text
        if '"' not in payload and "\\" not in payload:
            assert links(read(visitor, "/?q=" + quote(f'"{payload}"')), "/deliveries/")[0] == link
