"""Servers that are not ours, started for a test and stopped with it; a test whose program is missing is skipped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from bench.load.process import free_port
from tests.whole.wire import PATIENCE_S


@contextmanager
def served(command: list[str], port: int, folder: Path, **env: str) -> Iterator[int]:
    """Run a server until the block ends; the block begins when its port answers."""
    log = folder / f"{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, stdout=out, stderr=out)
    try:
        deadline = monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None, log.read_text()
            assert monotonic() < deadline, log.read_text()
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield port
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


NGINX = """
daemon off; master_process off; worker_processes 1; error_log stderr; pid {folder}/{port}.pid;
events {{ worker_connections 128; }}
http {{
    access_log off; client_max_body_size 30m;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    {http}
    server {{
        listen 127.0.0.1:{port};
        keepalive_timeout 15s;
        {server}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, server: str, http: str = "") -> Iterator[int]:
    """Run nginx with these directives in its server, and these before it."""
    binary = program("nginx")
    port = free_port()
    config = folder / f"{port}.conf"
    config.write_text(NGINX.format(folder=folder, port=port, server=server, http=http))
    with served([binary, "-p", str(folder), "-c", str(config)], port, folder):
        yield port
