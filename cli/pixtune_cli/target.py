"""Where commands talk to: a local stack's `stack.json` or a CloudFormation stack's outputs in, a `Target` out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixtune_cli.failures import Failure

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

    from pixtune.aws.queues import Queue

LOCAL_STACK = Path(".pixtune") / "stack.json"


@dataclass(frozen=True)
class Target:
    """name: as shown to people. outputs: the stack's outputs. endpoint_url: set for a local stack."""

    name: str
    outputs: Mapping[str, str]
    region: str
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None

    @property
    def local(self) -> bool:
        return self.endpoint_url is not None

    @property
    def api_url(self) -> str:
        return self.outputs["ApiUrl"].rstrip("/")

    @property
    def uploads_bucket(self) -> str:
        return self.outputs["UploadsBucket"]

    @cached_property
    def session(self) -> boto3.Session:
        """Credentials as boto3 finds them, or the local stack's own: those never reach AWS."""
        import boto3

        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
        )

    def s3(self, connections: int = 10) -> S3Client:
        """connections: how many threads will use it."""
        from botocore.config import Config

        config = Config(
            max_pool_connections=connections,
            retries={"mode": "standard", "total_max_attempts": 3},
            s3={"addressing_style": "path" if self.local else "auto"},
        )
        return self.session.client("s3", endpoint_url=self.endpoint_url, config=config)

    def queue(self, output: str) -> Queue:
        """A queue by the name of the stack's output that has its URL."""
        from pixtune.aws.queues import Queue

        if output not in self.outputs:
            raise Failure(f"{self.name} has no output {output}.", "It is of an older template.", "deploy it again")
        return Queue(self.session.client("sqs", endpoint_url=self.endpoint_url), self.outputs[output])


def find(stack: str | None, start: Path) -> Target:
    """The target to talk to. stack: a CloudFormation stack on AWS; None: the local stack at or above `start`.

    Raises Failure when there is none, or when AWS does not let us ask.
    """
    if stack:
        return _on_aws(stack)
    path = next(
        (folder / LOCAL_STACK for folder in (start, *start.parents) if (folder / LOCAL_STACK).is_file()), None
    )
    if path is None:
        raise Failure(
            "There is nothing to talk to.",
            f"No local stack is up at or above {start}, and neither --stack nor PIXTUNE_STACK names one on AWS.",
            "pixtune up",
        )
    return _local(path)


def _local(path: Path) -> Target:
    try:
        stack: Mapping[str, Any] = json.loads(path.read_text())
        return Target(
            f"the local stack of {path.parent.parent}",
            stack["outputs"] | ({"ApiUrl": stack["api_url"]} if stack.get("api_url") else {}),
            stack["region"],
            stack["endpoint_url"],
            stack["access_key_id"],
            stack["secret_access_key"],
        )
    except (ValueError, KeyError) as error:
        raise Failure(
            f"{path} cannot be used.", f"It was written by another version ({error}).", "pixtune up"
        ) from None


def _on_aws(stack: str) -> Target:
    import boto3
    from botocore.exceptions import ClientError

    session = boto3.Session()
    try:
        described = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        what = f"There is no stack {stack} in {session.region_name}."
        raise Failure(what, error.response["Error"]["Message"], "aws cloudformation list-stacks") from None
    outputs = {entry["OutputKey"]: entry["OutputValue"] for entry in described.get("Outputs", [])}
    if missing := {"ApiUrl", "UploadsBucket"} - outputs.keys():
        raise Failure(f"{stack} is no pixtune stack.", f"It has no output {', '.join(sorted(missing))}.")
    return Target(f"the stack {stack} in {session.region_name} on AWS", outputs, session.region_name or "")
