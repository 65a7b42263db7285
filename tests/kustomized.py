"""What is rendered from packaging/kubernetes, as an administrator's own tool renders it.

kubectl has kustomize inside; the one of Debian 12 is too old for what stands there.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[1] / "packaging" / "kubernetes"
Manifest = dict[str, Any]


@lru_cache
def tool() -> list[str]:
    """The command that renders a folder; empty where there is none."""
    if kustomize := shutil.which("kustomize"):
        return [kustomize, "build"]
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return []
    said = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    new_enough = said.returncode == 0 and "kustomizeVersion" in json.loads(said.stdout)
    return [kubectl, "kustomize"] if new_enough else []


@lru_cache
def rendered(name: str) -> list[Manifest]:
    """All objects of ``base`` or of an overlay. Skips the test where nothing can render them."""
    if not tool():
        pytest.skip("neither kustomize nor a kubectl of 1.24 or newer is installed")
    done = subprocess.run([*tool(), str(FOLDER / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a word of what is deprecated
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[Manifest], kind: str, name: str = "hookward") -> Manifest:
    """The one object of that kind and name, a digest behind the name left aside."""
    named = re.compile(rf"{name}(-[2456789bcdfghkmt]{{10}})?")
    [found] = [one for one in manifests if one["kind"] == kind and named.fullmatch(one["metadata"]["name"])]
    return found
