"""One row of the table under the fuzzer: ``python -m fuzz.one ROW [libFuzzer's options] FOLDER``."""

from __future__ import annotations

import sys

import atheris

# What is imported here is instrumented; nothing of the product may have been imported before.
with atheris.instrument_imports(include=["proxy"]):
    from fuzz.readers import run

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, lambda data: run(name, data))
    atheris.Fuzz()
