"""A program that uses the console: over TCP or a unix socket, with a cookie, a token or nothing."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from proxy.net.private import find
from tests.whole.process import Hookward


class Reply:
    """One answer of the console."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.content = answer.read()

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Visitor:
    """Asks one console. ``fields`` go with each request."""

    def __init__(self, place: tuple[str, int] | str, **fields: str) -> None:
        self.place = place
        self.fields = fields

    def connect(self) -> http.client.HTTPConnection:
        if isinstance(self.place, str):
            connection = http.client.HTTPConnection("localhost", timeout=20)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(self.place)
            return connection
        return http.client.HTTPConnection(*self.place, timeout=20)

    def ask(self, method: str, target: str, content: object = None, **fields: str) -> Reply:
        connection = self.connect()
        try:
            body = None if content is None else json.dumps(content)
            given = {"Content-Type": "application/json"} if content is not None else {}
            named = {name.replace("_", "-"): value for name, value in {**self.fields, **fields}.items()}
            connection.request(method, target, body, {**given, **named})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, target: str) -> Any:
        reply = self.ask("GET", f"/api/v1/{target}")
        assert reply.status == 200, (reply.status, reply.content)
        return reply.json

    def post(self, target: str, content: object = None) -> Reply:
        return self.ask("POST", f"/api/v1/{target}", {} if content is None else content)


def private_socket(folder: Path, pid: int) -> str:
    return find([str(folder)], pid)[0].path


def link(folder: Path, hookward: Hookward, scope: str = "act") -> str:
    """A one-time link's path, as ``hookward console`` asks for it."""
    reply = Visitor(private_socket(folder, hookward.pid)).ask("POST", "/console/link", {"scope": scope})
    return f"/enter?link={reply.json['token']}"


def entered(folder: Path, hookward: Hookward, place: tuple[str, int], scope: str = "act") -> Visitor:
    """One that has come in by a link."""
    reply = Visitor(place).ask("GET", link(folder, hookward, scope))
    assert reply.status == 303
    cookie = str(reply.headers["Set-Cookie"])
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    return Visitor(place, Cookie=cookie.partition(";")[0])
