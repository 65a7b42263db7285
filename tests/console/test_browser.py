"""The pages in a real Chromium: what comes is seen, the keys suffice, and nothing that a stranger sent does anything.

Each test is a visit of one browser, which is dear to start. ``make page`` measures how fast they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.console.asking import BODY, delivery
from tests.console.browsing import Browser, chromium, needs_chromium
from tests.console.conftest import begin, folder
from tests.console.hostile import PAYLOADS, in_a_path
from tests.whole.conftest import SECRET
from tests.whole.console import link
from tests.whole.process import Hookward
from tests.whole.recorder import Received, RecordingUpstream
from tests.whole.wire import Client, github, once, request

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["begin", "folder"]

pytestmark = [needs_chromium, pytest.mark.timeout(120)]

Start = Callable[..., Hookward]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def browser(driver: Chrome, folder: Path) -> Callable[[Hookward], Browser]:
    def visit(hookward: Hookward) -> Browser:
        host, port = hookward.addresses[1]
        made = Browser(driver, f"http://{host}:{port}")
        made.look(1280, 800, "light")
        made.requests(), made.complaints()  # of the visits before
        made.enter(made.origin + link(folder, hookward))
        return made

    return visit


def ids(browser: Browser) -> list[str]:
    found: list[str] = browser.run("return Array.from(document.querySelectorAll('#list li'), one => one.dataset.id)")
    return found


def test_from_what_comes_to_its_cause_and_again_by_keys_alone(
    begin: Start, browser: Callable[[Hookward], Browser], upstream: RecordingUpstream
) -> None:
    hookward = begin()
    page = browser(hookward)
    page.wait(lambda: page.text("#live") == "live")
    assert once(hookward.address, delivery()).status == 200
    assert once(hookward.address, delivery(key=b"another secret", name="d-2")).status == 403
    page.wait(lambda: len(ids(page)) == 2)
    assert [page.run("return arguments[0].innerText", row).split()[1] for row in page.all("#list li")] == [
        *("refused", "admitted")
    ]
    # From the open page to the cause in three actions at most: j, Enter.
    page.press("j")
    page.press("\ue007")
    page.wait(lambda: "/deliveries/" in page.driver.current_url)
    assert "Most likely the two sides have different secrets" in page.text("#sentence")
    # Again, signed by us this time: r, then what is chosen by its keys, then Enter.
    page.press("r")
    page.wait(lambda: page.find("#replay-dialog").get_attribute("open"))
    page.find("input[value=now]").send_keys(" ")
    page.press("\ue007")
    page.wait(lambda: page.text("#outcome").startswith("200"))
    assert upstream.seen[-1].content == BODY
    page.press("\ue007")  # the link to it has the focus
    page.wait(lambda: page.text("h1").startswith("admitted"))
    page.press("u")
    page.wait(lambda: len(ids(page)) == 3)
    page.press("/")
    page.press("verdict:refused\ue007")
    page.wait(lambda: len(ids(page)) == 1)
    assert page.driver.current_url.endswith("/?q=verdict%3Arefused")
    page.press("?")
    page.wait(lambda: page.find("#help").is_displayed())
    page.press("\ue00c")
    page.wait(lambda: not page.find("#help").is_displayed())
    assert page.complaints() == []


def test_an_edited_replay_shows_what_is_sent(
    begin: Start, browser: Callable[[Hookward], Browser], upstream: RecordingUpstream, folder: Path
) -> None:
    hookward = begin()
    once(hookward.address, delivery())
    page = browser(hookward)
    page.find("#list a").click()
    page.wait(lambda: page.all("#replay"))
    page.press("r")
    page.find("input[value=now]").click()
    page.find("#edit-body").clear()
    page.find("#edit-body").send_keys('{"action":"closed"}')
    page.find("#preview").click()
    page.wait(lambda: '+{"action":"closed"}' in page.text("#diff"))
    assert len(upstream.seen) == 1
    page.find("#send").click()
    page.wait(lambda: page.text("#outcome").startswith("200"))
    assert upstream.seen[-1].content == b'{"action":"closed"}'
    assert upstream.seen[-1].get(b"Webhook-Replay")
    page.press("\ue00c")
    page.wait(lambda: not page.find("#replay-dialog").is_displayed())
    page.press("t")
    page.wait(lambda: "[[test]]" in page.text("#checks"))
    assert [file.suffix for file in (folder / "tests").iterdir()] == [".http"]


def test_nothing_that_strangers_send_does_anything(
    begin: Start, browser: Callable[[Hookward], Browser], upstream: RecordingUpstream
) -> None:
    def said(received: Received) -> bytes:
        text = received.content
        return b"HTTP/1.1 200 OK\r\nX-Said: %b\r\nContent-Length: %d\r\n\r\n%b" % (text, len(text), text)

    upstream.manner.answer = said
    hookward = begin(console="keep = 1000")
    page = browser(hookward)
    page.wait(lambda: page.text("#live") == "live")
    with Client(hookward.address) as client:
        for payload in PAYLOADS:
            # A name may have these marks, and no others that HTML has a use for.
            fields = {**github(SECRET, payload.encode(), delivery=payload, event=payload), "X-'`!#$%&*|~^": payload}
            target = f"/hooks/{in_a_path(payload)}?{quote(payload)}"
            assert client.ask(request("POST", target, fields, payload.encode())).status == 200
    page.wait(lambda: len(ids(page)) >= len(PAYLOADS))
    names = ids(page)
    for name in names[:: max(len(names) // 50, 1)]:
        page.open(f"/deliveries/{name}")
        assert page.driver.title.endswith(" · hookward")
    for path in ("/routes", "/queue", "/state", "/?q=" + quote('"<script>"')):
        page.open(path)
        assert page.driver.title.endswith(" · hookward")
    assert [url for url in page.requests() if not url.startswith((page.origin + "/", "chrome:", "data:"))] == []
    assert page.complaints() == []


def test_other_sites_and_frames_get_nothing(begin: Start, browser: Callable[[Hookward], Browser]) -> None:
    hookward = begin()
    once(hookward.address, delivery())
    page = browser(hookward)
    host, port = hookward.addresses[1]
    # Another name of the same listener is another site to a browser, and to us.
    page.driver.get(f"http://localhost:{port}/")
    page.run(
        "const frame = document.createElement('iframe'); frame.src = arguments[0]; document.body.append(frame);"
        "const ask = fetch(arguments[0] + 'api/v1/deliveries', {credentials: 'include'});"
        "ask.then(() => document.title = 'read', () => document.title = 'refused')",
        f"http://{host}:{port}/",
    )
    page.wait(lambda: page.driver.title == "refused")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_narrow(begin: Start, browser: Callable[[Hookward], Browser], scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python.selenium", reason="no axe: pip install axe-core-python")
    hookward = begin(more="[queue]\n", route='deliver = "fallback"')
    once(hookward.address, delivery())
    once(hookward.address, delivery(key=b"another secret", name="d-2"))
    page = browser(hookward)
    page.look(360, 740, scheme)
    for path in ("/", f"/deliveries/{ids(page)[0]}", "/routes", "/queue", "/state"):
        page.open(path)
        assert page.run("return document.documentElement.scrollWidth") <= 360
        found = axe.Axe().run(page.driver)
        serious = [each for each in found["violations"] if each["impact"] in {"serious", "critical"}]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious] == []


def test_a_list_goes_on_where_it_broke_off(begin: Start, browser: Callable[[Hookward], Browser]) -> None:
    hookward = begin()
    page = browser(hookward)
    page.wait(lambda: page.text("#live") == "live")
    page.press("p")
    page.wait(lambda: page.text("#live") == "held")
    senders = [
        threading.Thread(target=once, args=(hookward.address, delivery(name=f"d-{number}"))) for number in range(5)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    page.wait(lambda: page.text("#live") == "held, 5 more")
    assert ids(page) == []
    page.press("p")
    page.wait(lambda: len(ids(page)) == 5)
    assert len(set(ids(page))) == 5
