"""Expand SAM's shorthand offline: template.yaml in, the CloudFormation template it stands for out, as JSON.

Run by an environment that has aws-sam-translator (`.venv-cloud`): it wants an older pydantic than pixtune.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class _ManagedPolicies:
    """Stands where SAM would ask IAM for the ARNs of managed policies."""

    def load(self) -> dict[str, str]:
        names = ("AWSLambdaBasicExecutionRole", "AWSLambdaSQSQueueExecutionRole", "AWSLambdaDynamoDBExecutionRole")
        return {name: f"arn:aws:iam::aws:policy/service-role/{name}" for name in names}


def expand(path: Path) -> dict[str, Any]:
    """The template at `path` after the Serverless transform; code addresses become made-up bucket objects."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    template: dict[str, Any] = yaml_parse(path.read_text())
    code = {
        "AWS::Serverless::Function": "CodeUri",
        "AWS::Serverless::LayerVersion": "ContentUri",
        "AWS::Serverless::StateMachine": "DefinitionUri",
    }
    for resource in template["Resources"].values():
        if resource["Type"] in code:
            resource["Properties"][code[resource["Type"]]] = "s3://code/artifact"
    result: dict[str, Any] = transform(template, {}, _ManagedPolicies())
    return result


if __name__ == "__main__":
    path = Path(sys.argv[1])
    print(json.dumps({"source": yaml_parse(path.read_text()), "expanded": expand(path)}))
