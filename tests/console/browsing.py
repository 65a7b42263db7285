"""A real Chromium that looks at the console, and tells of everything that it ran, refused or asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium, or no chromedriver")
PATIENCE_S = 30
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--force-device-scale-factor=1",
    ),
)


class Browser:
    """One Chromium at one console, let in."""

    def __init__(self, driver: Chrome, origin: str) -> None:
        self.driver = driver
        self.origin = origin

    def open(self, path: str) -> None:
        self.driver.get(self.origin + path)

    def enter(self, link: str) -> None:
        self.driver.get(link)
        assert self.driver.current_url == self.origin + "/"

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def run(self, script: str, *values: object) -> Any:
        return self.driver.execute_script(script, *values)

    def press(self, keys: str) -> None:
        """Keys, to what has the focus."""
        from selenium.webdriver import ActionChains  # noqa: PLC0415 - not where there is no chromium

        ActionChains(self.driver).send_keys(keys).perform()

    def wait(self, condition: Callable[[], Any]) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait  # noqa: PLC0415 - not where there is no chromium

        return WebDriverWait(self.driver, PATIENCE_S, 0.02).until(lambda _: condition())

    def look(self, width: int, height: int, scheme: str) -> None:
        """As wide and high as this, in the scheme ``light`` or ``dark``."""
        self.driver.set_window_size(width, height)
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def command(self, name: str, **given: object) -> Any:
        return self.driver.execute_cdp_cmd(name, given)

    def requests(self) -> list[str]:
        """What was asked for since the last time, as addresses."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def complaints(self) -> list[str]:
        """What the browser wrote into its console since the last time: errors, and reports of the policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def chromium(folder: Path) -> Iterator[Chrome]:
    """A Chromium of its own, with nothing in its profile."""
    from selenium import webdriver  # noqa: PLC0415 - not where there is no chromium
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415 - as above it

    options = webdriver.ChromeOptions()
    for flag in (*_QUIET, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = CHROMIUM or ""
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
