"""The runner refuses, when a machine is created, whatever it would not run as AWS does."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tests.workflow.stage import machine_of

from pixtune_local.workflow.definition import GET_OBJECT, INVOKE, InvalidDefinition, load

END = {"Type": "Succeed"}
WORK = {
    "Type": "Task",
    "Resource": INVOKE,
    "Arguments": {"FunctionName": "work", "Payload": {}},
    "TimeoutSeconds": 5,
    "End": True,
}
RULE = {"Condition": "{% true %}", "Next": "B"}


def problems(states: Any, start: str | None = None) -> str:
    with pytest.raises(InvalidDefinition) as refusal:
        machine_of(states, start)
    return "\n".join(refusal.value.problems)


def work(**fields: Any) -> dict[str, Any]:
    return copy.deepcopy(WORK) | fields


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({"A": {"Type": "Parallel", "Branches": [], "End": True}}, "Type Parallel"),
        ({"A": work(HeartbeatSeconds=5)}, "HeartbeatSeconds"),
        ({"A": work(Parameters={})}, "Parameters"),
        ({"A": work(Resource="arn:aws:states:::sqs:sendMessage")}, "sqs:sendMessage"),
        ({"A": work(Arguments={"FunctionName": "w", "Payload": {}, "Qualifier": "1"})}, "Qualifier"),
        ({"A": work(Arguments={"FunctionName": "${Work}", "Payload": {}})}, "not substituted"),
        ({"A": work(TimeoutSeconds=0)}, "TimeoutSeconds"),
        ({"A": work(TimeoutSeconds="5")}, "TimeoutSeconds"),
        ({"A": {"Type": "Wait", "Timestamp": "2026-01-01T00:00:00Z", "End": True}}, "Timestamp"),
        ({"A": {"Type": "Wait", "Seconds": -1, "End": True}}, "Seconds"),
        ({"A": {"Type": "Choice", "Choices": []}, "B": END}, "must not be empty"),
        ({"A": {"Type": "Choice", "Choices": [{"Variable": "$.x", "Next": "B"}]}, "B": END}, "Variable"),
        ({"A": work(Next="B")}, "exactly one of Next and End"),
        ({"A": {"Type": "Wait", "Seconds": 1}}, "exactly one of Next and End"),
        ({"A": {"Type": "Wait", "Seconds": 1, "Next": "B"}}, "'B', which does not exist"),
        ({"A": {"Type": "Choice", "Choices": [RULE], "Default": "C"}, "B": END}, "'C', which does not exist"),
        ({"A": work(Catch=[{"ErrorEquals": ["E"], "Next": "C"}])}, "'C', which does not exist"),
        ({"A": END, "B": END}, "B: cannot be reached"),
        (
            {"A": {"Type": "Choice", "Choices": [RULE]}, "B": {"Type": "Wait", "Seconds": 1, "Next": "A"}},
            "none of them",
        ),
        ({"A": work(Catch=[{"ErrorEquals": ["States.ALL", "E"], "Next": "B"}]), "B": END}, "alone and last"),
        ({"A": work(Retry=[{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}])}, "alone and last"),
        ({"A": work(Retry=[{"ErrorEquals": []}])}, "list of error names"),
        ({"A": work(Retry=[{"ErrorEquals": ["E"], "IntervalSeconds": "{% 1 %}"}])}, "cannot be an expression"),
        ({"A": work(Retry=[{"ErrorEquals": ["E"], "JitterStrategy": "HALF"}])}, "NONE or FULL"),
        ({"A": work(Retry=[{"ErrorEquals": ["E"], "BackoffRate": 0.5}])}, "BackoffRate"),
        ({"A": work(Retry=[{"ErrorEquals": ["E"], "MaxDelaySeconds": 0}])}, "MaxDelaySeconds"),
        ({"A": {"Type": "Succeed", "Output": "{% 1 + %}"}}, "is not JSONata"),
        ({"A": {"Type": "Succeed", "Output": "{% 1 + 1"}}, "only one of the two marks"),
        ({"A": {"Type": "Succeed", "Output": "{% $nobody %}"}}, "$nobody, which no state assigns"),
        ({"A": {"Type": "Succeed", "Output": "{% $eval('1') %}"}}, "$eval"),
        ({"A": {"Type": "Succeed", "Output": "{% $uuid() %}"}}, "$uuid"),
        ({"A": work(Assign={"states": 1})}, "assigns $states"),
        ({"A": work(Assign="text")}, "A/Assign: must be an object"),
        ({"A": work(Catch={"ErrorEquals": ["E"], "Next": "B"})}, "A/Catch: must be a list"),
        ({"A": {"Type": "Choice", "Choices": ["B"]}, "B": END}, "A/Choices[0]: must be an object"),
        ({"A": {"Type": "Map", "ItemProcessor": [], "End": True}}, "A/ItemProcessor: must be an object"),
        ({"A": {"Type": "Choice", "Choices": [{"Condition": "{% true %}"}]}, "B": END}, "lacks Next"),
        ({"A": work(Assign={"sum": 1})}, "assigns $sum"),
    ],
)
def test_a_definition_is_refused_with_the_place_and_the_reason(states: Any, said: str) -> None:
    assert said in problems(states)


def test_all_problems_are_told_at_once() -> None:
    found = problems({"A": work(HeartbeatSeconds=1, Next="C"), "B": {"Type": "Pass", "End": True}})
    assert len(found.splitlines()) >= 4


def test_the_start_must_exist() -> None:
    assert "no state 'Z'" in problems({"A": END}, "Z")


def test_a_map_is_checked_inside() -> None:
    inner = {"X": {"Type": "Wait", "Seconds": 1, "Next": "Y"}}
    found = problems({"M": {"Type": "Map", "ItemProcessor": {"StartAt": "X", "States": inner}, "End": True}})
    assert "M/X: goes on to 'Y'" in found


READER = {
    "Resource": GET_OBJECT,
    "ReaderConfig": {"InputType": "JSON"},
    "Arguments": {"Bucket": "b", "Key": "{% $states.input %}"},
}


def distributed(states: Any, **fields: Any) -> dict[str, Any]:
    config = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    processor = {"ProcessorConfig": config, "StartAt": next(iter(states)), "States": states}
    return {"Type": "Map", "ItemProcessor": processor, "ItemReader": copy.deepcopy(READER), "End": True} | fields


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Items": "{% [1] %}"}, "both Items and ItemReader"),
        ({"ItemReader": READER | {"Resource": "arn:aws:states:::s3:listObjectsV2"}}, "only a JSON array"),
        ({"ItemReader": READER | {"ReaderConfig": {"InputType": "CSV"}}}, "only a JSON array"),
        ({"ItemReader": {"Resource": GET_OBJECT, "ReaderConfig": {"InputType": "JSON"}}}, "lacks Arguments"),
        ({"ItemReader": READER | {"Arguments": {"Bucket": "b"}}}, "lacks Key"),
        ({"ToleratedFailurePercentage": 10}, "ToleratedFailurePercentage"),
        ({"ResultWriter": {}}, "ResultWriter"),
        ({"Label": "parts"}, "Label"),
    ],
)
def test_a_distributed_map_is_refused_where_it_would_be_run_otherwise(changes: Any, said: str) -> None:
    assert said in problems({"M": distributed({"X": END}, **changes)})


def test_a_child_execution_of_another_type_and_a_reader_of_an_inline_map_are_refused() -> None:
    state = distributed({"X": END})
    state["ItemProcessor"]["ProcessorConfig"] = {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}
    assert "'ExecutionType': 'STANDARD'" in problems({"M": state})
    state["ItemProcessor"]["ProcessorConfig"] = {"Mode": "INLINE"}
    assert "belongs to a distributed Map" in problems({"M": state})


def test_a_child_execution_sees_no_variable_of_its_parent() -> None:
    before = {"Type": "Wait", "Seconds": 0, "Assign": {"v": 1}, "Next": "M"}
    child = {"X": {"Type": "Succeed", "Output": "{% $v %}"}}
    assert "uses $v, which no state assigns" in problems({"A": before, "M": distributed(child)})
    own = {"X": {"Type": "Wait", "Seconds": 0, "Assign": {"v": 2}, "End": True}}
    machine_of({"A": before, "M": distributed(own)})


def test_an_inner_state_may_not_assign_an_outer_variable() -> None:
    inner = {"X": {"Type": "Wait", "Seconds": 1, "Assign": {"v": 2}, "End": True}}
    outer = {"Type": "Map", "ItemProcessor": {"StartAt": "X", "States": inner}, "Assign": {"v": 1}, "End": True}
    assert "assigns $v, a name that belongs to the scope around it" in problems({"M": outer})


def test_an_outer_state_cannot_use_an_inner_variable() -> None:
    inner = {"X": {"Type": "Wait", "Seconds": 1, "Assign": {"v": 2}, "End": True}}
    outer = {"Type": "Map", "ItemProcessor": {"StartAt": "X", "States": inner}, "Output": "{% $v %}", "End": True}
    assert "uses $v" in problems({"M": outer})


def test_names_bound_inside_an_expression_are_its_own() -> None:
    machine_of({"A": {"Type": "Succeed", "Output": "{% ($x := 1; $map([1], function($v) { $v + $x })) %}"}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps({"StartAt": "A", "States": {"A": END}}), "only JSONata"),
        (
            json.dumps({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": END}, "TimeoutSeconds": 9}),
            "Timeout",
        ),
    ],
)
def test_a_document_that_is_no_jsonata_machine_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said):
        load(text)
