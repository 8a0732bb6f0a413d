"""The training functions as Lambda runs them: real handlers over a simulated AWS and a real local provider."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from tests.integration.provider_rows import colour_rows, upload
from tests.integration.tables import make_tables

from pixtune.aws import clients
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.training.run import Request, Run, TrainingSettings
from pixtune_local.provider.testing import Provider

FUNCTIONS = Path(__file__).parents[2] / "functions"
MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:pixtune-training"
WEBHOOK_SECRET = "whsec_" + "c2VjcmV0" * 5
ROLE = "arn:aws:iam::123456789012:role/training"
Handler = Callable[..., dict[str, Any]]


class Context:
    """What the handlers ask of a Lambda context."""

    def get_remaining_time_in_millis(self) -> int:
        return 120_000


@dataclass
class Bench:
    """answers: (operation, parameters) of every task token answered."""

    provider: Provider
    runs: RunsTable
    answers: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def call(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function in a fresh process' state: its handler module is loaded anew."""
        spec = importlib.util.spec_from_file_location(f"{function}_handler", FUNCTIONS / function / "handler.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        handler: Handler = module.handler
        return json.loads(json.dumps(handler(event, Context())))  # type: ignore[no-any-return]  # as JSON travels

    def executions(self) -> list[str]:
        """Names of the executions started."""
        listed = clients.stepfunctions().list_executions(stateMachineArn=MACHINE)["executions"]
        return sorted(execution["name"] for execution in listed)

    def published(self, run_id: str, **changes: Any) -> Run:
        """A run with a version and uploaded files, as LaunchTraining finds it."""
        client = openai.OpenAI(base_url=self.provider.base_url, api_key=self.provider.api_key)
        settings = TrainingSettings("local", "local-vision-1", seed=7)
        run = Run(run_id, "plants", settings, 1.0, "api", run_id, version=1, version_digest=run_id)
        self.store(run)
        files = {"training": upload(client, colour_rows(12)), "validation": upload(client, colour_rows(3, seed=1))}
        self.runs.update(run_id, {"files": files, "version": 1, **changes})
        return self.runs.get(run_id)

    def store(self, run: Run) -> None:
        requests = RequestsTable(clients.dynamodb(), "requests", "runs")
        assert requests.open(Request("api", run.request_key, run.run_id, "hash", False), run, 1.0)


@contextmanager
def bench(provider: Provider, patch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """AWS, simulated, with the environment template.yaml sets."""
    variables = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "RUNS_TABLE": "runs",
        "REQUESTS_TABLE": "requests",
        "STATE_MACHINE_ARN": MACHINE,
        "DEFAULT_PROVIDER": "local",
        "PROVIDER_URLS": json.dumps({"local": provider.base_url, "openai": ""}),
        "RUN_DEADLINE_SECONDS": "1209600",
        "MONTHLY_BUDGET_USD": "",
        "MAX_RUN_USD": "",
        "MAX_LIVE_JOBS": "",
        "APPROVAL_ABOVE_USD": "",
        "APPROVAL_TIMEOUT_SECONDS": "3600",
        "MIN_MODEL_DAYS": "60",
        "MODELS_TABLE": "models",
        "QUEUE_LIMIT_SECONDS": "21600",
    }
    for name, value in variables.items():
        patch.setenv(name, value)
    # Each call to DynamoDB is atomic; the simulation of it is not, under threads.
    base: Any = BaseClient  # Any: the stubs leave the method out
    lock, call = threading.Lock(), base._make_api_call

    def one_at_a_time(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        with lock:
            return call(client, operation, parameters)

    patch.setattr(BaseClient, "_make_api_call", one_at_a_time)
    makers = (clients.dynamodb, clients.stepfunctions, clients.secretsmanager)
    with mock_aws():
        for maker in makers:
            maker.cache_clear()
        make_tables(clients.dynamodb())
        clients.dynamodb().create_table(
            TableName="models",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        secret = {"local": {"api_key": provider.api_key, "webhook_secret": WEBHOOK_SECRET}}
        arn = clients.secretsmanager().create_secret(Name="provider", SecretString=json.dumps(secret))["ARN"]
        patch.setenv("PROVIDER_SECRET_ARN", arn)
        steps = clients.stepfunctions()
        steps.create_state_machine(
            name="pixtune-training",
            definition='{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}',
            roleArn=ROLE,
        )
        made = Bench(provider, RunsTable(clients.dynamodb(), "runs"))
        for operation in ("SendTaskSuccess", "SendTaskFailure"):

            def note(params: dict[str, Any], operation: str = operation, **_: Any) -> None:
                made.answers.append((operation, params))

            steps.meta.events.register(f"provide-client-params.stepfunctions.{operation}", note)
        yield made
    for maker in makers:
        maker.cache_clear()
