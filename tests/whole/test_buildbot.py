"""A real buildbot behind hookward: what ``hookward send`` sends starts its builds, and what is forged does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.tools import send
from tests.whole.process import Hookward
from tests.whole.receivers.buildbot import Buildbot
from tests.whole.receivers.place import BUILDBOT, needs

SECRET = "one secret for all hooks of it"
HEAD = "98f13708210194c475687be6106a3b84cd2b0e1c"
ROUTES = """
[route.{name}]
path = "/change_hook/{hook}"
provider = "{name}"
secrets = ["file:hook.secret"]
"""
HOOKS = {"github": "github", "gitlab": "gitlab", "bitbucket": "bitbucketcloud"}
#: What starts a build: the change that buildbot finds in it.
PUSHES = {
    ("github", "push"): ("main", "octo/hello", ["README.md", "po/pl.po"]),
    ("github", "push", "--form"): ("main", "octo/hello", ["README.md", "po/pl.po"]),
    ("gitlab", "push"): ("main", "Hello", ["README.md", "po/pl.po"]),
    ("gitlab", "merge_request"): ("main", "Hello", []),
    ("bitbucket", "repo:push"): ("refs/heads/main", "Hello", []),
}


@needs(BUILDBOT)
@pytest.mark.timeout(180)  # three programs in a row start, on a machine that may be busy
def test_builds_start(configured: Callable[..., Hookward], tmp_path: Path) -> None:
    (tmp_path / "hook.secret").write_text(SECRET)
    (tmp_path / "hook.secret").chmod(0o600)
    with Buildbot(tmp_path, SECRET) as buildbot:
        routes = "".join(ROUTES.format(name=name, hook=hook) for name, hook in HOOKS.items())
        hookward = configured(f'upstream = "{buildbot.url}"\n{routes}', secrets=[SECRET.encode()])

        def sent(*words: str) -> int:
            url = f"http://{hookward.address[0]}:{hookward.port}/change_hook/{HOOKS[words[0]]}"
            return send.main([*words, "--config", str(tmp_path / "hookward.toml"), "--url", url])

        assert sent("github", "push", "--tamper", "body") == 1
        assert sent("github", "push", "--form", "--tamper", "secret") == 1
        assert sent("github", "ping") == 0, "it is taken, and starts nothing"
        assert {words: sent(*words) for words in PUSHES} == dict.fromkeys(PUSHES, 0)
        found = [(one["branch"], one["project"], sorted(one["files"])) for one in buildbot.changes()]
        assert found == list(PUSHES.values())
        assert {one["revision"] for one in buildbot.changes()} == {HEAD}
        # Two that wait for the same builder may be built as one.
        builds = buildbot.finished_builds(2)
        assert len(builds) >= 2
        assert {build["results"] for build in builds} == {0}
