"""How fast the console's pages are in a real Chromium: 10,000 deliveries, then 200 a second, and pictures of them.

    python -m bench.page                     # measures; chromium and chromedriver must be there
    python -m bench.page --pictures docs/console

First paint is what the browser says of a page with ten thousand rows behind it; "visible" is from the end of a delivery
to the change of the page that shows it, by the same clock.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import threading
from pathlib import Path
from time import monotonic

from tests.console.asking import BODY
from tests.console.browsing import Browser, chromium
from tests.whole.conftest import SECRET
from tests.whole.console import link
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.wire import Client, github, request

MANY, RATE, SECONDS = 10_000, 200, 10
_WATCH = """
window.seen = [];
new MutationObserver(changes => {
  const now = performance.timeOrigin + performance.now();
  for (const change of changes) for (const row of change.addedNodes)
    if (row.dataset && row.dataset.id) seen.push(now - parseInt(row.dataset.id, 16));
}).observe(document.getElementById('list'), {childList: true});
"""


def send(address: tuple[str, int], count: int, rate: float | None = None) -> None:
    """So many deliveries, one in eight of them forged; ``rate`` in a second."""
    begun = monotonic()
    pause = threading.Event()
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(address))
        for number in range(count):
            if rate is not None:
                pause.wait(max(begun + number / rate - monotonic(), 0))
            key = SECRET if number % 8 else b"another secret"
            answer = client.ask(request("POST", "/hooks", github(key, BODY, delivery=f"d-{number}"), BODY))
            if (answer.get(b"Connection") or b"").lower() == b"close":
                client = stack.enter_context(Client(address))


def share(values: list[float], part: float) -> float:
    """The value that this share of them stays under."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def measure(page: Browser, hookward: Hookward) -> None:
    """Print the figures."""
    page.open("/")
    page.wait(lambda: page.text("#live") == "live")
    paint = page.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first paint with {MANY:,} kept: {paint:.0f} ms")
    begun = monotonic()
    while (
        page.run("scrollTo(0, document.body.scrollHeight); return document.querySelectorAll('#list li').length") < MANY
    ):
        if monotonic() - begun > 60 or not page.all("#older"):
            break
    rows = page.run("return document.querySelectorAll('#list li').length")
    print(f"all {rows:,} rows by scrolling: {monotonic() - begun:.1f} s")
    page.run("scrollTo(0, 0)")
    page.run(_WATCH)
    send(hookward.address, RATE * SECONDS, RATE)
    page.wait(lambda: page.run("return seen.length") >= RATE * SECONDS * 0.98)
    seen = page.run("return seen")
    print(
        f"visible at {RATE}/s: p50 {statistics.median(seen):.0f} ms, p99 {share(seen, 0.99):.0f} ms, "
        f"{len(seen):,} of {RATE * SECONDS:,}"
    )
    page.command("HeapProfiler.collectGarbage")
    page.command("Performance.enable")
    found = {one["name"]: one["value"] for one in page.command("Performance.getMetrics")["metrics"]}
    print(f"heap: {found['JSHeapUsedSize'] / 2**20:.0f} MiB of script, {found['Nodes']:,.0f} nodes")
    assert page.complaints() == []


def pictures(page: Browser, hookward: Hookward, folder: Path) -> None:
    """The list, a refusal, and the list on a narrow screen, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    send(hookward.address, 16)
    page.open("/?q=verdict:refused")
    refused = page.find("#list a").get_attribute("href") or ""
    for name, path, width, height, scheme in (
        ("list", "/", 1280, 640, "light"),
        ("refusal", refused.removeprefix(page.origin), 1280, 760, "light"),
        ("list-dark", "/", 1280, 640, "dark"),
        ("narrow", "/", 360, 740, "light"),
    ):
        page.look(width, height, scheme)
        page.open(path)
        page.wait(lambda: page.run("return document.readyState") == "complete")
        page.driver.save_screenshot(str(folder / f"{name}.png"))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="take pictures instead of measuring")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, RecordingUpstream() as upstream:
        folder = Path(made)
        (folder / "secret").write_bytes(SECRET)
        (folder / "secret").chmod(0o600)
        (folder / "hookward.toml").write_text(
            f'listen = "127.0.0.1:0"\nupstream = "{upstream.url}"\nstate_dir = "{folder}"\naccess_log = "off"\n'
            '[console]\nlisten = "127.0.0.1:0"\nkeep = 20000\nkeep_bytes = "128MiB"\n'
            f'[route.github]\npath = "/hooks"\nprovider = "github"\nsecrets = "file:{folder}/secret"\n'
        )
        hookward = Hookward("-c", str(folder / "hookward.toml"), listeners=2, secrets=[SECRET])
        try:
            host, port = hookward.addresses[1]
            with chromium(folder / "profile") as driver:
                page = Browser(driver, f"http://{host}:{port}")
                if given.pictures is None:
                    send(hookward.address, MANY)
                page.enter(page.origin + link(folder, hookward))
                if given.pictures is None:
                    measure(page, hookward)
                else:
                    pictures(page, hookward, given.pictures)
        finally:
            hookward.stop()


if __name__ == "__main__":
    main()
