"""template.yaml as CloudFormation sees it: SAM's shorthand expanded offline, intrinsic functions left as they are."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@cache
def _both() -> dict[str, dict[str, Any]]:
    """Expanded by the environment that has the translator (`make setup` leaves it)."""
    python, script = ROOT / ".venv-cloud/bin/python", ROOT / "infra/build/expand.py"
    done = subprocess.run([python, script, ROOT / "template.yaml"], capture_output=True, text=True, check=True)
    both: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return both


def source() -> dict[str, Any]:
    """The template as written, intrinsic functions in their long form."""
    return _both()["source"]


def expanded() -> dict[str, Any]:
    """The template after the Serverless transform."""
    return _both()["expanded"]


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Properties by logical id of every expanded resource of one CloudFormation type."""
    return {
        name: resource.get("Properties", {})
        for name, resource in expanded()["Resources"].items()
        if resource["Type"] == kind
    }


def statements(role: str) -> list[dict[str, Any]]:
    """All policy statements of a role: its own, and those of policies that name it (whatever their condition)."""
    attached = [policy for policy in resources("AWS::IAM::Policy").values() if {"Ref": role} in policy["Roles"]]
    return [
        statement
        for policy in [*resources("AWS::IAM::Role")[role].get("Policies", []), *attached]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def camel(folder: str) -> str:
    """convert_image -> ConvertImage: a folder's logical id."""
    return "".join(word.capitalize() for word in folder.split("_"))


def snake(logical_id: str) -> str:
    """ConvertImage -> convert_image."""
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in logical_id).lstrip("_")
