"""Which loop serves."""

from __future__ import annotations

import asyncio

import pytest

from proxy.ops import loops


def test_the_loop_can_be_chosen():
    assert loops.loop_factory("asyncio") is None
    factory = loops.loop_factory("")
    if factory is not None:
        loop = factory()
        assert not isinstance(loop, asyncio.SelectorEventLoop)
        loop.close()


def test_without_uvloop_asyncio_serves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loops, "uvloop", None)
    assert loops.loop_factory("uvloop") is None
