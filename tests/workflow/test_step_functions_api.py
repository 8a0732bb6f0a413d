"""The runner behind MiniStack's Step Functions API, as boto3 and the event bus see it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from tests.workflow.stage import TRAINING

from pixtune_local.workflow.definition import INVOKE, INVOKE_AND_WAIT

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-cloud" / "bin" / "python"
ROLE = "arn:aws:iam::000000000000:role/training"

pytestmark = pytest.mark.e2e

# boto3's clients and answers.
Client = Any
Json = Any


def until(found: Callable[[], Json], seconds: float = 20) -> Json:
    """What `found` answers, as soon as it is something."""
    deadline = time.monotonic() + seconds
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("emulator")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'infra' / 'local'}:{ROOT}"}
    command = [str(PYTHON), str(Path(__file__).with_name("emulator.py")), str(port), str(folder)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            connect("stepfunctions", url).list_state_machines()
        except EndpointConnectionError:
            return False
        return True

    trust = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
    try:
        until(answers)
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        connect("iam", url).create_role(RoleName="training", AssumeRolePolicyDocument=document)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def connect(service: str, url: str) -> Client:
    return boto3.client(
        service,  # type: ignore[call-overload]  # the name is a variable here
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 1}, inject_host_prefix=False),
    )


@pytest.fixture(scope="module")
def states(endpoint: str) -> Client:
    return connect("stepfunctions", endpoint)


@pytest.fixture
def create(states: Client, request: pytest.FixtureRequest) -> Callable[[Json], str]:
    """Makes a machine of these states and answers its ARN."""

    def make(machine: Json) -> str:
        name = re.sub(r"\W", "-", request.node.name)[:80]
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(machine)), "States": machine}
        answer = states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
        return str(answer["stateMachineArn"])

    return make


def task(function: str, resource: str = INVOKE, **fields: Json) -> Json:
    payload = {"in": "{% $states.input %}"}
    if resource == INVOKE_AND_WAIT:
        payload["token"] = "{% $states.context.Task.Token %}"
    following = {} if "Next" in fields else {"End": True}
    arguments = {"FunctionName": function, "Payload": payload}
    return {"Type": "Task", "Resource": resource, "Arguments": arguments} | following | fields


def ended(states: Client, execution: str) -> Json:
    def found() -> Json:
        answer = states.describe_execution(executionArn=execution)
        return answer if answer["status"] != "RUNNING" else None

    return until(found)


def token_of(states: Client, execution: str) -> str:
    def found() -> str | None:
        events = states.get_execution_history(executionArn=execution, maxResults=1000)["events"]
        if not any(event["type"] == "TaskSubmitted" for event in events):
            return None
        scheduled = next(event for event in events if event["type"] == "TaskScheduled")
        return str(json.loads(scheduled["taskScheduledEventDetails"]["parameters"])["Payload"]["token"])

    return str(until(found))


def code_of(call: Callable[[], Json]) -> str:
    with pytest.raises(ClientError) as refusal:
        call()
    return str(refusal.value.response["Error"]["Code"])


def test_an_execution_runs_to_its_output(states: Client, create: Callable[[Json], str]) -> None:
    machine = create({"A": task("echo", Output="{% $states.result.Payload %}")})
    execution = states.start_execution(stateMachineArn=machine, name="one", input='{"x": 1}')["executionArn"]
    answer = ended(states, execution)
    assert (answer["status"], json.loads(answer["output"])) == ("SUCCEEDED", {"in": {"x": 1}})
    history = states.get_execution_history(executionArn=execution)["events"]
    assert [event["type"] for event in history] == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    assert [event["previousEventId"] for event in history] == [0, 0, 2, 3, 4, 5, 6]
    assert states.list_executions(stateMachineArn=machine)["executions"][0]["status"] == "SUCCEEDED"


def test_a_functions_exception_keeps_its_name(states: Client, create: Callable[[Json], str]) -> None:
    execution = states.start_execution(stateMachineArn=create({"A": task("broken")}))["executionArn"]
    answer = ended(states, execution)
    assert (answer["status"], answer["error"]) == ("FAILED", "DatasetNotReady")
    assert json.loads(answer["cause"])["errorMessage"] == "row 3"
    assert "output" not in answer


def test_an_invocation_that_breaks_is_an_error_of_the_service(states: Client, create: Callable[[Json], str]) -> None:
    execution = states.start_execution(stateMachineArn=create({"A": task("bug")}))["executionArn"]
    assert ended(states, execution)["error"] == "Lambda.SdkClientException"


def test_a_deployed_function_is_invoked_by_its_arn(
    endpoint: str, states: Client, create: Callable[[Json], str]
) -> None:
    source = "def handler(event, context):\n    return {'double': event['in'] * 2, 'by': context.function_name}\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("handler.py", source)
    functions = connect("lambda", endpoint)
    arn = functions.create_function(
        FunctionName="double",
        Runtime="python3.11",
        Handler="handler.handler",
        Role=ROLE,
        Code={"ZipFile": archive.getvalue()},
    )["FunctionArn"]
    machine = create({"A": task(arn, Output="{% $states.result.Payload %}")})
    execution = states.start_execution(stateMachineArn=machine, input="21")["executionArn"]
    assert json.loads(ended(states, execution)["output"]) == {"double": 42, "by": "double"}
    failing = states.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
    assert "unsupported operand" in ended(states, failing)["cause"]


def test_a_function_that_does_not_exist_is_told_by_lambdas_name(
    states: Client, create: Callable[[Json], str]
) -> None:
    execution = states.start_execution(stateMachineArn=create({"A": task("nobody")}))["executionArn"]
    assert ended(states, execution)["error"] == "Lambda.ResourceNotFoundException"


def test_a_start_repeated_while_it_runs_is_the_same_execution(states: Client, create: Callable[[Json], str]) -> None:
    machine = create({"A": {"Type": "Wait", "Seconds": 60, "End": True}})
    first = states.start_execution(stateMachineArn=machine, name="run-1", input='{"a":1}')
    again = states.start_execution(stateMachineArn=machine, name="run-1", input='{"a": 1}')
    assert (again["executionArn"], again["startDate"]) == (first["executionArn"], first["startDate"])
    other = {"stateMachineArn": machine, "name": "run-1", "input": '{"a": 2}'}
    assert code_of(lambda: states.start_execution(**other)) == "ExecutionAlreadyExists"
    states.stop_execution(executionArn=first["executionArn"])
    ended_too = {"stateMachineArn": machine, "name": "run-1", "input": '{"a": 1}'}
    assert code_of(lambda: states.start_execution(**ended_too)) == "ExecutionAlreadyExists"


def test_stopping_interrupts_a_wait_at_once(states: Client, create: Callable[[Json], str]) -> None:
    machine = create({"A": {"Type": "Wait", "Seconds": 600, "End": True}})
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    states.stop_execution(executionArn=execution, error="Cancelled", cause="by hand")
    answer = states.describe_execution(executionArn=execution)
    assert (answer["status"], answer["error"], answer["cause"]) == ("ABORTED", "Cancelled", "by hand")
    states.stop_execution(executionArn=execution)  # again is no error
    events = states.get_execution_history(executionArn=execution, reverseOrder=True)["events"]
    assert [event["type"] for event in events].count("ExecutionAborted") == 1


def test_stopping_does_not_wait_for_a_function_that_runs(states: Client, create: Callable[[Json], str]) -> None:
    execution = states.start_execution(stateMachineArn=create({"A": task("slow")}))["executionArn"]
    began = time.monotonic()
    states.stop_execution(executionArn=execution)
    assert states.describe_execution(executionArn=execution)["status"] == "ABORTED"
    assert time.monotonic() - began < 10


def test_a_task_token_is_answered_once(states: Client, create: Callable[[Json], str]) -> None:
    machine = create({"A": task("silent", INVOKE_AND_WAIT)})
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    token = token_of(states, execution)
    states.send_task_heartbeat(taskToken=token)
    assert code_of(lambda: states.send_task_success(taskToken=token, output="{not json")) == "InvalidOutput"
    states.send_task_success(taskToken=token, output='{"status": "woken"}')
    assert json.loads(ended(states, execution)["output"]) == {"status": "woken"}
    assert code_of(lambda: states.send_task_success(taskToken=token, output="{}")) == "TaskTimedOut"
    assert code_of(lambda: states.send_task_failure(taskToken=token)) == "TaskTimedOut"
    assert code_of(lambda: states.send_task_heartbeat(taskToken="nobody's")) == "InvalidToken"


def test_a_task_token_may_fail_the_task(states: Client, create: Callable[[Json], str]) -> None:
    machine = create({"A": task("silent", INVOKE_AND_WAIT)})
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    states.send_task_failure(taskToken=token_of(states, execution), error="RunDeadlinePassed", cause="14 days")
    assert ended(states, execution)["error"] == "RunDeadlinePassed"


def test_a_timeout_is_kept_in_real_time(states: Client, create: Callable[[Json], str]) -> None:
    catch = [{"ErrorEquals": ["States.Timeout"], "Next": "B"}]
    machine = create({"A": task("silent", INVOKE_AND_WAIT, TimeoutSeconds=1, Catch=catch), "B": {"Type": "Succeed"}})
    answer = ended(states, states.start_execution(stateMachineArn=machine)["executionArn"])
    assert answer["status"] == "SUCCEEDED"
    assert 1 <= (answer["stopDate"] - answer["startDate"]).total_seconds() < 5


def test_what_the_runner_does_not_run_is_refused_when_it_is_created(
    states: Client, create: Callable[[Json], str]
) -> None:
    assert code_of(lambda: create({"A": {"Type": "Parallel", "Branches": [], "End": True}})) == "InvalidDefinition"
    assert code_of(lambda: create({"A": {"Type": "Wait", "Seconds": 1, "Next": "B"}})) == "InvalidDefinition"
    assert code_of(lambda: create({"A": task("echo", Output="{% 1 + %}")})) == "InvalidDefinition"


def test_an_input_that_is_not_json_is_refused(states: Client, create: Callable[[Json], str]) -> None:
    start = {"stateMachineArn": create({"A": {"Type": "Succeed"}}), "input": "{no"}
    assert code_of(lambda: states.start_execution(**start)) == "InvalidExecutionInput"


def test_the_training_workflow_is_accepted(states: Client) -> None:
    definition = re.sub(r"\$\{(\w+)\}", r"arn:aws:lambda:us-east-1:000000000000:function:\1", TRAINING.read_text())
    states.create_state_machine(name="training", definition=definition, roleArn=ROLE)
    unsubstituted = {"name": "raw", "definition": TRAINING.read_text(), "roleArn": ROLE}
    assert code_of(lambda: states.create_state_machine(**unsubstituted)) == "InvalidDefinition"


def test_every_change_of_status_is_announced_on_the_default_bus(
    endpoint: str, states: Client, create: Callable[[Json], str]
) -> None:
    events, sqs = connect("events", endpoint), connect("sqs", endpoint)
    queue = sqs.create_queue(QueueName="statuses")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.states"], "detail-type": ["Step Functions Execution Status Change"]}
    events.put_rule(Name="statuses", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="statuses", Targets=[{"Id": "queue", "Arn": arn}])
    machine = create({"A": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input.ok %}", "Next": "B"}],
                            "Default": "C"}, "B": {"Type": "Succeed"},
                      "C": {"Type": "Fail", "Error": "E", "Cause": "because"}})  # fmt: skip
    for name, given in (("good", '{"ok": true}'), ("bad", '{"ok": false}')):
        ended(states, states.start_execution(stateMachineArn=machine, name=name, input=given)["executionArn"])
    seen: list[Json] = []

    def received() -> bool:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            seen.append(json.loads(message["Body"]))
        return len([event for event in seen if event["detail"]["stateMachineArn"] == machine]) == 4

    until(received)
    ours = {
        (e["detail"]["name"], e["detail"]["status"]): e for e in seen if e["detail"]["stateMachineArn"] == machine
    }
    assert set(ours) == {("good", "RUNNING"), ("good", "SUCCEEDED"), ("bad", "RUNNING"), ("bad", "FAILED")}
    failed = ours["bad", "FAILED"]
    assert failed["resources"] == [failed["detail"]["executionArn"]]
    detail = failed["detail"]
    assert (detail["error"], detail["cause"], detail["input"]) == ("E", "because", '{"ok": false}')
    assert (detail["output"], detail["inputDetails"]) == (None, {"included": True})
    assert detail["startDate"] <= detail["stopDate"]
    assert isinstance(detail["stopDate"], int)
    assert ours["good", "SUCCEEDED"]["detail"]["output"] == '{"ok":true}'
    assert ours["good", "RUNNING"]["detail"]["stopDate"] is None
