"""A worker process under a supervisor: it serves with the sockets that it was given, and does what it is told.

It begins as a fork of the supervisor, without any loop, and never returns there. Signals are the supervisor's: only
SIGTERM is heard, which an operator may send to one worker, or systemd to all. Where the supervisor is gone, it drains.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import cast

from proxy.config.host import ExitCode
from proxy.config.set_shelf import SetShelf
from proxy.core.metrics import Snapshot, plain_snapshot
from proxy.ops.journal import log, open_journal
from proxy.ops.places import SocketStore
from proxy.ops.process import LoopFactory, settle
from proxy.ops.worker import Leave, Worker
from proxy.ops.worker_processes import ChannelError, Lines, Message, WorkerPlan, encode, metrics_of

#: How often the supervisor is told that we live, and what we have counted.
BEAT_S = 1.0
#: The supervisor itself waits a second for others.
GATHER_S = 3.0


def main(number: int, plan: WorkerPlan, shelf: SetShelf, channel: socket.socket, loop_factory: LoopFactory) -> int:
    """Serve by ``plan`` as the worker ``number`` (from 0) until told to leave. Raises ListenError, ConfigError."""
    open_journal(plan.loaded.settings.log_level, name=f"worker {number + 1}: ")
    settle()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(SupervisedWorker(plan, shelf, number).run(channel))
    return ExitCode.OK


class SupervisedWorker(asyncio.Protocol):
    """The worker, and its end of the channel."""

    def __init__(self, plan: WorkerPlan, shelf: SetShelf, number: int = 0) -> None:
        self._number = number
        self._plan = plan
        self._shelf = shelf
        self._lines = Lines()
        self._transport: asyncio.WriteTransport | None = None
        self._questions: dict[int, asyncio.Future[Snapshot]] = {}
        self._asked = 0
        self._beat: asyncio.TimerHandle | None = None

    async def run(self, channel: socket.socket) -> None:
        """Serve until told to leave."""
        loop = asyncio.get_running_loop()
        store = SocketStore({}, self._plan.held)
        plan, number = self._plan, self._number
        self._worker = Worker(plan.loaded, store, self._shelf, gather=self.gather, siblings=True, number=number)
        loop.add_signal_handler(signal.SIGTERM, self._worker.leave, Leave.RETIRE)
        await loop.create_unix_connection(lambda: self, sock=channel)
        try:
            await self._worker.open()
            self._say("serves")
            self._live(loop)
            await self._worker.serve(lambda: self._say("left"))
        finally:
            await self._worker.close()
            if self._beat is not None:
                self._beat.cancel()
            self._say("metrics", metrics=plain_snapshot(self._worker.snapshot()))
            if self._transport is not None:
                self._transport.close()
            loop.remove_signal_handler(signal.SIGTERM)

    async def gather(self) -> Snapshot:
        """The metrics of all workers. Raises TimeoutError where the supervisor does not answer."""
        self._asked += 1
        number = self._asked
        question: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._questions[number] = question
        self._say("ask", number=number)
        try:
            async with asyncio.timeout(GATHER_S):
                return await question
        finally:
            del self._questions[number]

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The channel is open."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """The supervisor speaks."""
        try:
            for message in self._lines.feed(data):
                self._do(message)
        except ChannelError:
            log.exception("the supervisor is not understood")
            self._worker.leave(Leave.STOP)

    def connection_lost(self, exc: Exception | None) -> None:
        """The supervisor is gone; or we are, in a moment."""
        del exc
        self._transport = None
        if not self._worker.is_leaving:
            log.error("the supervisor is gone: draining")
            self._worker.leave(Leave.STOP)

    # -- the channel

    def _do(self, message: Message) -> None:
        worker = self._worker
        match message["kind"]:
            case "leave":
                worker.leave(Leave(message["how"]), outdated=message.get("outdated", False))
            case "reopen":
                worker.reopen()
            case "count":
                self._say("counted", number=message["number"], metrics=plain_snapshot(worker.snapshot()))
            case "total":
                question = self._questions.get(message["number"])
                if question is not None and not question.done():
                    question.set_result(metrics_of(message))

    def _say(self, kind: str, **fields: object) -> None:
        if self._transport is not None:
            self._transport.write(encode(kind, **fields))

    def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        self._say("metrics", metrics=plain_snapshot(self._worker.snapshot()))
        self._beat = loop.call_later(BEAT_S, self._live, loop)
