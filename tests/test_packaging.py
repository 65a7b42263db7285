"""The recipes of packaging/, as far as that can be judged without building: the Containerfile by rules of our own, the
scripts by their shells, the shipped configuration by `check`, the unit by its text. `make deb-test`,
`make systemd-test` and `make image-test` do the rest."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from proxy.ops.cli import main

ROOT = Path(__file__).resolve().parents[1]
PACKAGING = ROOT / "packaging"
SCRIPTS = [*sorted(PACKAGING.glob("*.sh")), *(PACKAGING / "debian" / name for name in ("postinst", "prerm", "postrm"))]
STEPS = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


def steps() -> list[tuple[str, str]]:
    text = (PACKAGING / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def of(kind: str) -> list[str]:
    return [rest for step, rest in steps() if step == kind]


def last_stage() -> dict[str, str]:
    found = steps()
    start = max(at for at, (step, _) in enumerate(found) if step == "FROM")
    return dict(found[start:])


def test_every_step_is_one_that_image_test_can_follow():
    assert {step for step, _ in steps()} <= STEPS  # no ADD, which unpacks and fetches; no SHELL, no ONBUILD


def test_bases_are_named_with_a_version():
    for base in of("FROM"):
        name = base.split()[0]
        assert name == "scratch" or (":" in name and not name.endswith(":latest"))


def test_what_is_copied_is_there():
    for rest in of("COPY"):
        if not rest.startswith("--from="):
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest


def test_packages_bring_no_others_and_nothing_is_run_in_the_image_itself():
    assert all("--no-install-recommends" in step for step in of("RUN") if "apt-get install" in step)
    assert all("apt-get update && apt-get install" in step for step in of("RUN") if "apt-get" in step)
    assert last_stage()["FROM"] == "scratch"
    assert "RUN" not in last_stage()


def test_nobody_in_particular_runs_it_and_signals_reach_it():
    stage = last_stage()
    user, _, group = stage["USER"].partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(stage["ENTRYPOINT"])[0].startswith("/")  # no shell between the engine and hookward
    assert isinstance(json.loads(stage["CMD"]), list)
    assert not re.search(r"secret|token|password", " ".join(of("ENV")), re.IGNORECASE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_error_and_can_be_run(script: Path):
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert re.search(r"^set -eu?$", text, re.MULTILINE)
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(script)], check=True)
    if shutil.which("shellcheck") is not None:
        subprocess.run(["shellcheck", "-s", "sh", "-S", "warning", str(script)], check=True)


def test_the_configuration_of_the_package_admits_nobody_else(capsys: pytest.CaptureFixture[str]):
    assert main(["check", "--strict", "--config", str(PACKAGING / "debian" / "hookward.toml")]) == 0
    assert "Local only" in capsys.readouterr().out


@pytest.fixture
def deb(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PACKAGING)
    return importlib.import_module("deb")


def test_what_the_package_is_made_of(deb: ModuleType, tmp_path: Path):
    deb.lay_out(tmp_path, deb.texts() | deb.of_debian())
    deb.control(tmp_path, "amd64")
    unit = (tmp_path / "usr/lib/systemd/system/hookward.service").read_text()
    assert "ExecStart=/usr/bin/hookward --config /etc/hookward/hookward.toml\n" in unit
    assert "User=hookward\n" in unit
    assert "LogsDirectory=hookward\nLogsDirectoryMode=0750\n" in unit
    for place in ("etc/logrotate.d/hookward", "usr/share/doc/hookward/docs/log-reference.md"):
        assert (tmp_path / place).is_file()
    monitoring = tmp_path / "usr/share/doc/hookward/docs/monitoring"
    assert {path.name for path in monitoring.iterdir()} >= {"alerts.yml", "dashboard.json"}
    kept = (tmp_path / "DEBIAN/conffiles").read_text().splitlines()
    assert kept == ["/etc/hookward/hookward.toml", "/etc/logrotate.d/hookward"]
    assert str(tmp_path) not in unit
    control = (tmp_path / "DEBIAN/control").read_text()
    assert "Depends: python3 (>= 3.11), python3 (<< 3.15~)" in control
    assert all(line and not line.endswith(" ") for line in control.splitlines())
    sums = (tmp_path / "DEBIAN/md5sums").read_text()
    assert "  usr/bin/hookward\n" in sums
    assert "DEBIAN" not in sums
    assert (tmp_path / "usr/bin/hookward").stat().st_mode & 0o111
    if shutil.which("man"):
        page = tmp_path / "usr/share/man/man1/hookward.1.gz"
        shown = subprocess.run(["man", "-l", "-P", "cat", str(page)], capture_output=True, text=True, check=True)
        assert "--secret-file PATH" in shown.stdout


def test_the_rpm_has_the_same_files(deb: ModuleType, tmp_path: Path):
    """And each is told as what it is: configuration, which an upgrade keeps, or documents."""
    rpm = importlib.import_module("rpm")
    tree = tmp_path / "tree"
    deb.lay_out(tree, deb.texts())
    (tree / "usr/lib/hookward/proxy").mkdir(parents=True)
    (tree / "usr/lib/hookward/proxy/__init__.py").touch()
    lines = rpm.listed(tree)
    assert {line.split()[-1] for line in lines if "%dir" not in line} == {
        f"/{path.relative_to(tree)}" for path in tree.rglob("*") if path.is_file()
    }
    assert "%config(noreplace) /etc/logrotate.d/hookward" in lines
    assert "%config(noreplace) %attr(0640, root, hookward) /etc/hookward/hookward.toml" in lines
    assert "%doc /usr/share/doc/hookward/README.md" in lines
    recipe = tmp_path / "hookward.spec"
    recipe.write_text(rpm.spec(tree))
    if rpmspec := shutil.which("rpmspec"):
        words = [rpmspec, "-q", "--qf", "%{name} %{version} %{license}", str(recipe)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"hookward {deb.version()} MIT"), done.stderr
    lint = tomllib.loads((PACKAGING / "rpmlint.toml").read_text())
    assert all(isinstance(one, str) for one in lint["Filters"])


def test_rotation_is_of_the_services_own_folder():
    """Root that followed links there would be led by the service's user: CVE-2016-1247 was of this kind."""
    text = (PACKAGING / "debian" / "logrotate").read_text()
    assert text.startswith("/var/log/hookward/access.log {")
    assert "    su hookward hookward\n" in text
    page = (ROOT / "docs" / "operations.md").read_text()
    assert text.replace("    su hookward hookward\n", "") in page


def test_uvloop_is_there_for_every_python_that_is_promised(deb: ModuleType):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    promised = {f"3.{name.removeprefix(prefix)}" for name in project["classifiers"] if name.startswith(prefix)}
    assert promised <= set(deb.VERSIONS)
    assert deb.version() == importlib.import_module("proxy").__version__
