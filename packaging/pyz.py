"""Build the single files: dist/hookward.pyz with uvloop, by shiv, and dist/hookward-pure.pyz, which runs on any Python.

The first one unpacks itself into ~/.shiv (or $SHIV_ROOT) when it first runs, because machine code cannot be loaded from
an archive; the second one never does.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipapp

from collect import BUILD, ROOT, collect, epoch, run, settle

SHEBANG = "/usr/bin/env python3"
START = ROOT / "packaging" / "hookward_start.py"


def main() -> None:
    """Build both, and say how large they are."""
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    whole, pure = dist / "hookward.pyz", dist / "hookward-pure.pyz"
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch())
    site = collect(BUILD / "site", uvloop=True)
    shutil.copyfile(START, site / START.name)
    settle(site)
    options = ("--compressed", "--reproducible", "-p", SHEBANG, "-e", f"{START.stem}:main", "-o", whole)
    run(sys.executable, "-m", "shiv.cli", "--site-packages", site, *options)
    folder = collect(BUILD / "pure", uvloop=False)
    shutil.copyfile(START, folder / "__main__.py")
    settle(folder)
    zipapp.create_archive(folder, pure, interpreter=SHEBANG, compressed=True)
    for path in (whole, pure):
        path.chmod(0o755)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
