"""One stack for all end-to-end tests, brought up from a folder of its own so that a person's `make up` stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.service import Service

from pixtune_local.cloud import stack

# A file larger than this goes in parts, as one of more than 64 MB does elsewhere.
PART_BYTES = 600_000
LIMITS = f"""
[[model]]
provider = "local"
base_model = "local-vision-1"
part_bytes = {PART_BYTES}
read = 2026-11-23
"""

ROOT = Path(__file__).resolve().parents[2]


def checkout(root: Path) -> Path:
    """Make `root` look like a checkout of the project, with a state folder of its own."""
    for part in ("template.yaml", "functions", "shared", "infra", "cli", ".venv", ".venv-cloud", ".tools"):
        if (ROOT / part).exists():
            (root / part).symlink_to(ROOT / part)
    build = ROOT / ".pixtune" / "build"  # artifacts are named by content: sharing them saves building them again
    build.mkdir(parents=True, exist_ok=True)
    (root / ".pixtune").mkdir()
    (root / ".pixtune" / "build").symlink_to(build)
    return root


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    root = checkout(tmp_path_factory.mktemp("checkout"))
    with stack.running(root, parameters={"ProviderLimits": LIMITS}) as info:
        yield Service(root, info)
