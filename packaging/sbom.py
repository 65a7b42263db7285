"""Write dist/hookward-VERSION.cdx.json: what an environment with the wheel and its needs holds, as CycloneDX.

By cyclonedx-py. The same sources and the same packages give the same bytes.
"""

from __future__ import annotations

import os
import sys
import venv

from collect import BUILD, ROOT, epoch, run, version


def main() -> None:
    """Install the wheel of dist beside nothing, and write down what came of it."""
    [wheel] = sorted((ROOT / "dist").glob(f"hookward-{version()}-*.whl"))
    folder = BUILD / "sbom"
    venv.create(folder, clear=True, with_pip=False)
    python = folder / "bin" / "python"
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch())
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python", python, "install")
    run(*pip, f"{wheel}[pubkey,redis,tui]")
    bom = ROOT / "dist" / f"hookward-{version()}.cdx.json"
    options = ("--pyproject", ROOT / "pyproject.toml", "--mc-type", "application", "--output-reproducible", "-o", bom)
    run(sys.executable, "-m", "cyclonedx_py", "environment", *options, python)
    print(f"{bom.relative_to(ROOT)}: {bom.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
