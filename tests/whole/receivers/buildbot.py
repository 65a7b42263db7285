"""A real buildbot master with a local worker, which builds whatever is pushed to its hooks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from time import monotonic
from typing import Any, Self

from tests.whole.process import Output
from tests.whole.receivers.place import BUILDBOT
from tests.whole.wire import PATIENCE_S

_LISTENING = re.compile(r"BuildbotSite starting on (\d+)")
_CONFIGURATION = Path(__file__).with_name("master.cfg")
#: As create-master writes it, but for the log, which goes to standard output here.
_APPLICATION = """
from buildbot.master import BuildMaster
from twisted.application import service
application = service.Application("buildmaster")
BuildMaster(".", "master.cfg", None).setServiceParent(application)
"""


class Buildbot:
    """Runs while it is entered. ``secret`` is that of its hooks."""

    def __init__(self, folder: Path, secret: str) -> None:
        self._folder = folder / "master"
        command = [str(BUILDBOT), "create-master", "-q", str(self._folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S * 3)
        (self._folder / "hook.secret").write_text(secret)
        (self._folder / "buildbot.tac").write_text(_APPLICATION)
        shutil.copyfile(_CONFIGURATION, self._folder / "master.cfg")

    def __enter__(self) -> Self:
        command = [BUILDBOT.with_name("twistd"), "--nodaemon", "--logfile=-", "--python=buildbot.tac"]
        self._process = subprocess.Popen(
            [str(word) for word in command],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._output = Output(self._process.stdout)
        started = self._output.wait(
            lambda lines: any("BuildMaster is running" in line for line in lines), PATIENCE_S * 2
        )
        listening = _LISTENING.search(self._output.text)
        if not started or listening is None:
            self.__exit__()
            raise AssertionError(self._output.text)
        self.port = int(listening[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._output.finish()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def finished_builds(self, least: int) -> list[dict[str, Any]]:
        """The builds that have ended, once there are ``least`` of them; fewer where time is over."""
        deadline = monotonic() + PATIENCE_S
        while True:
            found = [build for build in self._asked("builds") if build["complete"]]
            if len(found) >= least or monotonic() > deadline:
                return found

    def changes(self) -> list[dict[str, Any]]:
        """The changes that the hooks have found, oldest first."""
        return sorted(self._asked("changes"), key=lambda change: int(change["changeid"]))

    def _asked(self, what: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/api/v2/{what}", timeout=PATIENCE_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)[what]
            return found
