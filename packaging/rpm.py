"""Build the RPM: the very files of the Debian package, for Fedora, RHEL and what is made of them.

Needs `rpmbuild`. Every file is the same; the modules are compiled where they are installed, and the user is made before
the files are there. `rpmlint` has nothing to say of it but what packaging/rpmlint.toml names, each with its reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

from collect import BUILD, ROOT, VERSIONS, collect, epoch, run, version
from deb import CONFIGURATION, MAINTAINER, files_of, lay_out, texts

SPEC = """\
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global __requires_exclude_from ^/usr/lib/hookward/.*$
%global __provides_exclude_from ^/usr/lib/hookward/.*$
%global _buildhost localhost
%global use_source_date_epoch_as_buildtime 1
%global clamp_mtime_to_source_date_epoch 1

Name:           hookward
Version:        {version}
Release:        1
Summary:        Reverse proxy that lets webhooks in and nothing else
License:        MIT
Group:          System Environment/Daemons
Packager:       {maintainer}
Requires:       python3 >= {least}
Requires:       systemd
Recommends:     ca-certificates
Suggests:       python3-cryptography
Suggests:       python3-redis

%description
hookward is one small process on the public port of a host. It admits the
deliveries that prove where they come from, by address, token or signature,
pipes them to the application behind it, and refuses everybody else.

%install
cp -a {tree}/. %{{buildroot}}/
mkdir -p %{{buildroot}}/var/log/hookward

%pre
getent group hookward > /dev/null || groupadd -r hookward
getent passwd hookward > /dev/null || \\
    useradd -r -g hookward -d /nonexistent -s /sbin/nologin -c "hookward, the guard of webhooks" hookward

%post
/usr/bin/python3 -I -m compileall -q /usr/lib/hookward || :
[ ! -d /run/systemd/system ] || systemctl daemon-reload

%preun
if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
    systemctl disable --now hookward.service
fi

%postun
[ "$1" != 0 ] || rm -rf /usr/lib/hookward
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    [ "$1" = 0 ] || systemctl try-restart hookward.service
fi

%files
{files}

%changelog
* {day} {maintainer} - {version}-1
- See CHANGELOG.md.gz in the documents.
"""


def spec(tree: Path) -> str:
    """The text of the recipe; ``tree`` holds the files."""
    weekday, day, month, year = formatdate(epoch()).replace(",", "").split()[:4]
    return SPEC.format(
        version=version(),
        maintainer=MAINTAINER,
        least=VERSIONS[0],
        tree=tree,
        files="\n".join(listed(tree)),
        day=f"{weekday} {month} {day} {year}",
    )


def listed(tree: Path) -> list[str]:
    """Every file, with what it is: configuration, which an upgrade keeps, or documents."""
    lines = ["%dir %attr(0750, root, hookward) /etc/hookward", "%dir %attr(0750, hookward, hookward) /var/log/hookward"]
    folders = sorted(path for path in (tree / "usr/lib/hookward").rglob("*") if path.is_dir())
    lines += [f"%dir /{path.relative_to(tree)}" for path in (tree / "usr/lib/hookward", *folders)]
    for path in files_of(tree):
        name = str(path.relative_to(tree))
        kind = ""
        if name in CONFIGURATION:
            owner = "%attr(0640, root, hookward) " if name.startswith("etc/hookward/") else ""
            kind = f"%config(noreplace) {owner}"
        elif name.startswith("usr/share/doc/") or "/man/" in name:
            kind = "%doc "
        lines.append(f"{kind}/{name}")
    return lines


def main() -> None:
    """Build it, and say how large it is."""
    if shutil.which("rpmbuild") is None:
        sys.exit("rpmbuild is missing: apt install rpm, or dnf install rpm-build")
    os.umask(0o022)
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch())
    folder = BUILD / "rpm"
    shutil.rmtree(folder, ignore_errors=True)
    tree = folder / "tree"
    shutil.copytree(collect(BUILD / "site", uvloop=True), tree / "usr" / "lib" / "hookward")
    lay_out(tree, texts())
    recipe = folder / "hookward.spec"
    recipe.write_text(spec(tree), encoding="utf-8")
    words = ["uname", "-m"]
    machine = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    run("rpmbuild", "-bb", "--quiet", "--target", machine, "--define", f"_topdir {folder}", recipe)
    [built] = sorted((folder / "RPMS").rglob("*.rpm"))
    package = ROOT / "dist" / built.name
    package.parent.mkdir(exist_ok=True)
    shutil.copyfile(built, package)
    print(f"{package.relative_to(ROOT)}: {package.stat().st_size / 1024:.0f} KiB")
    if shutil.which("rpmlint"):
        run("rpmlint", "--config", ROOT / "packaging" / "rpmlint.toml", package)


if __name__ == "__main__":
    main()
