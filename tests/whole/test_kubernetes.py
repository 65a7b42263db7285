"""Two pods of packaging/kubernetes, as far as they are hookward and Redis: with the configurations of the manifests,
behind a load balancer's PROXY headers and TLS, asked by the probes of the manifests.

Places in the cluster are replaced by some of this machine, names by addresses, well-known ports by free ones.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.load.process import free_port
from proxy.core.addresses import Peer
from proxy.core.proxy_protocol import LOCAL, write_v2
from proxy.ops.cli import main
from tests.kustomized import of_kind, rendered
from tests.redis_server import needs_redis
from tests.whole.conftest import Certificates
from tests.whole.process import Hookward
from tests.whole.recorder import RecordingUpstream
from tests.whole.servers import program, served
from tests.whole.wire import Answer, Client, Reader, github, once, request

SECRET = b"0b6f2c1d9a3e4857b1c26d7f80945ae3"
PASSWORD = "c43a9d5e7f1b28604d92"
#: One of GitHub's, where it sends from.
GITHUB = Peer.of("140.82.112.7", 40000)


class Cluster:
    """What is mounted into the pods, in a folder of this machine."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.folder = folder
        self._cert, self._key = certificates.cert, certificates.key

    def config(self, name: str, redis_port: int, upstream: str) -> Path:
        """The file of the pods, with everything that it names."""
        text = of_kind(rendered(name), "ConfigMap")["data"]["hookward.toml"]
        mounted = {
            "github.secret": SECRET,
            "slack.secret": SECRET[::-1],
            "redis.url": f"redis://:{PASSWORD}@127.0.0.1:{redis_port}/0".encode(),
            "tls.crt": self._cert.read_bytes(),
            "tls.key": self._key.read_bytes(),
        }
        for file, content in mounted.items():
            path = self.folder / file
            path.write_bytes(content)
            path.chmod(0o440 if os.getuid() == 0 else 0o400)  # of root, as the kubelet writes them
        for there, here in (
            ("/run/secrets/hookward", str(self.folder)),
            ("/run/secrets/tls", str(self.folder)),
            ('"0.0.0.0:8443"', '"127.0.0.1:0"'),
            ('"0.0.0.0:4040"', '"127.0.0.1:0"'),
            ("http://app.default.svc:8000", upstream),
        ):
            text = text.replace(there, here)
        text = re.sub(r"(trusted_proxies +=) \[.*\]", r'\1 ["127.0.0.0/8"]', text)
        assert "/run/" not in text
        path = self.folder / "hookward.toml"
        path.write_text(text)
        return path

    def redis_command(self, port: int) -> list[str]:
        [container] = of_kind(rendered("base"), "Deployment", "hookward-redis")["spec"]["template"]["spec"][
            "containers"
        ]
        binary, conf = container["command"]
        text = of_kind(rendered("base"), "ConfigMap", "hookward-redis")["data"][Path(conf).name]
        password = self.folder / "password.conf"
        password.write_text(f"requirepass {PASSWORD}\n")
        path = self.folder / "redis.conf"
        path.write_text(text.replace("/run/secrets/redis/password.conf", str(password)).replace("6379", str(port)))
        return [program(binary), str(path), "--bind", "127.0.0.1"]


@pytest.fixture
def cluster(tmp_path: Path, certificates: Certificates) -> Cluster:
    return Cluster(tmp_path, certificates)


@pytest.fixture
def redis_port(cluster: Cluster) -> Iterator[int]:
    port = free_port()
    with served(cluster.redis_command(port), port, cluster.folder):
        yield port


@pytest.mark.parametrize(("name", "strict"), [("base", ["--strict"]), ("overlays/aws-nlb", [])])
def test_the_configuration_passes_check(
    cluster: Cluster, name: str, strict: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the overlay not strictly: the packaged copy of an address list grows old, and `check` says so then."""
    path = cluster.config(name, 6379, "http://127.0.0.1:8000")
    assert main(["check", *strict, "--config", str(path)]) == 0, capsys.readouterr().err


def deliver(hookward: Hookward, certificates: Certificates, data: bytes, header: bytes) -> Answer:
    """As the load balancer hands a connection over: its header first, then the sender's TLS."""
    with Client(hookward.address) as client:
        client.send(header)
        client.sock = certificates.client.wrap_socket(client.sock, server_hostname="hooks.example.com")
        client.reader = Reader(client.sock)
        return client.ask(data)


@needs_redis
def test_two_pods_before_a_load_balancer(
    start: Callable[..., Hookward],
    cluster: Cluster,
    redis_port: int,
    upstream: RecordingUpstream,
    certificates: Certificates,
) -> None:
    config = cluster.config("overlays/aws-nlb", redis_port, upstream.url)
    pods = [start("--config", config, secrets=[SECRET, PASSWORD.encode()], listeners=2) for _ in range(2)]
    [container] = of_kind(rendered("overlays/aws-nlb"), "Deployment")["spec"]["template"]["spec"]["containers"]
    for one in pods:
        host, port = one.addresses[1]
        for kind in ("startup", "liveness", "readiness"):
            path = container[f"{kind}Probe"]["httpGet"]["path"]
            assert once((host, port), request("GET", path, host=f"{host}:{port}")).status == 200
        with socket.create_connection(one.address) as health_check:
            health_check.sendall(LOCAL)

    def push(number: int) -> bytes:
        content = b'{"number": %d}' % number
        return request("POST", "/hooks/github", github(SECRET, content, delivery=f"d-{number}"), content)

    named = write_v2(GITHUB, None)
    assert deliver(pods[0], certificates, push(1), named).status == 200
    again = deliver(pods[1], certificates, push(1), named)
    assert (again.status, again.get(b"Webhook-Duplicate")) == (200, b"delivered")
    assert deliver(pods[1], certificates, push(2), named).status == 200
    assert [one.get(b"X-Forwarded-For") for one in upstream.complete] == [GITHUB.text.encode()] * 2
    stranger = write_v2(Peer.of("203.0.113.9", 40000), None)
    assert deliver(pods[0], certificates, push(3), stranger).word == "address_refused"
    assert len(upstream.complete) == 2
