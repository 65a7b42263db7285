"""The short form of ``make restart``: an upstream that is away for a while loses no delivery and gets none twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from bench.load.process import free_port
from bench.load.restart import configuration, is_perfect, restarted
from tests.whole.process import Hookward


def test_no_delivery_fails_while_the_upstream_restarts(start: Callable[..., Hookward], tmp_path: Path) -> None:
    app_port = free_port()
    hookward = start("--config", configuration(tmp_path, free_port(), app_port))
    figures = asyncio.run(restarted(hookward.port, app_port, down_s=1.5, rate=60, around_s=0.5))
    assert is_perfect(figures), figures
    assert figures["slowest_s"] < 6
