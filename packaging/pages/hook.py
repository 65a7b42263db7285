"""Puts manual pages and completions into the wheel, where ``hookward man`` and ``hookward completion`` find them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PagesHook(BuildHookInterface[Any]):
    """Makes them before the wheel is built. An editable installation goes without: a checkout makes them when asked."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make them, and name them to the builder."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        command = [sys.executable, str(Path(__file__).with_name("make.py")), self._folder.name]
        subprocess.run(command, check=True)
        for page in Path(self._folder.name).iterdir():
            build_data["force_include"][str(page)] = f"proxy/tools/pages/{page.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's names
        """They are in the wheel."""
        if version != "editable":
            self._folder.cleanup()
