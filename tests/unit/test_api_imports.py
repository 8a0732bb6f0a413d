"""What the API's function loads before its first request: polls, which are most of them, need no validation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pixtune.keys

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(pixtune.keys.__file__).parents[1]


def test_the_api_loads_neither_validation_nor_a_provider_nor_pictures_before_it_needs_them() -> None:
    paths = [str(ROOT / "functions" / "serve_api"), str(SHARED)]
    script = f"import sys; sys.path[:0] = {paths!r}; import handler, json; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    assert not {"pydantic", "openai", "PIL", "aws_xray_sdk"} & {name.partition(".")[0] for name in loaded}
