"""boto3 clients, made once per process. Every other module under `aws` takes its client as an argument."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from pixtune.aws.plain_answers import read_plainly

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

    from pixtune.aws.rekognition import RekognitionClient

# One retry owner per hop: botocore retries calls to AWS, nothing above it does.
_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=20)


@cache
def s3() -> S3Client:
    return boto3.client("s3", config=_CONFIG)


@cache
def sqs() -> SQSClient:
    return boto3.client("sqs", config=_CONFIG)


@cache
def dynamodb() -> DynamoDBClient:
    client = boto3.client("dynamodb", config=_CONFIG)
    read_plainly(client)
    return client


@cache
def events() -> EventBridgeClient:
    return boto3.client("events", config=_CONFIG)


@cache
def stepfunctions() -> SFNClient:
    return boto3.client("stepfunctions", config=_CONFIG)


@cache
def secretsmanager() -> SecretsManagerClient:
    return boto3.client("secretsmanager", config=_CONFIG)


@cache
def rekognition() -> RekognitionClient:
    client: RekognitionClient = boto3.client("rekognition", config=_CONFIG)
    return client


@cache
def bedrock() -> Any:
    """Bedrock's control plane. Any, here and below: no stubs are installed; the adapter names the calls it makes."""
    return boto3.client("bedrock", config=_CONFIG)


@cache
def bedrock_once() -> Any:
    """The same for a create that costs money: sent once, whatever comes back."""
    return boto3.client("bedrock", config=_CONFIG.merge(Config(retries={"total_max_attempts": 1}, read_timeout=60)))


@cache
def bedrock_runtime() -> Any:
    """Bedrock's models. An answer may take a while, and being throttled is ordinary while a test split is asked."""
    return boto3.client("bedrock-runtime", config=_CONFIG.merge(Config(read_timeout=60)))
