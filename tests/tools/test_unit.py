"""From the flags of ``run`` to units that systemd itself finds right and tight."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config.load import credential_name
from proxy.errors import ConfigError, FlagError
from proxy.tools import unit
from proxy.tools.unit import main

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
MOST_EXPOSED = 2.0
BASE = ["--upstream", "127.0.0.1:8000"]

TOML = """
listen = ["0.0.0.0:443", "[::]:443", "unix:/run/hookward/in.sock"]
upstream = "127.0.0.1:8000"
access_log = "/var/log/hookward/access.log"
state_dir = "/srv/hookward"
workers = 2
[tls]
cert = "/etc/tls/chain.pem"
key = "/etc/tls/key.pem"
[route.a]
path = "/a"
provider = "github"
secrets = ["file:/etc/hookward/a.secret", "env:OLD_SECRET"]
"""


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were ``hookward unit …``, installed where systemd finds it."""
    monkeypatch.setattr(unit, "command_line", lambda: ["/bin/sh", "/usr/bin/hookward", *sys.argv[1:]])
    monkeypatch.setattr(sys, "base_prefix", "/usr")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hookward.toml"
    path.write_text(TOML)
    return path


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, str]:
    assert main(argv) == 0
    parts = re.split(r"^# /etc/systemd/system/(\S+)\n", capsys.readouterr().out, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def setting(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def test_flags_become_those_of_the_service(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    [(name, text)] = printed(
        capsys,
        *("run", "--listen", ":443", *BASE, "--secret-file", f"{tmp_path}/gh.secret", "--open", "-t"),
        *("--token-file=/a/gh.secret", "--tls-cert", "/b/chain.pem", "--state-dir", "s%", "--log-level=debug"),
    ).items()
    assert name == "hookward.service"
    flags = (
        f"--listen :443 {' '.join(BASE)} --secret-file %d/gh.secret --open --token-file %d/gh.secret-2 "
        f"--tls-cert %d/chain.pem --state-dir {Path.cwd()}/s%% --log-level debug"
    )
    assert setting(text, "ExecStart") == [f"/bin/sh /usr/bin/hookward {flags}"]
    assert setting(text, "ExecReload") == ["/bin/sh /usr/bin/hookward reload $MAINPID"]
    assert setting(text, "LoadCredential") == [
        f"gh.secret:{tmp_path}/gh.secret",
        "gh.secret-2:/a/gh.secret",
        "chain.pem:/b/chain.pem",
    ]
    assert setting(text, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    assert setting(text, "DynamicUser") == ["yes"]


def test_a_file_has_its_own_needs(capsys: pytest.CaptureFixture[str], config: Path):
    [text] = printed(capsys, "--config", str(config), "--name", "hooks").values()
    assert setting(text, "LoadCredential") == [
        f"{credential_name(path)}:{path}"
        for path in ("/etc/hookward/a.secret", "/etc/tls/chain.pem", "/etc/tls/key.pem")
    ]
    assert f"# For others make this unit anew: hookward unit --name hooks --config {config}\n" in text
    assert "Put OLD_SECRET into /etc/hooks/environment" in text
    assert setting(text, "EnvironmentFile") == ["/etc/hooks/environment"]
    assert setting(text, "LogsDirectory") == ["hookward"]
    assert setting(text, "RuntimeDirectory") == ["hooks-reload", "hookward"]
    assert setting(text, "ReadWritePaths") == ["/srv/hookward"]
    assert setting(text, "OOMPolicy") == ["continue"]
    assert str(config) in setting(text, "ExecStart")[0]


def test_a_user_reads_the_files_itself(capsys: pytest.CaptureFixture[str], config: Path):
    [text] = printed(capsys, "--config", str(config), "--user", "hookward").values()
    assert setting(text, "LoadCredential") == []
    assert "# hookward must be able to read /etc/hookward/a.secret, " in text


def test_a_file_needs_no_flag(capsys: pytest.CaptureFixture[str], config: Path):
    [text] = printed(capsys, str(config), "--workers", "3").values()
    assert setting(text, "ExecStart")[0].endswith(f" --config {config} --workers 3")


def test_it_is_for_the_systemd_of_this_host(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    systemctl = tmp_path / "systemctl"
    monkeypatch.setenv("PATH", str(tmp_path))
    for said, kind in (("systemd 252 (252.30-1)", "notify"), ("systemd 257 (257.1)", "notify-reload"), ("", "notify")):
        systemctl.write_text(f"#!/bin/sh\necho '{said}'\n")
        systemctl.chmod(0o755)
        [text] = printed(capsys, "--listen", ":443", *BASE).values()
        assert setting(text, "Type") == [kind]
    systemctl.unlink()
    assert setting(printed(capsys, "--listen", ":443", *BASE)["hookward.service"], "Type") == ["notify"]
    assert setting(printed(capsys, "--systemd", "254", "--listen", ":443", *BASE)["hookward.service"], "Type") == [
        "notify-reload"
    ]


def test_a_file_may_stand_right_behind_its_flag(capsys: pytest.CaptureFixture[str], config: Path):
    [text] = printed(capsys, f"-c{config}", "--workers", "3").values()
    assert setting(text, "ExecStart")[0].endswith(f" -c {config} --workers 3")


def test_units_of_another_name_have_a_folder_of_their_own(capsys: pytest.CaptureFixture[str]):
    [text] = printed(capsys, "--listen", ":443", *BASE, "--name", "hooks").values()
    assert setting(text, "StateDirectory") == ["hooks"]
    assert "HOOKWARD_STATE_DIR=%S/hooks" in setting(text, "Environment")


def test_with_a_socket_the_service_binds_nothing(capsys: pytest.CaptureFixture[str], config: Path):
    units = printed(capsys, "--socket", "--config", str(config))
    assert list(units) == ["hookward.service", "hookward.socket"]
    service, socket = units.values()
    assert setting(socket, "ListenStream") == ["0.0.0.0:443", "[::]:443", "/run/hookward/in.sock"]
    assert setting(socket, "BindIPv6Only") == ["ipv6-only"]
    assert setting(service, "ExecStart")[0].endswith(f"--config {config} --listen fd:hookward")
    assert setting(service, "AmbientCapabilities") == [""]
    assert setting(service, "PrivateUsers") == ["yes"]
    [service, socket] = printed(capsys, "--socket", "--listen", ":443", *BASE).values()
    assert setting(socket, "ListenStream") == ["443"]
    assert "--listen :443" not in service


def test_a_folder_that_is_missing_is_made_and_a_file_in_its_place_told(tmp_path: Path):
    before = os.umask(0o022)
    try:
        assert main(["--listen", ":443", *BASE, "--write", str(tmp_path / "new" / "deep")]) == 0
    finally:
        os.umask(before)
    written = tmp_path / "new" / "deep" / "hookward.service"
    assert [one.stat().st_mode & 0o777 for one in (written, *written.parents[:2])] == [0o644, 0o755, 0o755]
    (tmp_path / "file").touch()
    with pytest.raises(FlagError, match="cannot be written: Not a directory"):
        main(["--listen", ":443", *BASE, "--write", str(tmp_path / "file")])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's link")
def test_another_users_link_leads_root_nowhere(tmp_path: Path):
    folder, victim = tmp_path / "open", tmp_path / "victim"
    folder.mkdir()
    folder.chmod(0o1777)
    victim.write_text("root's own")
    link = folder / "hookward.service"
    link.symlink_to(victim)
    os.chown(link, 65534, -1, follow_symlinks=False)
    with pytest.raises(FlagError, match="a symbolic link that another user made"):
        main(["--listen", ":443", *BASE, "--write", str(folder)])
    link.unlink()
    os.link(victim, link)
    with pytest.raises(FlagError, match="a file with several names"):
        main(["--listen", ":443", *BASE, "--write", str(folder)])
    assert victim.read_text() == "root's own"


def test_one_that_is_there_is_written_anew(tmp_path: Path):
    unit = tmp_path / "hookward.service"
    unit.write_text("#" * 100_000)
    assert main(["--listen", ":443", *BASE, "--write", str(tmp_path)]) == 0
    assert "#####" not in unit.read_text()
    assert "ExecStart" in unit.read_text()


def test_they_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--socket", "--listen", ":443", *BASE, "--write", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hookward.service", "hookward.socket"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--lisen", ":1"], "--lisen"),
        ([*BASE], "listen nowhere"),
        (["--socket", "--listen", "fd:x", *BASE], "needs addresses"),
        (["--name", "a/b", "--listen", ":1", *BASE], "no name for a unit"),
    ],
)
def test_mistakes(argv: list[str], said: str):
    with pytest.raises(FlagError, match=said):
        main(argv)


def test_a_file_that_is_wrong(tmp_path: Path):
    (tmp_path / "a.toml").write_text("lisen = 1\n")
    with pytest.raises(ConfigError, match="lisen"):
        main(["--config", str(tmp_path / "a.toml")])


def test_help(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    assert "--socket" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "argv", "words", "folder"),
    [
        (
            ["/v/bin/python", "/v/bin/hookward", "unit", "-x"],
            ["hookward", "unit", "-x"],
            ["/v/bin/python", "/v/bin/hookward"],
            False,
        ),
        (["/v/bin/python", "-m", "proxy", "unit"], ["proxy", "unit"], ["/v/bin/python", "-m", "proxy"], True),
    ],
)
def test_how_it_is_started(
    monkeypatch: pytest.MonkeyPatch, line: list[str], argv: list[str], words: list[str], folder: bool
):
    monkeypatch.setattr(unit, "command_line", lambda: line)
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "path", ["/here", "/elsewhere"])
    root = str(Path(unit.__file__).resolve().parents[2])
    assert unit._program() == (words, root if folder else None)
    monkeypatch.setattr(sys, "path", ["/here", root])
    assert unit._program() == (words, None)


def host_version() -> int:
    assert ANALYZE is not None
    said = subprocess.run([ANALYZE, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[1])


@needs_systemd
@pytest.mark.parametrize("kind", ["flags", "file", "socket"])
def test_systemd_finds_them_right_and_tight(tmp_path: Path, config: Path, kind: str):
    flags = {
        "flags": ["--listen", ":443", *BASE, "--secret-file", "/etc/hookward/100% of 'it'.secret", "--workers", "2"],
        "file": ["--config", str(config)],
        "socket": ["--socket", "--config", str(config)],
    }[kind]
    assert ANALYZE is not None
    for version in sorted({min(252, host_version()), host_version()}):
        assert main([*flags, "--systemd", str(version), "--write", str(tmp_path)]) == 0
        units = [str(path) for path in tmp_path.glob("hookward.s*")]
        done = subprocess.run(
            [ANALYZE, "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60
        )
        ours = [line for line in (done.stdout + done.stderr).splitlines() if "hookward." in line]
        assert (done.returncode, ours) == (0, [])
        done = subprocess.run(
            [ANALYZE, "security", "--offline=true", f"{tmp_path}/hookward.service"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        assert found, done.stdout + done.stderr
        assert float(found[1]) <= MOST_EXPOSED


def test_the_unit_of_an_agent(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    login = tmp_path / "login"
    words = ["--agent", "--upstream", "127.0.0.1:8000", "--relay", "a.test:443", "--relay", "b.test:443"]
    assert unit.main([*words, "--proxy", "proxy.test:3128", "--proxy-login", f"file:{login}"]) == 0
    text = capsys.readouterr().out
    [start] = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert " agent --relay a.test:443 --relay b.test:443 --proxy proxy.test:3128 --proxy-login file:%d/login" in start
    assert start.endswith("--upstream 127.0.0.1:8000")
    assert f"LoadCredential=login:{login}" in text
    assert "StateDirectory=hookward-agent" in text
    with pytest.raises(FlagError, match="an agent listens on nothing"):
        unit.main([*words, "--listen", "127.0.0.1:0"])
