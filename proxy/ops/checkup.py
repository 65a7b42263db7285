"""``check``: load the configuration as ``run`` would, say what it means, and listen nowhere.

Everything that can be judged without a socket is: flags, environment, file, secrets, address lists, certificates. The
exit code is 0, 64 or 78, so that a deployment can ask before it reloads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from proxy.config.describe import describe
from proxy.config.load import load
from proxy.config.set_shelf import SetShelf
from proxy.net.clock import Clock
from proxy.ops.certificates import load_certificates
from proxy.ops.environment import environment
from proxy.ops.exit_codes import ExitCode
from proxy.ops.set_report import SetRow, sentence


def main(argv: Sequence[str]) -> int:
    """Print what the configuration means; takes the flags of ``run``. Raises FlagError and ConfigError."""
    shelf = SetShelf()
    loaded = load(argv, environment(), shelf=shelf)
    load_certificates(loaded.settings)
    print(describe(loaded))
    sets = dict.fromkeys(loaded.sets.used.values())
    if sets:
        print("\nPublished address sets:")
    for feed in sets:
        print(f"    {sentence(SetRow(feed, shelf.get(feed)), Clock.wall())}")
    for warning in loaded.settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return ExitCode.OK
