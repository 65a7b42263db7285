"""The listeners of a worker that are for the operator: admin and the console. Deliveries have ``ops.listeners``."""

from __future__ import annotations

from proxy.net.http_server import HttpServer
from proxy.ops.certificates import Certificates
from proxy.ops.places import Held, ListenPlace, SocketStore


class OwnListeners:
    """Taken from ``store`` at the start, and served when what answers there is ready; all of them until the end."""

    def __init__(self, store: SocketStore, certificates: Certificates) -> None:
        self._store = store
        self._certificates = certificates
        self._servers: list[HttpServer] = []
        self.held: list[Held] = []

    def take(self, place: ListenPlace) -> None:
        """Have the sockets of one place. Raises ListenError."""
        self.held += self._store.take([place])

    @property
    def names(self) -> set[str]:
        """The names in our certificates, in lower case."""
        return {name for one in self._certificates.served for name in one.names}

    async def serve(self, use: str, server: HttpServer, *, secure: bool = False) -> None:
        """Have ``server`` answer at what was taken for ``use``; ``secure``: over TLS."""
        self._servers.append(server)
        tls = self._certificates.lasting_context() if secure else None
        for place, bound in self.held:
            if place.use == use:
                await server.listen(bound.sock, tls)

    def leave(self) -> None:
        """Take no new connections: another process serves the same sockets."""
        for server in self._servers:
            server.leave()

    def close(self, *, unlink: bool) -> None:
        """Drop what is open, and give the sockets back; ``unlink``: their files are ours to remove."""
        for server in self._servers:
            server.close()
        for _, bound in self.held:
            bound.close(unlink=unlink)
