"""The open loop goes on where a connection has served as many requests as it may."""

from __future__ import annotations

import socketserver
import threading

from bench.load.open_loop import CONNECTIONS, open_loop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\n{}"


class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 2 * CONNECTIONS


def test_a_connection_that_ends_is_followed_by_another() -> None:
    served: list[bytes] = []

    class TwiceEach(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            for closing in (b"", b"Connection: close\r\n"):
                asked = self.request.recv(4096)
                if not asked:
                    return
                served.append(asked)
                self.request.sendall(ANSWER % closing)

    with Server(("127.0.0.1", 0), TwiceEach) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            open_loop(server.server_address[1], b"GET / HTTP/1.1\r\n\r\n", 10 * CONNECTIONS, 0.5)  # five on each
        finally:
            server.shutdown()
    assert len(served) == 5 * CONNECTIONS
