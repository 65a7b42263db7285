"""The unit that starts a configuration: found by its command, read as systemd reads it, and judged by."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.tools import check, units
from proxy.tools.unit import main as print_unit

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    etc, lib = tmp_path / "etc", tmp_path / "lib"
    etc.mkdir()
    lib.mkdir()
    monkeypatch.setattr(units, "FOLDERS", (str(etc), str(lib)))
    return etc, lib


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for one in (tmp_path, *tmp_path.parents):
        one.chmod(one.stat().st_mode | 0o011)
    path = tmp_path / "hookward.toml"
    path.write_text(
        "listen = '127.0.0.1:0'\nupstream = 'http://127.0.0.1:1'\n"
        "[route.a]\npath = '/a'\nprovider = 'github'\nsecrets = ['file:github.secret']\n"
    )
    path.chmod(0o644)
    (tmp_path / "github.secret").write_text("0123456789abcdef")
    (tmp_path / "github.secret").chmod(0o600)
    return path


def service(config: Path, *lines: str) -> str:
    return "\n".join(
        ["[Unit]", "User=nobody", "[Service]", f"ExecStart=/usr/bin/hookward --config {config}", *lines, ""]
    )


def test_it_is_found_by_what_it_starts(folders: tuple[Path, Path], config: Path) -> None:
    etc, lib = folders
    assert units.installed_unit(str(config)) is None
    (lib / "hookward.service").write_text(service(config, "User=daemon"))
    (lib / "other.service").write_text("[Service]\nExecStart=/bin/true --config /etc/other.toml\n")
    found = units.installed_unit(str(config))
    assert found is not None
    assert found.path == f"{lib}/hookward.service"
    assert found.identity is not None
    assert found.identity.name == "daemon"
    # What the operator put there comes first, and drop-ins after it.
    (etc / "hookward.service").write_text(
        service(config, "User=nobody", "LoadCredential=a:/etc/a", "LoadCredential=\\\n")
    )
    (lib / "hookward.service.d").mkdir()
    (lib / "hookward.service.d" / "x.conf").write_text("[Service]\nDynamicUser=yes\n")
    found = units.installed_unit(str(config))
    assert found is not None
    assert found.path == f"{etc}/hookward.service"
    assert found.identity is None  # it is made when the service starts


def test_what_it_has(folders: tuple[Path, Path], config: Path, tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("# a comment\nSECRET='a b'\nOTHER=1\n\n")
    lines = [f"EnvironmentFile=-{tmp_path}/environment", 'Environment="A=1 2" B=3', "ProtectSystem=strict"]
    lines += ["LogsDirectory=hookward", "ReadWritePaths=-/srv/logs /data"]
    (folders[0] / "hookward.service").write_text(service(config, *lines))
    found = units.installed_unit(str(config))
    assert found is not None
    assert found.environment() == {"SECRET": "a b", "OTHER": "1", "A": "1 2", "B": "3"}
    assert found.writable("/var/log/hookward/access.log")
    assert found.writable("/srv/logs/deep/access.log")
    assert not found.writable("/var/log/access.log")
    assert found.makes("/var/log/hookward/")


@given(st.lists(st.text(max_size=40) | st.sampled_from(["[Service]", "ExecStart=/x '", "Environment='", "A=\\"])))
def test_any_text_is_a_unit_or_none(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.mktemp("units")
    text = "\n".join(["[Service]", "ExecStart=/usr/bin/hookward --config /etc/h.toml", *lines])
    (folder / "a.service").write_text(text, encoding="utf-8", errors="replace")
    before, units.FOLDERS = units.FOLDERS, (str(folder),)
    try:
        found = units.installed_unit("/etc/h.toml")
    finally:
        units.FOLDERS = before
    if found is not None:
        found.environment()
        found.writable("/var/log/x")
        with contextlib.suppress(ConfigError):
            assert found.identity is None or found.identity.uid


@as_root
def test_check_judges_as_its_user(
    folders: tuple[Path, Path], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main([str(config)]) == 0
    (folders[0] / "hookward.service").write_text(service(config, "User=daemon"))
    with pytest.raises(ConfigError, match="may not be read by the user daemon") as caught:
        check.main([str(config)])
    assert f"chown root:daemon {tmp_path}/github.secret && chmod 640 {tmp_path}/github.secret" in str(caught.value)
    assert os.geteuid() == 0
    os.chown(tmp_path / "github.secret", 0, pwd.getpwnam("daemon").pw_gid)
    (tmp_path / "github.secret").chmod(0o640)
    assert check.main([str(config)]) == 0
    assert "Judged as the user daemon" in capsys.readouterr().out


@as_root
def test_another_user_is_told_to_be_root(
    folders: tuple[Path, Path], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[0] / "hookward.service").write_text(service(config, "User=daemon"))
    nobody = pwd.getpwnam("nobody")
    (config.parent / "github.secret").chmod(0o644)
    os.seteuid(nobody.pw_uid)
    try:
        assert check.main([str(config)]) == 0
    finally:
        os.seteuid(0)
    assert "note: the service runs as daemon; as root, check judges as it does" in capsys.readouterr().err


@as_root
def test_the_log_must_be_in_the_sandbox(folders: tuple[Path, Path], config: Path) -> None:
    config.write_text(f"access_log = '/var/log/hookward/access.log'\n{config.read_text()}")
    (folders[0] / "hookward.service").write_text(service(config, "ProtectSystem=strict"))
    with pytest.raises(ConfigError, match="add LogsDirectory="):
        check.main([str(config)])
    (folders[0] / "hookward.service").write_text(service(config, "ProtectSystem=strict", "LogsDirectory=hookward"))
    assert check.main([str(config)]) == 0


@as_root
def test_credentials_are_given_as_systemd_gives_them(folders: tuple[Path, Path], config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("file:github.secret", "cred:hub"))
    with pytest.raises(ConfigError, match="no credentials directory"):
        check.main([str(config)])
    unit = folders[0] / "hookward.service"
    unit.write_text(service(config, "User=daemon", f"LoadCredential=hub:{tmp_path}/github.secret"))
    assert check.main([str(config)]) == 0
    unit.write_text(service(config, "User=daemon", f"LoadCredential=hub:{tmp_path}/none"))
    with pytest.raises(ConfigError, match="does not exist"):
        check.main([str(config)])
    found = units.installed_unit(str(config))
    assert found is not None
    with found.credentials(found.identity) as given:
        folder = Path(given["CREDENTIALS_DIRECTORY"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711
    assert not folder.exists()


@as_root
def test_the_unit_that_we_print_is_read(
    folders: tuple[Path, Path], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(f"user = 'daemon'\n{config.read_text()}")
    assert print_unit(["--config", str(config)]) == 0
    (folders[0] / "hookward.service").write_text(capsys.readouterr().out)
    found = units.installed_unit(str(config))
    assert found is not None
    assert found.identity is not None
    assert found.identity.name == "daemon"
    assert found.makes("/var/lib/hookward")
