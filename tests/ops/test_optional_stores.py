"""The stores of a worker: opened where they are configured, and closed in their order."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.core.metrics import Metrics
from proxy.errors import ConfigError
from proxy.net.http_server import Paths
from proxy.net.site import Site
from proxy.ops.optional import Stores

PLAIN = (
    'listen = "127.0.0.1:0"\nupstream = "http://127.0.0.1:9"\nstate_dir = "state"\n[route.hook]\nallow = "127.0.0.1"\n'
)
KEEPS = PLAIN + 'deliver = "queue"\n'


class _Nothing:
    def write(self, record: object) -> None:
        del record


async def _open(folder: Path, *texts: str) -> bool:
    """Open the stores for the first text and change to the others; whether there is a queue then."""
    loads = []
    for text in texts:
        (folder / "hookward.toml").write_text(text)
        loads.append(load(["--config", str(folder / "hookward.toml")], {}))
    loop = asyncio.get_running_loop()
    site = Site(loop=loop, policy=loads[0].policy, log=_Nothing(), metrics=Metrics(), instance="test")
    stores = Stores(site, Paths({}))
    stores.change(loads[-1])
    assert site.queue is None, "not before we are the user to be"
    try:
        stores.open(loads[0])
        for loaded in loads[1:]:
            stores.change(loaded)
        return site.queue is not None
    finally:
        await stores.close()
        await site.pool.close()
        site.clock.close()


@pytest.mark.parametrize(("texts", "found"), [([PLAIN], False), ([KEEPS], True), ([PLAIN, KEEPS, KEEPS], True)])
def test_a_queue_is_opened_where_a_route_asks_for_it(tmp_path: Path, texts: list[str], found: bool) -> None:
    assert asyncio.run(_open(tmp_path, *texts)) == found
    assert (tmp_path / "state" / "queue").exists() == found


def test_a_folder_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "queue").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="link") as caught:
        asyncio.run(_open(tmp_path, KEEPS))
    assert "queue" in str(caught.value)


def test_the_wing_is_not_imported_without_need() -> None:
    code = "import sys, proxy.ops.worker; print([name for name in sys.modules if name.startswith('proxy.queue')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
