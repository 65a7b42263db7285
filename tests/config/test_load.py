from __future__ import annotations

import pytest

from proxy.config.load import load, load_namespace, parse_flags
from proxy.core.policy import Exposure
from proxy.errors import ConfigError, FlagError
from tests.config.loading import ENDS, FLAG_ENDS, SECRET, Workplace

SAMPLE = """
listen   = ["0.0.0.0:443"]
upstream = "http://127.0.0.1:8000"
workers  = 1
trusted_proxies = ["10.0.0.0/8"]
proxy_protocol  = "off"
admin    = "127.0.0.1:4040"

[tls]
cert = "fullchain.pem"
key  = "key.pem"

[limits]
max_body = "25MiB"
max_target = "8KiB"
max_head = "16KiB"
max_fields = 100
max_connections = 10000
max_connections_per_address = 256
buffer_budget = "256MiB"
hold_window = "256KiB"
tls_timeout = "10s"
head_timeout = "10s"
body_min_rate = "512B"
body_timeout = "60s"
request_timeout = "90s"
keepalive_timeout = "15s"
connect_timeout = "5s"
upstream_timeout = "60s"
write_timeout = "30s"

[route.github]
path     = "/flexdeploy/webhooks/v2/git"
methods  = ["POST"]
allow    = ["set:github", "192.0.2.0/24", "file:office.txt"]
provider = "github"
secrets  = [ { name = "2026-q4", from = "file:github.secret" },
             { name = "2026-q3", from = "env:OLD_GITHUB_SECRET", not_after = 2026-12-15 } ]
events   = ["push", "ping"]
body     = "tail"
mode     = "enforce"
upstream = "http://127.0.0.1:9000"
hold     = "0s"
public_url = "https://hooks.example.com"
handshake = "forward"
verify_token = "file:token"

[route.legacy]
path  = "/hooks/legacy"
token = { query = "token", secrets = ["file:token"] }

[scheme.acme]
header    = "X-Acme-Signature"
algorithm = "sha256"
encoding  = "hex"
prefix    = "sha256="
signed    = "{timestamp}.{body}"
timestamp = { header = "X-Acme-Timestamp", tolerance = "300s" }

[ip_set.office]
url  = "https://example.com/ranges.json"
json = "prefixes[].cidr"
refresh = "1h"

[tcp.ssh]
listen   = "0.0.0.0:2222"
upstream = "127.0.0.1:22"
allow    = ["198.51.100.0/24"]
"""


def test_the_sample_of_the_contract_loads(place: Workplace) -> None:
    for name in ("fullchain.pem", "key.pem"):
        (place.folder / name).write_text("x")
    (place.folder / "office.txt").write_text("203.0.113.7\n")
    loaded = place.load(SAMPLE, environ={"OLD_GITHUB_SECRET": "old"})
    assert [route.name for route in loaded.policy.routes] == ["github", "legacy"]
    assert loaded.policy.limits == place.load(ENDS).policy.limits
    assert loaded.policy.server == place.load(ENDS).policy.server


def test_flags_make_one_route(place: Workplace) -> None:
    loaded = place.load(
        None,
        *FLAG_ENDS,
        "--path",
        "/hooks",
        "--method",
        "POST",
        "--method",
        "PUT",
        "--allow",
        "192.0.2.0/24",
        "--provider",
        "github",
        "--secret-file",
        str(place.folder / "github.secret"),
        "--secret-env",
        "OLD",
        "--token-query",
        "t",
        "--token-file",
        str(place.folder / "token"),
        "--body",
        "hold",
        "--mode",
        "observe",
        "--hold",
        "5s",
        "--max-body",
        "1MiB",
        environ={"OLD": "old"},
    )
    [route] = loaded.policy.routes
    assert (route.name, route.path, route.methods) == ("default", b"/hooks", frozenset({b"POST", b"PUT"}))
    assert route.signature is not None
    assert [secret.value for secret in route.signature.secrets] == [SECRET, b"old"]
    assert route.token is not None
    assert route.allow is not None
    assert (route.body.value, route.observe, route.hold_s, route.limits.max_body) == ("hold", True, 5.0, 1 << 20)


def test_flags_beat_environment_beats_file(place: Workplace) -> None:
    text = 'workers = 2\ndrain = "1s"\nlog_level = "debug"\n' + ENDS
    settings = place.load(text, "--workers", "4", environ={"HOOKWARD_WORKERS": "3", "HOOKWARD_DRAIN": "2s"}).settings
    assert (settings.workers, settings.drain_s, settings.log_level) == (4, 2.0, "debug")
    assert str(settings.sources[("workers",)]) == "--workers"
    assert str(settings.sources[("drain",)]) == "HOOKWARD_DRAIN"
    assert str(settings.sources[("log_level",)]).endswith("hookward.toml:3: log_level")


def test_the_environment_alone(place: Workplace) -> None:
    environ = {
        "HOOKWARD_LISTEN": "127.0.0.1:1",
        "HOOKWARD_UPSTREAM": "127.0.0.1:2",
        "HOOKWARD_PROVIDER": "github",
        "HOOKWARD_SECRET_ENV": "HOOKWARD_SECRET",
        "HOOKWARD_SECRET": "s",
    }
    [route] = place.load(None, environ=environ).policy.routes
    assert route.provider == "github"


def test_the_file_may_be_named_by_the_environment(place: Workplace) -> None:
    place.config.write_text(ENDS)
    assert place.load(None, environ={"HOOKWARD_CONFIG": str(place.config)}).policy.exposure is Exposure.LOCAL


FILE = ENDS + '[route.github]\npath = "/github"\nprovider = "github"\nsecrets = "file:github.secret"\n'


def test_flags_beside_the_routes_of_a_file_make_one_more(place: Workplace) -> None:
    routes = place.routes(FILE, "--path", "/more", "--token-query", "t", "--token-file", str(place.folder / "token"))
    assert list(routes) == ["github", "default"]
    assert routes["default"].path == b"/more"


def test_flags_beside_the_routes_of_a_file_need_a_path(place: Workplace) -> None:
    [problem] = [p for p in place.problems(FILE, "--mode", "observe") if "speaks of" in p.what]
    assert problem.where == "--mode"
    assert "hookward.toml does not have" in problem.what
    assert "--path" in problem.mend


def test_flags_change_the_route_called_default(place: Workplace) -> None:
    text = FILE.replace("route.github", "route.default")
    [route] = place.load(text, "--mode", "observe").policy.routes
    assert (route.name, route.observe, route.path) == ("default", True, b"/github")


def test_allow_of_a_flag_is_the_top_levels(place: Workplace) -> None:
    [route] = place.load(FILE, "--allow", "192.0.2.0/24").policy.routes
    assert route.allow is not None
    assert route.signature is not None


def test_generation_and_namespace(place: Workplace) -> None:
    namespace = parse_flags([*FLAG_ENDS, "--open"])
    assert load_namespace(namespace, {}, generation=7).policy.generation == 7
    assert load([*FLAG_ENDS, "--open"], {}).policy.generation == 1


@pytest.mark.parametrize("argv", [["--bogus"], ["--max-body", "25m"], ["--secret", "x"], ["--listen"], ["word"]])
def test_bad_flags_are_flag_errors(argv: list[str]) -> None:
    with pytest.raises(FlagError):
        load(argv, {})


@pytest.mark.parametrize("argv", [[], ["--provider", "nope"], [*FLAG_ENDS, "--path", "/x"], ["-c", "/nowhere.toml"]])
def test_all_else_is_a_config_error(argv: list[str]) -> None:
    with pytest.raises(ConfigError):
        load(argv, {})


def test_everything_is_told_at_once_and_in_order(place: Workplace) -> None:
    text = """upstrem = "http://127.0.0.1:1"
allow = ["10.0.0.1/8"]
[limits]
max_body = "25m"
[route.a]
path = "a"
provider = "githob"
secrets = ["hunter2hunter2", "file:/nowhere"]
[route.b]
path = "/b"
max_fields = 5
provider = "github"
"""
    problems = place.problems(text, environ={"HOOKWARD_LISTN": ":1", "HOOKWARD_DRAIN": "soon"})
    assert [problem.where for problem in problems] == [
        "HOOKWARD_DRAIN",
        "HOOKWARD_LISTN",
        "hookward.toml: listen",
        "hookward.toml:1: upstrem",
        "hookward.toml:2: allow",
        "hookward.toml:4: limits.max_body",
        "hookward.toml:6: route.a.path",
        "hookward.toml:7: route.a.provider",
        "hookward.toml:8: route.a.secrets[0]",
        "hookward.toml:8: route.a.secrets[1]",
        "hookward.toml:11: route.b.max_fields",
        "hookward.toml:12: route.b.provider",
    ]
    assert "hunter2" not in "".join(map(str, problems))


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b"listen = \n", "hookward.toml:1", "not TOML"),
        (b"a = 1\nb = '\xff'\n", "hookward.toml:2", "not UTF-8"),
        (b"#" * (4 * 1024 * 1024 + 1), "hookward.toml", "larger than 4MiB"),
    ],
)
def test_files_that_cannot_be_used(place: Workplace, content: bytes, where: str, what: str) -> None:
    place.config.write_bytes(content)
    [problem] = place.problems(None, "--config", str(place.config))
    assert problem.where == where
    assert what in problem.what


def test_a_file_that_is_not_there(place: Workplace) -> None:
    [problem] = place.problems(None, "--config", str(place.folder / "none.toml"))
    assert (problem.where, problem.what) == ("none.toml", "cannot be read: No such file or directory")


def test_marks_and_line_ends_of_other_systems(place: Workplace) -> None:
    place.config.write_bytes(b"\xef\xbb\xbf" + ENDS.replace("\n", "\r\n").encode())
    assert place.load(None, "-c", str(place.config)).policy.exposure is Exposure.LOCAL


def test_no_secret_in_what_was_loaded(place: Workplace) -> None:
    loaded = place.load(FILE, "--token-query", "t", "--path", "/t", "--token-file", str(place.folder / "token"))
    assert SECRET.decode() not in repr(loaded)
    assert "t0ken-4711" not in repr(loaded)
