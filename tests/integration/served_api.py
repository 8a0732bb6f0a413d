"""The HTTP API with simulated AWS behind it: the function's own handler, called as API Gateway calls it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws
from tests.integration.http_api import Answer, answer_of, request
from tests.integration.tables import make_tables

from pixtune.aws import clients
from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.models_table import ModelsTable
from pixtune.aws.runs_table import RunsTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:pixtune-training"


@dataclass(frozen=True)
class World:
    """The API and what stands behind it."""

    handler: Callable[[dict[str, Any], Any], dict[str, Any]]
    examples: ExamplesTable
    runs: RunsTable
    models: ModelsTable

    def __call__(self, method: str, path: str, body: Any = None, headers: Any = None, **more: Any) -> Answer:
        event = request(method, path, body, headers, **more)
        return answer_of(self.handler(event, SimpleNamespace(aws_request_id="r")))

    def executions(self) -> list[str]:
        listed = boto3.client("stepfunctions").list_executions(stateMachineArn=MACHINE)
        return [execution["name"] for execution in listed["executions"]]

    def status_of(self, name: str) -> str:
        arn = MACHINE.replace(":stateMachine:", ":execution:") + f":{name}"
        return str(boto3.client("stepfunctions").describe_execution(executionArn=arn)["status"])


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Empty tables, empty buckets, and the API over them."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "UPLOADS_BUCKET": "uploads",
        "ARTIFACTS_BUCKET": "artifacts",
        "EXAMPLES_TABLE": "examples",
        "RUNS_TABLE": "runs",
        "REQUESTS_TABLE": "requests",
        "MODELS_TABLE": "models",
        "STATE_MACHINE_ARN": MACHINE,
        "DEFAULT_PROVIDER": "local",
        "PROVIDER_URLS": '{"local": "http://127.0.0.1:9", "openai": "http://127.0.0.1:9"}',
    }.items():
        monkeypatch.setenv(name, value)
    made = (clients.s3, clients.dynamodb, clients.stepfunctions)
    with mock_aws():
        for client in made:
            client.cache_clear()
        database = boto3.client("dynamodb")
        make_tables(database)
        for table in ("examples", "models"):
            _make_pk_sk_table(database, table)
        for bucket in ("uploads", "artifacts"):
            boto3.client("s3").create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
            )
        boto3.client("stepfunctions").create_state_machine(
            name="pixtune-training",
            definition='{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}',
            roleArn="arn:aws:iam::123456789012:role/machine",
        )
        edge = importlib.import_module("handler")
        edge._api.cache_clear()
        yield World(
            edge.handler,
            ExamplesTable(database, "examples"),
            RunsTable(database, "runs"),
            ModelsTable(database, "models"),
        )
        for client in made:
            client.cache_clear()


def _make_pk_sk_table(client: DynamoDBClient, name: str) -> None:
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
