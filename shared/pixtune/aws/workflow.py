"""The state machine: executions started, waiting tasks answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

# The task was answered before, or its turn is over: whoever did that did what we came for.
_SETTLED = frozenset({"TaskTimedOut", "InvalidToken", "TaskDoesNotExist"})
_CAUSE_CHARACTERS = 32_768  # what SendTaskFailure takes


class StepFunctions:
    """`training.ports.Workflow` on Step Functions. `machine`: the state machine's ARN."""

    def __init__(self, client: SFNClient, machine: str) -> None:
        self._client = client
        self._machine = machine

    def start(self, run_id: str, attempt: int) -> None:
        try:
            self._client.start_execution(
                stateMachineArn=self._machine,
                name=f"{run_id}-{attempt}",
                input=json.dumps({"run_id": run_id, "attempt": attempt}),
            )
        except self._client.exceptions.ExecutionAlreadyExists:
            return

    def stop(self, run_id: str, attempt: int, cause: str) -> None:
        self._client.stop_execution(executionArn=self._execution(run_id, attempt), cause=cause)

    def _execution(self, run_id: str, attempt: int) -> str:
        return self._machine.replace(":stateMachine:", ":execution:") + f":{run_id}-{attempt}"

    def ended_badly(self, run_id: str, attempt: int) -> str | None:
        try:
            status = self._client.describe_execution(executionArn=self._execution(run_id, attempt))["status"]
        except self._client.exceptions.ExecutionDoesNotExist:
            return None
        return status if status in ("FAILED", "TIMED_OUT", "ABORTED") else None

    def succeed(self, task_token: str, output: Mapping[str, Any]) -> None:
        try:
            self._client.send_task_success(taskToken=task_token, output=json.dumps(output))
        except ClientError as error:
            _pass_if_settled(error)

    def fail(self, task_token: str, error: str, cause: str) -> None:
        try:
            self._client.send_task_failure(taskToken=task_token, error=error, cause=cause[:_CAUSE_CHARACTERS])
        except ClientError as refusal:
            _pass_if_settled(refusal)


def _pass_if_settled(error: ClientError) -> None:
    if error.response["Error"]["Code"] not in _SETTLED:
        raise error
