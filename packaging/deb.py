"""Build the Debian package: hookward, h11 and uvloop below /usr/lib/hookward, and what a host needs around them.

It depends on Debian's Python alone (any of VERSIONS), and no Python package of the host can take the place of its own.
The unit is made for systemd 252, the oldest in a Debian with a Python that is new enough.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from pathlib import Path

from collect import BUILD, ROOT, VERSIONS, collect, epoch, run, version

from proxy.tools.units import OLDEST, Needs, service_unit

RECIPES = ROOT / "packaging" / "debian"
CONFIG = ("--config", "/etc/hookward/hookward.toml")
#: Where Debian has what packaging/pages/make.py makes.
PLACES = {
    "hookward.1": "usr/share/man/man1/hookward.1.gz",
    "hookward.toml.5": "usr/share/man/man5/hookward.toml.5.gz",
    "hookward.bash": "usr/share/bash-completion/completions/hookward",
    "hookward.zsh": "usr/share/zsh/vendor-completions/_hookward",
    "hookward.fish": "usr/share/fish/vendor_completions.d/hookward.fish",
}
#: What the operator may change, and an upgrade keeps.
CONFIGURATION = {"etc/hookward/hookward.toml": "hookward.toml", "etc/logrotate.d/hookward": "logrotate"}
SCRIPTS = ("postinst", "prerm", "postrm")
#: As for Debian's own tools.
MAINTAINER = f"{os.environ.get('DEBFULLNAME', 'hookward')} <{os.environ.get('DEBEMAIL', 'hookward@localhost')}>"
CHANGELOG = """\
hookward ({version}) stable; urgency=medium

  * See CHANGELOG.md.gz.

 -- {maintainer}  {date}
"""
CONTROL = """\
Package: hookward
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: python3 (>= {least}), python3 (<< {beyond}), libc6, systemd | systemd-standalone-sysusers | systemd-sysusers
Recommends: ca-certificates
Suggests: python3-cryptography, python3-redis
Section: net
Priority: optional
Description: reverse proxy that lets webhooks in and nothing else
 hookward is one small process on the public port of a host. It admits the
 deliveries that prove where they come from, by address, token or signature,
 pipes them to the application behind it, and refuses everybody else.
"""


def unit() -> str:
    """The service of the package: any port, the user of the package, the configuration of /etc."""
    return service_unit(
        Needs(
            name="hookward",
            program=["/usr/bin/hookward"],
            command=CONFIG,
            user="hookward",
            group="hookward",
            supervised=True,
            low_port=True,
            environment_file="-/etc/hookward/environment",
            directories=[(kind, "hookward") for kind in ("StateDirectory", "RuntimeDirectory", "LogsDirectory")],
            systemd=OLDEST,
        )
    )


def texts() -> dict[str, str]:
    """The files that are made from something, by their places."""
    pages = BUILD / "pages"
    run(sys.executable, ROOT / "packaging" / "pages" / "make.py", pages)
    return {
        "usr/lib/systemd/system/hookward.service": unit(),
        **{place: (pages / name).read_text(encoding="utf-8") for name, place in PLACES.items()},
        "usr/share/doc/hookward/changelog.gz": CHANGELOG.format(
            version=version(), maintainer=MAINTAINER, date=formatdate(epoch())
        ),
        "usr/share/doc/hookward/CHANGELOG.md.gz": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "usr/share/doc/hookward/copyright": (RECIPES / "copyright").read_text(encoding="utf-8"),
        "usr/lib/sysusers.d/hookward.conf": (RECIPES / "sysusers.conf").read_text(encoding="utf-8"),
        "usr/bin/hookward": (RECIPES / "hookward").read_text(encoding="utf-8"),
        **{place: (RECIPES / name).read_text(encoding="utf-8") for place, name in CONFIGURATION.items()},
        **{f"usr/share/doc/hookward/{name}": (ROOT / name).read_text(encoding="utf-8") for name in documents()},
    }


def documents() -> list[str]:
    """The pages, the alerts with their tests, the dashboard: what one looks up on the host."""
    found = [path for path in (ROOT / "docs").rglob("*") if path.suffix in {".md", ".yml", ".json", ".cfg"}]
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in found)]


def of_debian() -> dict[str, str]:
    """What dpkg alone asks for."""
    scripts = {f"DEBIAN/{name}": (RECIPES / name).read_text(encoding="utf-8") for name in SCRIPTS}
    return {"DEBIAN/conffiles": "".join(f"/{place}\n" for place in CONFIGURATION), **scripts}


def lay_out(tree: Path, files: Mapping[str, str]) -> None:
    """All files of a package, with their modes."""
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text.encode()
        path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
        path.chmod(0o755 if name.startswith("usr/bin/") or path.name in SCRIPTS else 0o644)


def control(tree: Path, architecture: str) -> None:
    """What dpkg asks of a package: its control file, and the digests of its files."""
    files = [path for path in files_of(tree) if "DEBIAN" not in path.parts]
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}" for path in files)  # noqa: S324
    (tree / "DEBIAN" / "md5sums").write_text("\n".join(sums) + "\n", encoding="utf-8")
    major, minor = VERSIONS[-1].split(".")
    text = CONTROL.format(
        version=version(),
        architecture=architecture,
        maintainer=MAINTAINER,
        size=sum(path.stat().st_size for path in files) // 1024,
        least=VERSIONS[0],
        beyond=f"{major}.{int(minor) + 1}~",
    )
    (tree / "DEBIAN" / "control").write_text(text, encoding="utf-8")


def files_of(tree: Path) -> Iterable[Path]:
    """All files, in order."""
    return sorted(path for path in tree.rglob("*") if path.is_file())


def main() -> None:
    """Build it, and say how large it is."""
    os.umask(0o022)
    shutil.rmtree(BUILD / "deb", ignore_errors=True)
    tree = BUILD / "deb"
    shutil.copytree(collect(BUILD / "site", uvloop=True), tree / "usr" / "lib" / "hookward")
    lay_out(tree, texts() | of_debian())
    words = ["dpkg", "--print-architecture"]
    architecture = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    control(tree, architecture)
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch())
    package = ROOT / "dist" / f"hookward_{version()}_{architecture}.deb"
    package.parent.mkdir(exist_ok=True)
    run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, package)
    print(f"{package.relative_to(ROOT)}: {package.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
