"""What a configuration asks of its host, read without its secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import Outline, load_outline, parse_flags
from proxy.config.notation import ListenAddress
from proxy.errors import ConfigError, FlagError

TOML = """
listen = ["0.0.0.0:443", "unix:/run/hookward/in.sock"]
upstream = "127.0.0.1:8000"
admin = "127.0.0.1:4040"
workers = "auto"
drain = "5s"
state_dir = "state"
user = "hookward"
[tls]
cert = "/etc/tls/chain.pem"
key = "key.pem"
[route.a]
path = "/a"
provider = "github"
secrets = ["file:a.secret", "env:OLD", { name = "x", from = "cred:new" }]
[route.b]
path = "/b"
token = { header = "X-Token", secrets = ["file:/etc/b.token", "file:a.secret"] }
[tcp.ssh]
listen = "0.0.0.0:22"
upstream = "127.0.0.1:2222"
"""


def outline(*argv: str) -> Outline:
    return load_outline(parse_flags(argv), {})


def test_all_of_it_from_a_file(tmp_path: Path):
    path = tmp_path / "hookward.toml"
    path.write_text(TOML)
    assert outline("--config", str(path)) == Outline(
        config=str(path),
        listen=(ListenAddress("0.0.0.0", 443), ListenAddress(path="/run/hookward/in.sock")),
        others=(ListenAddress("0.0.0.0", 22), ListenAddress("127.0.0.1", 4040)),
        workers="auto",
        user="hookward",
        group=None,
        drain_s=5.0,
        access_log="-",
        state_dir=f"{tmp_path}/state",
        secret_files=(f"{tmp_path}/a.secret", "/etc/b.token"),
        key_files=("/etc/tls/chain.pem", f"{tmp_path}/key.pem"),
        variables=("OLD",),
    )


def test_every_secret_that_is_referred_to_is_in_it(tmp_path: Path):
    path = tmp_path / "hookward.toml"
    path.write_text(f"""{TOML}
[console]
listen = "127.0.0.1:80"
read_token = "env:READ"
act_token = "file:act.token"
[queue]
store = "redis"
url = "file:redis.url"
[duplicates]
store = "redis"
url = "env:REDIS"
""")
    found = outline("--config", str(path))
    assert {"OLD", "READ", "REDIS"} == set(found.variables)
    assert {f"{tmp_path}/act.token", f"{tmp_path}/redis.url"} < set(found.secret_files)
    assert ListenAddress("127.0.0.1", 80) in found.others


def test_what_flags_name_is_theirs():
    found = outline("--listen", ":443", "--secret-file", "/no/such.secret", "--tls-cert", "/no/such.pem")
    assert (found.secret_files, found.key_files) == ((), ())
    assert (found.workers, found.drain_s, found.state_dir) == (1, 30.0, None)


def test_mistakes_are_told(tmp_path: Path):
    with pytest.raises(FlagError):
        outline("--lisen", ":443")
    with pytest.raises(FlagError):
        outline("--listen", "nowhere")
    (tmp_path / "a.toml").write_text("lisen = 1\n")
    with pytest.raises(ConfigError, match="lisen"):
        outline("--config", str(tmp_path / "a.toml"))
