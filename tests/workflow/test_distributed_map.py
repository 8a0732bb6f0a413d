"""The runner's Distributed Map against the Step Functions developer guide ("Using Map state in Distributed mode")."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import botocore.session
from tests.workflow.stage import Function, Json, Raised, Stage, machine_of

from pixtune_local.workflow.definition import GET_OBJECT, INVOKE

END = {"Type": "Succeed"}


def child_task(payload: Json = "{% $states.input %}") -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": INVOKE,
        "Arguments": {"FunctionName": "work", "Payload": payload},
        "Output": "{% $states.result.Payload %}",
        "End": True,
    }


def distributed(states: Json, **fields: Any) -> dict[str, Any]:
    return {
        "Type": "Map",
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": next(iter(states)),
            "States": states,
        },
        "ItemReader": {
            "Resource": GET_OBJECT,
            "ReaderConfig": {"InputType": "JSON"},
            "Arguments": {"Bucket": "b", "Key": "{% $states.input.key %}"},
        },
        "End": True,
    } | fields


def play(states: Json, items: Json, **functions: Function) -> Stage:
    stage = Stage(machine_of(states), functions)
    stage.objects["b", "items.json"] = items if isinstance(items, bytes) else json.dumps(items).encode()
    stage.run({"key": "items.json"})
    return stage


def output_of(stage: Stage) -> Json:
    assert stage.execution.status == "SUCCEEDED", (stage.execution.error, stage.execution.cause)
    return json.loads(stage.execution.output or "")


def test_items_come_from_an_object_and_results_in_their_order() -> None:
    async def work(payload: Json) -> Json:
        await asyncio.sleep(payload)
        return payload * 10

    assert output_of(play({"M": distributed({"A": child_task()})}, [3, 1, 2], work=work)) == [30, 10, 20]


def test_a_childs_execution_input_is_its_item_and_its_name_its_own() -> None:
    selector = {"run": "{% $states.context.Execution.Input.key %}", "n": "{% $states.context.Map.Item.Value %}"}
    context = {"A": {"Type": "Succeed", "Output": "{% $states.context %}"}}
    first, second = output_of(play({"M": distributed(context, ItemSelector=selector)}, [1, 2]))
    assert [one["Execution"]["Input"] for one in (first, second)] == [
        {"run": "items.json", "n": 1},
        {"run": "items.json", "n": 2},
    ]
    assert first["Execution"]["Name"] != second["Execution"]["Name"]
    assert first["Execution"]["Id"].startswith("arn:aws:states:us-east-1:000000000000:execution:training/M:")
    assert first["StateMachine"]["Id"] == "arn:aws:states:us-east-1:000000000000:stateMachine:training/M"
    assert "Map" not in first


def test_children_write_nothing_into_their_parents_history() -> None:
    stage = play({"M": distributed({"A": child_task()})}, list(range(50)), work=lambda _: {})
    assert stage.kinds() == [
        "ExecutionStarted",
        "MapStateEntered",
        "MapStateStarted",
        "MapRunStarted",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ]
    members: Any = botocore.session.get_session().get_service_model("stepfunctions").shape_for("HistoryEvent")
    assert set(stage.kinds()) <= set(members.members["type"].enum)
    assert {key for event in stage.execution.history.events for key in event} <= set(members.members)


def test_no_more_children_run_at_once_than_may() -> None:
    running: list[int] = []
    most: list[int] = []

    async def work(payload: Json) -> Json:
        running.append(payload)
        most.append(len(running))
        await asyncio.sleep(10)
        running.remove(payload)
        return {}

    stage = play({"M": distributed({"A": child_task()}, MaxConcurrency=2)}, [1, 2, 3, 4, 5], work=work)
    assert max(most) == 2
    assert stage.loop.time() == 30


def test_a_child_that_fails_fails_the_map_under_one_name_and_aborts_the_others() -> None:
    async def work(payload: Json) -> Json:
        await asyncio.sleep(payload)
        if payload == 1:
            raise Raised("Broken")
        return {}

    stage = play({"M": distributed({"A": child_task()}, MaxConcurrency=2)}, [5, 1, 2], work=work)
    assert stage.execution.error == "States.ExceedToleratedFailureThreshold"
    assert stage.loop.time() == 1
    assert len(stage.calls) == 2
    assert stage.kinds()[-3:] == ["MapRunFailed", "MapStateFailed", "ExecutionFailed"]


def test_a_list_that_is_not_there_or_no_list_is_a_failure_of_the_reader_and_can_be_caught() -> None:
    catch = [{"ErrorEquals": ["States.ItemReaderFailed"], "Next": "B"}]
    states = {"M": distributed({"A": END}, Catch=catch), "B": {"Type": "Succeed", "Output": "caught"}}
    assert output_of(play(states, b"{}")) == "caught"
    assert output_of(play(states, b"no json")) == "caught"
    stage = Stage(machine_of(states), {})
    stage.run({"key": "missing.json"})
    assert output_of(stage) == "caught"


def test_what_the_children_answer_is_a_payload_like_any_other() -> None:
    stage = play({"M": distributed({"A": child_task()}, Output={})}, list(range(30)), work=lambda _: "x" * 10_000)
    assert stage.execution.error == "States.DataLimitExceeded"


def test_stopping_reaches_the_children() -> None:
    async def work(_: Json) -> Json:
        await asyncio.sleep(1000)

    stage = Stage(machine_of({"M": distributed({"A": child_task()})}), {"work": work})
    stage.objects["b", "items.json"] = b"[1, 2]"
    assert stage.run({"key": "items.json"}, stop_after=3).status == "ABORTED"
    assert stage.loop.time() == 3
