"""A clean machine for each newcomer: a Debian of debootstrap, which an overlay keeps as it is, in a network of its own.

What a newcomer types runs in a chroot there. With ``online`` it has the network of this host, for apt and pip; all
else has a loopback interface and no more. Needs root, debootstrap and iproute2.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

HOME = "/root"
#: A newcomer's machine before hookward: what the README asks for, and what stands around a webhook on a small host.
PACKAGES = ("ca-certificates", "curl", "haproxy", "jq", "make", "nginx-light", "openssl", "procps", "python3-venv")
PATIENCE_S = 60.0
_PATH = f"{HOME}/hookward/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Done:
    """A command that has ended. ``text`` is all that it printed."""

    code: int
    text: str


class Service:
    """What runs until the newcomer is done with it. ``text`` is all that it has printed so far."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def text(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def code(self) -> int | None:
        """How it ended, None while it runs."""
        return self._process.poll()

    def says(self, text: str, timeout_s: float = PATIENCE_S) -> bool:
        """Whether it prints this before it ends or time is over."""
        deadline = monotonic() + timeout_s
        while text not in self.text:
            if self.code is not None or monotonic() > deadline:
                return text in self.text
            sleep(0.02)
        return True

    def stop(self) -> None:
        """End it and all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(5)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


class Machine:
    """One of them, while it is mounted."""

    def __init__(self, root: Path, network: str) -> None:
        self.root = root
        self._network = network
        self._services: list[Service] = []

    def run(self, script: str, *, online: bool = False, timeout_s: float = 600.0) -> Done:
        """Run a script to its end."""
        done = subprocess.run(
            self._command(script, online=online),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"))

    def start(self, script: str) -> Service:
        """Run a script until ``stop``, or the end of all."""
        log = self.root / "var" / "log" / f"newcomer-{len(self._services)}"
        service = Service(self._command(f"exec {script}", online=False), log)
        self._services.append(service)
        return service

    def write(self, path: str, text: str) -> None:
        """Write a file, as an editor would; a path without a slash is in the home."""
        place = self.root / (path.lstrip("/") if path.startswith("/") else f"{HOME[1:]}/{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def only_ipv6(self) -> None:
        """Take IPv4 away."""
        _ip("-n", self._network, "addr", "del", "127.0.0.1/8", "dev", "lo")

    def stop(self) -> None:
        """End everything that was started."""
        for service in reversed(self._services):
            service.stop()

    def _command(self, script: str, *, online: bool) -> list[str]:
        network = [] if online else ["ip", "netns", "exec", self._network]
        environment = [f"PATH={_PATH}", f"HOME={HOME}", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        environment += ["PIP_ROOT_USER_ACTION=ignore", "PIP_DISABLE_PIP_VERSION_CHECK=1"]
        if os.environ.get("PIP_CERT"):
            environment.append("PIP_CERT=/var/tmp/pip.pem")
        inner = f"cd {HOME}\n{script}"
        return [*network, "chroot", str(self.root), "env", "-i", *environment, "bash", "-c", inner]


@contextmanager
def machine(base: Path, number: int) -> Iterator[Machine]:
    """A machine as ``base`` is, which is thrown away afterwards."""
    with ExitStack() as ending:
        work = Path(tempfile.mkdtemp(prefix="hookward-newcomer."))
        ending.callback(shutil.rmtree, work, ignore_errors=True)
        for name in ("upper", "work", "root"):
            (work / name).mkdir(mode=0o755)
        root = work / "root"
        layers = f"lowerdir={base},upperdir={work / 'upper'},workdir={work / 'work'}"
        _mount(ending, root, "-t", "overlay", "overlay", "-o", layers)
        _mount(ending, root / "proc", "-t", "proc", "proc")
        _mount(ending, root / "dev", "--bind", "/dev")
        network = f"hw-new-{os.getpid()}-{number}"
        _ip("netns", "add", network)
        ending.callback(_ip, "netns", "del", network)
        _ip("-n", network, "link", "set", "lo", "up")
        one = Machine(root, network)
        ending.callback(one.stop)
        yield one


@dataclass(frozen=True)
class Suite:
    """A distribution's release: where from, by which of debootstrap's scripts, signed by which keys."""

    mirror: str = ""
    script: str = ""
    keyring: str = ""
    components: str = ""


UBUNTU = Suite(
    "http://archive.ubuntu.com/ubuntu", "gutsy", "/usr/share/keyrings/ubuntu-archive-keyring.gpg", "main,universe"
)
#: Those that need more than their name.
SUITES = {"noble": UBUNTU, "forky": Suite(script="sid")}


def cannot_make(base: Path, suite: str) -> str:
    """Why a base cannot be made; "" where it can, or is there."""
    keyring = SUITES.get(suite, Suite()).keyring
    if (base / "made").exists() or not keyring or Path(keyring).exists():
        return ""
    return f"no {keyring} to check {suite} with"


def make_base(folder: Path, suite: str, packages: Sequence[str] = PACKAGES) -> None:
    """Make the system that machines begin as, in ``folder``, unless it is there."""
    if (folder / "made").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    how = SUITES.get(suite, Suite())
    options = ["--variant=minbase", f"--include={','.join(packages)}"]
    options += [f"--components={how.components}"] if how.components else []
    options += [f"--keyring={how.keyring}"] if how.keyring else []
    mirror = how.mirror or os.environ.get("MIRROR") or "http://deb.debian.org/debian"
    script = [f"/usr/share/debootstrap/scripts/{how.script}"] if how.script else []
    command = ["debootstrap", *options, suite, str(folder), mirror, *script]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    shutil.copyfile("/etc/resolv.conf", folder / "etc/resolv.conf")
    if certificates := os.environ.get("PIP_CERT"):
        shutil.copyfile(certificates, folder / "var/tmp/pip.pem")
    subprocess.run(["chroot", str(folder), "apt-get", "update", "-qq"], stdout=subprocess.DEVNULL, check=True)
    (folder / "made").touch()


def _mount(ending: ExitStack, where: Path, *arguments: str) -> None:
    subprocess.run(["mount", *arguments, str(where)], check=True)
    ending.callback(subprocess.run, ["umount", "--lazy", str(where)], check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def quoted(text: str) -> str:
    """``text`` as one word of a shell."""
    return shlex.quote(text)
