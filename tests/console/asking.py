"""Deliveries for a hookward with a console, and programs that ask it with a token."""

from __future__ import annotations

from tests.whole.conftest import SECRET
from tests.whole.console import Visitor
from tests.whole.process import Hookward
from tests.whole.wire import github, request

READ, ACT = "r" * 20, "a" * 20
BODY = b'{"action":"opened","word":"needle"}'


def token(hookward: Hookward, value: str = ACT, at: int = 1) -> Visitor:
    return Visitor(hookward.addresses[at], Authorization=f"Bearer {value}")


def delivery(content: bytes = BODY, path: str = "/hooks", name: str = "d-1", key: bytes = SECRET) -> bytes:
    return request("POST", path, github(key, content, delivery=name), content)
