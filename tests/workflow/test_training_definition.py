"""What every state of infra/training.asl.json must have, whatever it does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.workflow.stage import TRAINING, training_machine

from pixtune_local.workflow.definition import INVOKE, INVOKE_AND_WAIT, targets
from pixtune_local.workflow.faults import matches

State = dict[str, Any]

# Lambda's own transient errors and the ends of a process that died (infra/decisions/0002).
SERVICE_ERRORS = [
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.TooManyRequestsException",
]
CRASHES = ["Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout"]
OUR_FAULTS = [
    "DatasetNotReady",
    "DatasetEmpty",
    "UploadsNotSettled",
    "ProviderRefused",
    "ProviderJobEnded",
    "FenceLost",
]
ASKS_A_PROVIDER = {
    "CheckReadiness",
    "UploadFiles",
    "UploadPart",
    "LaunchTraining",
    "RecordCheckpoints",
    "ActivateModel",
    "EvaluateCheckpoint",
    "ReleaseModel",
    "ActivateChosen",
    "PromoteModel",
}
WAITS = {"PollTraining", "AwaitApproval"}  # for their token to be answered
ORDER = [
    "SettleUploads",
    "PublishDataset",
    "CheckReadiness",
    "AwaitApproval",
    "UploadFiles",
    "UploadPart",
    "LaunchTraining",
    "PollTraining",
    "RecordCheckpoints",
    "ActivateModel",
    "EvaluateCheckpoint",
    "ReleaseModel",
    "ChooseCheckpoint",
    "ActivateChosen",
    "PromoteModel",
    "RecordFailure",
]


def states_of(scope: State) -> Iterator[tuple[str, State]]:
    for name, state in scope["States"].items():
        yield name, state
        if state["Type"] == "Map":
            yield from states_of(state["ItemProcessor"])


DOCUMENT = json.loads(TRAINING.read_text())
STATES = dict(states_of(DOCUMENT))
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
each_task = pytest.mark.parametrize("name", TASKS)


def test_the_runner_can_run_it() -> None:
    assert training_machine().start_at == "SettleUploads"


def test_the_tasks_are_those_of_the_design_in_its_order() -> None:
    assert list(TASKS) == ORDER


@each_task
def test_every_task_invokes_the_function_of_its_name(name: str) -> None:
    function = "ActivateModel" if name == "ActivateChosen" else name
    assert TASKS[name]["Arguments"]["FunctionName"] == "${" + function + "}"
    assert TASKS[name]["Resource"] == (INVOKE_AND_WAIT if name in WAITS else INVOKE)


@each_task
def test_every_payload_says_which_attempt_of_which_run(name: str) -> None:
    payload = TASKS[name]["Arguments"]["Payload"]
    assert payload["run_id"] == "{% $states.context.Execution.Input.run_id %}"
    assert payload["attempt"] == "{% $states.context.Execution.Input.attempt %}"


@each_task
def test_what_goes_on_is_the_functions_answer_or_the_input_and_not_lambdas_envelope(name: str) -> None:
    if name not in WAITS:  # whose result is what its token was answered with
        assert TASKS[name]["Output"] in ("{% $states.result.Payload %}", "{% $states.input %}")


@each_task
def test_every_task_has_a_timeout_and_catches_everything(name: str) -> None:
    assert "TimeoutSeconds" in TASKS[name]
    assert TASKS[name]["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@each_task
@pytest.mark.parametrize("error", SERVICE_ERRORS + CRASHES)
def test_every_task_comes_again_after_an_error_of_lambda_itself(name: str, error: str) -> None:
    rule = next(rule for rule in TASKS[name]["Retry"] if matches(rule["ErrorEquals"], error))
    assert rule["JitterStrategy"] == "FULL"
    assert rule["BackoffRate"] == 2


@each_task
@pytest.mark.parametrize("error", OUR_FAULTS)
def test_no_task_comes_again_after_a_fault_of_our_own(name: str, error: str) -> None:
    assert not any(matches(rule["ErrorEquals"], error) for rule in TASKS[name]["Retry"])


@each_task
def test_a_provider_that_is_away_is_asked_again_where_a_provider_is_asked(name: str) -> None:
    rules = [rule for rule in TASKS[name]["Retry"] if matches(rule["ErrorEquals"], "ProviderUnavailable")]
    assert bool(rules) == (name in ASKS_A_PROVIDER)
    assert all(rule["JitterStrategy"] == "FULL" and rule["MaxDelaySeconds"] == 300 for rule in rules)


@each_task
def test_a_timeout_is_retried_except_where_it_is_the_next_poll_or_an_answer(name: str) -> None:
    retried = any(matches(rule["ErrorEquals"], "States.Timeout") for rule in TASKS[name]["Retry"])
    assert retried == (name not in WAITS)


def test_every_failure_ends_in_record_failure_and_then_in_a_fail() -> None:
    outer = DOCUMENT["States"]
    for name, state in outer.items():
        for rule in state.get("Catch", []):
            if rule["ErrorEquals"] == ["States.ALL"]:
                assert rule["Next"] == ("TrainingFailed" if name == "RecordFailure" else "RecordFailure"), name
    assert targets(outer["RecordFailure"]) == ["TrainingFailed", "TrainingFailed"]
    assert outer["TrainingFailed"]["Type"] == "Fail"


def test_whatever_leads_to_record_failure_says_what_failed() -> None:
    for name, state in DOCUMENT["States"].items():
        for rule in [*state.get("Catch", []), *state.get("Choices", [])]:
            if rule["Next"] == "RecordFailure":
                assert "failure" in rule["Assign"], name
        if state.get("Default") == "RecordFailure":
            assert "failure" in state["Assign"], name


def test_an_iteration_never_fails_so_that_no_other_is_aborted_before_it_releases() -> None:
    parts = DOCUMENT["States"]["UploadParts"]["ItemProcessor"]["States"]
    assert {state["Type"] for state in parts.values()} == {"Task", "Succeed"}
    inner = DOCUMENT["States"]["EvaluateCheckpoints"]["ItemProcessor"]["States"]
    assert not [name for name, state in inner.items() if state["Type"] == "Fail"]
    assert {inner[name]["Catch"][-1]["Next"] for name in ("ActivateModel", "EvaluateCheckpoint")} == {"ReleaseModel"}
    assert inner["ReleaseModel"]["Catch"][-1]["Next"] == "CheckpointDone"


def test_a_task_waits_longer_than_its_function_may_run() -> None:
    """Otherwise a second try would run beside the first."""
    timeouts = function_timeouts(Path(__file__).parents[2] / "template.yaml")
    for name, task in TASKS.items():
        if name not in WAITS:  # their timeouts are parameters, which the template keeps above the functions'
            function = task["Arguments"]["FunctionName"][2:-1]
            assert task["TimeoutSeconds"] > timeouts.get(function, timeouts["Globals"]), name


def function_timeouts(template: Path) -> dict[str, int]:
    """Timeout by logical id, and the default under Globals; read as text, for YAML's tags are CloudFormation's."""
    found: dict[str, int] = {}
    owner = "Globals"
    for line in template.read_text().splitlines():
        if entry := re.match(r"  (\w+):$", line):
            owner = entry[1] if entry[1] != "Function" else "Globals"
        if timeout := re.match(r"    (?:  )?Timeout: (\d+)", line):
            found[owner] = int(timeout[1])
    return found


def test_every_state_says_why_it_is_there() -> None:
    assert not [name for name, state in STATES.items() if not state.get("Comment")]
