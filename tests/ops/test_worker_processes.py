"""Worker processes, forked by a process of their own: a test runner has threads, and must not fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BEGIN = """
import os, signal, sys, time
from proxy.errors import ConfigError, Problem
from proxy.ops.worker_processes import encode
from proxy.ops.process import SelectorLoop
from proxy.ops.worker_processes import WorkerPlan, WorkerProcesses
heard, ended, forgotten = [], [], []
loop = SelectorLoop()
processes = WorkerProcesses(loop, lambda process, message: heard.append((process.number, message)))

def forget():
    loop.close()
    processes.forget()

def turn(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, (heard, ended)
        loop.turn(0.05)
        ended.extend((process.number, code) for process, code in processes.reap())
"""

SCENES = {
    "it says what it has to say until its end": """
def serve(channel):
    print("printed once")
    channel.sendall(encode("serves"))
    line = channel.makefile().readline()
    channel.sendall(encode("got", line=line))
    return 7
sys.stdout.write("not flushed yet\\n")
process = processes.add(3, WorkerPlan(None, []), forget, serve)
assert str(process) == f"worker 4 (pid {process.pid})"
turn(lambda: heard)
processes.tell_all("hello", big="x" * 1_000_000)
turn(lambda: ended)
assert ended == [(3, 7)] and not processes
assert heard[0] == (3, {"kind": "serves"}) and len(heard[1][1]["line"]) > 1_000_000
processes.tell(process, "too late")
""",
    "a failure has its exit code and its message": """
def serve(channel):
    raise ConfigError([Problem("access_log", "cannot be opened", "mend it")])
processes.add(0, WorkerPlan(None, []), forget, serve)
turn(lambda: ended)
assert ended == [(0, 78)]
""",
    "one that talks nonsense is ended": """
def serve(channel):
    channel.sendall(b"nonsense\\n")
    signal.pause()
processes.add(0, WorkerPlan(None, []), forget, serve)
turn(lambda: ended)
assert ended == [(0, -signal.SIGKILL)]
""",
    "one that never stops talking holds nobody up": """
def serve(channel):
    while True:
        channel.sendall(encode("again") * 1000)
def other(channel):
    channel.sendall(encode("serves"))
    return 0
loud = processes.add(0, WorkerPlan(None, []), forget, serve)
turn(lambda: heard)
processes.add(1, WorkerPlan(None, []), forget, other)
turn(lambda: (1, 0) in ended)
assert (1, {"kind": "serves"}) in heard
loud.kill()
turn(lambda: len(ended) == 2)
""",
    "one that has left its channel to another is reaped all the same": """
def serve(channel):
    if os.fork() == 0:
        try:
            while True:
                channel.sendall(encode("again") * 1000)
        finally:
            os._exit(0)
    return 0
processes.add(0, WorkerPlan(None, []), forget, serve)
turn(lambda: ended)
assert ended == [(0, 0)]
""",
    "one that takes nothing is ended": """
def serve(channel):
    signal.pause()
process = processes.add(0, WorkerPlan(None, []), forget, serve, 100_000)
for _ in range(20):
    processes.tell(process, "much", payload="x" * 90_000)
turn(lambda: ended)
assert ended == [(0, -signal.SIGKILL)]
""",
    "what we cannot deal with ends its sender and not us": """
def serve(channel):
    channel.sendall(encode("odd"))
    signal.pause()
def hear(process, message):
    raise AttributeError("a bug of ours")
processes = WorkerProcesses(loop, hear)
processes.add(0, WorkerPlan(None, []), forget, serve)
turn(lambda: ended)
assert ended == [(0, -signal.SIGKILL)]
""",
    "one that does not do what it is told is ended": """
def serve(channel):
    signal.pause()
process = processes.add(0, WorkerPlan(None, []), forget, serve)
processes.expect(process, 3600.0, "is not asked for long")
processes.expect(process, 0.0, "does not do what it is told")
turn(lambda: ended)
assert ended == [(0, -signal.SIGKILL)]
process = processes.add(1, WorkerPlan(None, []), forget, serve)
processes.expect(process, 0.0, "never said")
process.has_done_it()
loop.turn(0.0)
assert process.reap() is None
process.kill()
turn(lambda: len(ended) == 2)
""",
    "one that closes its channel is still reaped": """
def serve(channel):
    channel.close()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
    signal.pause()
process = processes.add(0, WorkerPlan(None, []), forget, serve)
turn(lambda: process.wire.ended)
assert process.deadline.at < time.monotonic() + 16, "it can be told nothing, and is ended soon"
os.kill(process.pid, signal.SIGTERM)
turn(lambda: ended)
assert ended == [(0, 5)] or ended == [(0, -15)]
process.kill()
""",
    "its channel ends with us, whoever else was forked since": """
def serve(channel):
    channel.sendall(encode("serves"))
    assert channel.recv(1) == b""
    return 0
first = processes.add(0, WorkerPlan(None, []), forget, serve)
second = processes.add(1, WorkerPlan(None, []), forget, serve)
turn(lambda: len(heard) == 2)
loop.remove_reader(first.wire.fileno())
first.wire.close()
turn(lambda: ended)
assert ended == [(0, 0)]
second.kill()
turn(lambda: len(ended) == 2)
""",
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_workers(scene: str):
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + scene], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("Traceback" in done.stderr) == ("a bug of ours" in scene)
    if "printed once" in scene:
        assert done.stdout == "not flushed yet\nprinted once\n"
    if "ConfigError" in scene:
        assert "access_log: cannot be opened\n    mend it" in done.stderr
