"""The runner against the Amazon States Language and the Step Functions developer guide."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.workflow.stage import Function, Json, Raised, Stage, in_turn, machine_of

from pixtune_local.workflow.clock import Stalled, VirtualLoop, run_virtually
from pixtune_local.workflow.definition import INVOKE, INVOKE_AND_WAIT
from pixtune_local.workflow.faults import Fault
from pixtune_local.workflow.tokens import TokenRefused

END = {"Type": "Succeed"}


def task(name: str = "work", **fields: Any) -> dict[str, Any]:
    following = {} if "Next" in fields else {"End": True}
    return (
        {"Type": "Task", "Resource": INVOKE, "Arguments": {"FunctionName": name, "Payload": {}}} | following | fields
    )


def waiting(**fields: Any) -> dict[str, Any]:
    arguments = {"FunctionName": "work", "Payload": {"token": "{% $states.context.Task.Token %}"}}
    return task(Resource=INVOKE_AND_WAIT, Arguments=arguments, **fields)


def map_over(states: Json, **fields: Any) -> dict[str, Any]:
    processor = {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": next(iter(states)), "States": states}
    return {"Type": "Map", "ItemProcessor": processor, "End": True} | fields


def play(states: Json, given: Json = None, **functions: Function) -> Stage:
    stage = Stage(machine_of(states), functions)
    stage.run(given)
    return stage


def output_of(stage: Stage) -> Json:
    assert stage.execution.status == "SUCCEEDED", (stage.execution.error, stage.execution.cause)
    assert stage.execution.output is not None
    return json.loads(stage.execution.output)


# --- data ---------------------------------------------------------------------------------------------------------


def test_a_task_answers_the_whole_invoke_result_unless_it_says_otherwise() -> None:
    stage = play({"A": task()}, work=lambda _: {"x": 1})
    assert output_of(stage) == {"ExecutedVersion": "$LATEST", "Payload": {"x": 1}, "StatusCode": 200}


def test_output_shapes_the_result() -> None:
    stage = play(
        {"A": task(Output={"got": "{% $states.result.Payload.x %}", "kept": "text"})}, work=lambda _: {"x": 1}
    )
    assert output_of(stage) == {"got": 1, "kept": "text"}


def test_all_of_assign_sees_the_variables_as_they_were() -> None:
    states = {
        "A": {"Type": "Wait", "Seconds": 0, "Assign": {"a": 1, "b": 2}, "Next": "B"},
        "B": {"Type": "Wait", "Seconds": 0, "Assign": {"a": "{% $b %}", "b": "{% $a %}"}, "Next": "C"},
        "C": {"Type": "Succeed", "Output": ["{% $a %}", "{% $b %}"]},
    }
    assert output_of(play(states)) == [2, 1]


def test_a_states_output_does_not_see_what_the_state_assigns() -> None:
    states = {
        "A": {"Type": "Wait", "Seconds": 0, "Assign": {"a": 1}, "Next": "B"},
        "B": {"Type": "Wait", "Seconds": 0, "Assign": {"a": 2}, "Output": "{% $a %}", "Next": "C"},
        "C": END,
    }
    assert output_of(play(states)) == 1


def test_a_null_variable_is_null_and_not_undefined() -> None:
    states = {
        "A": {"Type": "Wait", "Seconds": 0, "Assign": {"a": None}, "Next": "B"},
        "B": {"Type": "Succeed", "Output": {"a": "{% $a %}", "is": "{% $a = null %}"}},
    }
    assert output_of(play(states)) == {"a": None, "is": True}


def test_numbers_stay_whole_when_they_are_whole() -> None:
    stage = play({"A": {"Type": "Succeed", "Output": ["{% 60 / 2 %}", "{% 5 / 2 %}", "{% 30 * 2 %}"]}})
    assert stage.execution.output == "[30,2.5,60]"


def test_an_array_of_one_stays_an_array() -> None:
    stage = play({"A": {"Type": "Succeed", "Output": "{% $states.input.steps %}"}}, {"steps": [{"step": 0}]})
    assert output_of(stage) == [{"step": 0}]


@pytest.mark.parametrize("expression", ["$states.input.missing", "$sum", "1 + 'a'", "1 / 0", "[$sum]"])
def test_an_expression_without_a_json_value_is_a_query_evaluation_error(expression: str) -> None:
    stage = play({"A": {"Type": "Succeed", "Output": "{% " + expression + " %}"}}, {})
    assert stage.execution.error == "States.QueryEvaluationError"
    assert "EvaluationFailed" in stage.kinds()


def test_a_task_may_catch_its_own_evaluation_error() -> None:
    states = {
        "A": task(Output="{% $states.result.none %}", Catch=[{"ErrorEquals": ["States.ALL"], "Next": "B"}]),
        "B": {"Type": "Succeed", "Output": "{% $states.input.Error %}"},
    }
    assert output_of(play(states, work=lambda _: {})) == "States.QueryEvaluationError"


def test_the_context_names_execution_machine_and_state() -> None:
    states = {"A": {"Type": "Succeed", "Output": "{% $states.context %}"}}
    context = output_of(play(states, {"run_id": "r"}))
    assert context["Execution"]["Input"] == {"run_id": "r"}
    assert context["Execution"]["Name"] == "run_1-1"
    assert context["StateMachine"]["Name"] == "training"
    assert context["State"] == {"Name": "A", "EnteredTime": "2026-01-01T00:00:00.000Z", "RetryCount": 0}


def test_a_payload_above_256_kib_fails_the_execution_and_states_all_does_not_catch_it() -> None:
    states = {"A": task(Catch=[{"ErrorEquals": ["States.ALL"], "Next": "B"}]), "B": END}
    assert play(states, work=lambda _: "x" * 262_144).execution.error == "States.DataLimitExceeded"
    assert play(states, work=lambda _: "x" * 262_000).execution.status == "SUCCEEDED"


def test_an_output_above_256_kib_is_refused_wherever_it_comes_from() -> None:
    stage = play({"A": {"Type": "Succeed", "Output": "{% $states.input & $states.input %}"}}, "x" * 200_000)
    assert stage.execution.error == "States.DataLimitExceeded"


# --- choices, waits, ends -----------------------------------------------------------------------------------------


def test_the_first_rule_that_holds_wins_with_its_own_assign_and_output() -> None:
    states = {
        "A": {
            "Type": "Choice",
            "Choices": [
                {"Condition": "{% false %}", "Next": "C"},
                {"Condition": "{% true %}", "Assign": {"a": "rule"}, "Output": 1, "Next": "B"},
                {"Condition": "{% true %}", "Next": "C"},
            ],
            "Assign": {"a": "default"},
            "Default": "C",
        },
        "B": {"Type": "Succeed", "Output": ["{% $a %}", "{% $states.input %}"]},
        "C": END,
    }
    assert output_of(play(states)) == ["rule", 1]


def test_the_states_own_assign_belongs_to_its_default() -> None:
    rule = {"Condition": "{% false %}", "Next": "B"}
    states = {
        "A": {"Type": "Choice", "Choices": [rule], "Assign": {"a": "default"}, "Default": "B"},
        "B": {"Type": "Succeed", "Output": "{% $a %}"},
    }
    assert output_of(play(states)) == "default"


def test_no_rule_and_no_default_fail() -> None:
    states = {"A": {"Type": "Choice", "Choices": [{"Condition": "{% false %}", "Next": "B"}]}, "B": END}
    assert play(states).execution.error == "States.NoChoiceMatched"


def test_a_condition_must_be_a_boolean() -> None:
    states = {"A": {"Type": "Choice", "Choices": [{"Condition": "{% 1 %}", "Next": "B"}]}, "B": END}
    assert play(states).execution.error == "States.QueryEvaluationError"


def test_wait_takes_its_seconds_from_an_expression() -> None:
    stage = play({"A": {"Type": "Wait", "Seconds": "{% $states.input.s %}", "Next": "B"}, "B": task()}, {"s": 90},
                 work=lambda _: 1)  # fmt: skip
    assert stage.times("work") == [90]


@pytest.mark.parametrize("seconds", ["{% 'x' %}", "{% -1 %}", "{% 1.5 %}", "{% true %}", "{% 100000000 %}"])
def test_wait_refuses_seconds_that_are_no_count(seconds: str) -> None:
    stage = play({"A": {"Type": "Wait", "Seconds": seconds, "Next": "B"}, "B": END})
    assert stage.execution.error == "States.QueryEvaluationError"


def test_fail_evaluates_error_and_cause() -> None:
    stage = play(
        {"A": {"Type": "Fail", "Error": "{% $states.input.e %}", "Cause": "{% 'be' & 'cause' %}"}}, {"e": "E"}
    )
    assert (stage.execution.status, stage.execution.error, stage.execution.cause) == ("FAILED", "E", "because")
    assert stage.kinds() == ["ExecutionStarted", "FailStateEntered", "ExecutionFailed"]


# --- retry and catch ----------------------------------------------------------------------------------------------


def test_retry_waits_longer_each_time_up_to_its_most() -> None:
    retry = [
        {"ErrorEquals": ["Busy"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 4, "MaxDelaySeconds": 20}
    ]
    stage = play({"A": task(Retry=retry)}, work=in_turn(*[Raised("Busy")] * 4, {}))
    assert stage.times("work") == [0, 2, 8, 26, 46]


def test_retry_defaults_are_one_second_doubling_three_times() -> None:
    stage = play({"A": task(Retry=[{"ErrorEquals": ["Busy"]}])}, work=in_turn(Raised("Busy")))
    assert stage.times("work") == [0, 1, 3, 7]
    assert stage.execution.error == "Busy"


def test_no_attempts_means_no_retry() -> None:
    stage = play({"A": task(Retry=[{"ErrorEquals": ["Busy"], "MaxAttempts": 0}])}, work=in_turn(Raised("Busy")))
    assert len(stage.calls) == 1


def test_full_jitter_waits_anything_up_to_the_delay() -> None:
    retry = [{"ErrorEquals": ["Busy"], "IntervalSeconds": 100, "MaxAttempts": 1, "JitterStrategy": "FULL"}]
    waits = []
    for seed in range(200):
        stage = Stage(machine_of({"A": task(Retry=retry)}), {"work": in_turn(Raised("Busy"), {})}, seed=seed)
        stage.run(None)
        waits.append(stage.times("work")[1])
    assert 0 <= min(waits) < 10 < 90 < max(waits) <= 100
    assert len(set(waits)) > 190


def test_each_retrier_counts_its_own_attempts() -> None:
    retry = [{"ErrorEquals": ["A"], "MaxAttempts": 1}, {"ErrorEquals": ["B"], "MaxAttempts": 2}]
    answers = [Raised("A"), Raised("B"), Raised("B"), Raised("A"), {}]
    stage = play({"A": task(Retry=retry)}, work=in_turn(*answers))
    assert (len(stage.calls), stage.execution.error) == (4, "A")


def test_attempts_count_anew_when_the_state_is_entered_again() -> None:
    states = {
        "A": task(
            Retry=[{"ErrorEquals": ["Busy"], "MaxAttempts": 1}], Output="{% $states.result.Payload %}", Next="B"
        ),
        "B": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input.more %}", "Next": "A"}], "Default": "C"},
        "C": END,
    }
    answers = [Raised("Busy"), {"more": True}, Raised("Busy"), {"more": False}]
    assert play(states, work=in_turn(*answers)).execution.status == "SUCCEEDED"


def test_a_task_can_see_how_often_it_was_retried() -> None:
    arguments = {"FunctionName": "work", "Payload": "{% $states.context.State.RetryCount %}"}
    stage = play({"A": task(Arguments=arguments, Retry=[{"ErrorEquals": ["Busy"]}])}, work=in_turn(Raised("Busy")))
    assert stage.called("work") == [0, 1, 2, 3]


def test_states_task_failed_is_anything_but_a_timeout() -> None:
    catch = [{"ErrorEquals": ["States.TaskFailed"], "Next": "B"}]
    states = {"A": task(Catch=catch, TimeoutSeconds=5), "B": END}

    async def slow(_: Json) -> Json:
        await asyncio.sleep(9)

    assert play(states, work=in_turn(Raised("Any"))).execution.status == "SUCCEEDED"
    assert play(states, work=slow).execution.error == "States.Timeout"


def test_a_catch_hands_the_error_on_and_may_assign_it() -> None:
    catch = [
        {"ErrorEquals": ["Other"], "Next": "C"},
        {"ErrorEquals": ["Known"], "Assign": {"failure": "{% $states.errorOutput %}"}, "Output": "kept", "Next": "B"},
    ]
    states = {
        "A": task(Catch=catch),
        "B": {"Type": "Succeed", "Output": ["{% $states.input %}", "{% $failure.Error %}", "{% $failure.Cause %}"]},
        "C": END,
    }
    kept, error, cause = output_of(play(states, work=in_turn(Raised("Known", "said so"))))
    assert (kept, error, json.loads(cause)["errorMessage"]) == ("kept", "Known", "said so")


def test_a_catch_without_output_passes_the_error_output() -> None:
    states = {"A": task(Catch=[{"ErrorEquals": ["States.ALL"], "Next": "B"}]), "B": END}
    assert output_of(play(states, work=in_turn(Raised("Known"))))["Error"] == "Known"


def test_a_function_that_names_no_error_type_is_lambda_unknown() -> None:
    class Mute(Stage):
        async def _invoke(self, function: str, payload: bytes) -> tuple[bytes, str | None]:
            return b'{"errorMessage": "Task timed out after 3.00 seconds"}', "Unhandled"

    stage = Mute(machine_of({"A": task()}), {})
    assert stage.run(None).error == "Lambda.Unknown"


def test_a_refusal_of_the_service_keeps_its_name() -> None:
    assert play({"A": task()}, work=in_turn(Fault("Lambda.TooManyRequestsException"))).execution.error == (
        "Lambda.TooManyRequestsException"
    )


# --- timeouts and tokens ------------------------------------------------------------------------------------------


def test_a_timeout_may_be_an_expression_and_each_attempt_has_its_own() -> None:
    async def slow(_: Json) -> Json:
        await asyncio.sleep(100)

    retry = [{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    stage = play({"A": task(TimeoutSeconds="{% $states.input.t %}", Retry=retry)}, {"t": 7}, work=slow)
    assert stage.times("work") == [0, 8]
    assert stage.kinds().count("TaskTimedOut") == 2
    assert stage.loop.time() == 15


def test_a_token_answers_for_the_task() -> None:
    def work(payload: Json) -> None:
        stage.loop.call_later(30, stage.engine.tokens.succeed, payload["token"], {"status": "woken"})

    stage = Stage(machine_of({"A": waiting()}), {"work": work})
    stage.run(None)
    assert output_of(stage) == {"status": "woken"}
    assert stage.kinds()[2:6] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"]


def test_a_token_may_be_answered_before_its_function_returns() -> None:
    async def work(payload: Json) -> None:
        stage.engine.tokens.succeed(payload["token"], 1)
        await asyncio.sleep(5)

    stage = Stage(machine_of({"A": waiting()}), {"work": work})
    stage.run(None)
    assert output_of(stage) == 1
    assert stage.loop.time() == 0


def test_a_token_may_fail_the_task_under_a_name_of_its_own() -> None:
    def work(payload: Json) -> None:
        stage.engine.tokens.fail(payload["token"], "RunDeadlinePassed", "14 days")

    stage = Stage(machine_of({"A": waiting()}), {"work": work})
    execution = stage.run(None)
    assert (execution.error, execution.cause) == ("RunDeadlinePassed", "14 days")


def test_a_function_that_fails_does_not_leave_its_token_waiting() -> None:
    assert play({"A": waiting()}, work=in_turn(Raised("Broken"))).execution.error == "Broken"


def test_the_token_of_a_function_that_failed_is_refused() -> None:
    tokens: list[str] = []

    def work(payload: Json) -> None:
        tokens.append(payload["token"])
        raise Raised("Broken")

    stage = play({"A": waiting()}, work=work)
    with pytest.raises(TokenRefused) as refusal:
        stage.engine.tokens.succeed(tokens[0], 1)
    assert refusal.value.code == "TaskTimedOut"


def test_every_attempt_has_a_new_token() -> None:
    stage = play({"A": waiting(Retry=[{"ErrorEquals": ["Busy"]}])}, work=in_turn(Raised("Busy")))
    assert len({payload["token"] for payload in stage.called("work")}) == 4


def test_a_token_is_settled_once_and_only_while_somebody_waits() -> None:
    refused: list[str] = []

    def answer_again(token: str) -> None:
        tokens = stage.engine.tokens
        for answer, said in ((tokens.succeed, (token, 2)), (tokens.fail, (token, "E", "")), (tokens.beat, (token,))):
            with pytest.raises(TokenRefused) as refusal:
                answer(*said)
            refused.append(refusal.value.code)

    def work(payload: Json) -> None:
        stage.engine.tokens.beat(payload["token"])
        stage.engine.tokens.succeed(payload["token"], 1)
        answer_again(payload["token"])  # answered, not yet taken
        stage.loop.call_later(1, answer_again, payload["token"])  # taken

    stage = Stage(
        machine_of({"A": waiting(Next="B"), "B": {"Type": "Wait", "Seconds": 2, "End": True}}), {"work": work}
    )
    assert stage.run(None).output == "1"
    assert refused == ["TaskTimedOut"] * 6
    with pytest.raises(TokenRefused) as refusal:
        stage.engine.tokens.succeed("never issued", 1)
    assert refusal.value.code == "InvalidToken"


def test_a_late_answer_to_a_timed_out_turn_is_refused() -> None:
    late: list[str] = []

    def answer(token: str) -> None:
        with pytest.raises(TokenRefused) as refusal:
            stage.engine.tokens.succeed(token, 1)
        late.append(refusal.value.code)

    def work(payload: Json) -> None:
        stage.loop.call_later(11, answer, payload["token"])

    catch = [{"ErrorEquals": ["States.Timeout"], "Next": "B"}]
    states = {"A": waiting(TimeoutSeconds=10, Catch=catch), "B": {"Type": "Wait", "Seconds": 9, "End": True}}
    stage = Stage(machine_of(states), {"work": work})
    assert stage.run(None).status == "SUCCEEDED"
    assert late == ["TaskTimedOut"]


def test_a_task_without_a_timeout_waits_99_999_999_seconds() -> None:
    stage = play({"A": waiting()}, work=lambda _: None)
    assert stage.execution.error == "States.Timeout"
    assert stage.loop.time() == 99_999_999


def test_the_virtual_clock_says_so_when_nothing_can_happen_any_more() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled):
        run_virtually(VirtualLoop(), wait())


# --- map ----------------------------------------------------------------------------------------------------------


def test_a_map_answers_in_the_items_order_whatever_ends_first() -> None:
    async def work(payload: Json) -> Json:
        await asyncio.sleep(payload["n"])
        return payload["n"]

    each = task(
        Arguments={"FunctionName": "work", "Payload": {"n": "{% $states.input %}"}},
        Output="{% $states.result.Payload %}",
    )
    assert output_of(play({"M": map_over({"A": each})}, [3, 1, 2], work=work)) == [3, 1, 2]


def test_a_map_runs_no_more_at_once_than_it_may_and_in_order() -> None:
    running: list[int] = []
    most: list[int] = []

    async def work(payload: Json) -> Json:
        running.append(payload["n"])
        most.append(len(running))
        await asyncio.sleep(10)
        running.remove(payload["n"])

    each = task(Arguments={"FunctionName": "work", "Payload": {"n": "{% $states.input %}"}})
    stage = play({"M": map_over({"A": each}, MaxConcurrency=2)}, [1, 2, 3, 4, 5], work=work)
    assert max(most) == 2
    assert [payload["n"] for payload in stage.called("work")] == [1, 2, 3, 4, 5]
    assert stage.loop.time() == 30


def test_an_item_selector_sees_the_item_and_the_maps_input() -> None:
    selector = {
        "i": "{% $states.context.Map.Item.Index %}",
        "v": "{% $states.context.Map.Item.Value %}",
        "all": "{% $count($states.input.items) %}",
    }
    states = {"M": map_over({"A": END}, Items="{% $states.input.items %}", ItemSelector=selector)}
    assert output_of(play(states, {"items": ["a", "b"]})) == [
        {"i": 0, "v": "a", "all": 2},
        {"i": 1, "v": "b", "all": 2},
    ]


def test_variables_of_an_iteration_stay_inside_and_outer_ones_can_be_read() -> None:
    inner = {
        "A": {"Type": "Wait", "Seconds": 0, "Assign": {"mine": "{% $states.input + $base %}"}, "Next": "B"},
        "B": {"Type": "Succeed", "Output": "{% $mine %}"},
    }
    states = {
        "S": {"Type": "Wait", "Seconds": 0, "Assign": {"base": 10}, "Next": "M"},
        "M": map_over(inner) | {"Assign": {"all": "{% $states.result %}"}, "Next": "E"},
        "E": {"Type": "Succeed", "Output": "{% $all %}"},
    }
    del states["M"]["End"]
    assert output_of(play(states, [1, 2])) == [11, 12]


def test_iterations_do_not_see_each_others_variables() -> None:
    inner = {
        "A": {"Type": "Wait", "Seconds": 0, "Assign": {"mine": "{% $states.input %}"}, "Next": "B"},
        "B": {"Type": "Wait", "Seconds": 5, "Next": "C"},
        "C": {"Type": "Succeed", "Output": "{% $mine %}"},
    }
    assert output_of(play({"M": map_over(inner)}, [1, 2, 3])) == [1, 2, 3]


def test_the_first_failing_iteration_fails_the_map_and_aborts_the_others() -> None:
    async def work(payload: Json) -> Json:
        await asyncio.sleep(payload["n"])
        if payload["n"] == 1:
            raise Raised("Broken")

    each = task(Arguments={"FunctionName": "work", "Payload": {"n": "{% $states.input %}"}})
    stage = play({"M": map_over({"A": each}, MaxConcurrency=2)}, [5, 1, 2], work=work)
    assert stage.execution.error == "Broken"
    assert stage.loop.time() == 1
    assert len(stage.calls) == 2
    assert {"MapIterationFailed", "MapIterationAborted", "TaskStateAborted", "MapStateFailed"} <= set(stage.kinds())


def test_a_map_of_nothing_is_nothing() -> None:
    assert output_of(play({"M": map_over({"A": END})}, [])) == []


def test_items_must_be_an_array_and_a_map_can_catch_that() -> None:
    states = {"M": map_over({"A": END}, Catch=[{"ErrorEquals": ["States.ALL"], "Next": "B"}]), "B": END}
    assert output_of(play(states, {"not": "a list"}))["Error"] == "States.QueryEvaluationError"


# --- the execution ------------------------------------------------------------------------------------------------


def test_stopping_interrupts_a_wait() -> None:
    stage = Stage(machine_of({"A": {"Type": "Wait", "Seconds": 1000, "End": True}}), {})
    assert stage.run(None, stop_after=3).status == "ABORTED"
    assert stage.loop.time() == 3
    assert stage.kinds()[-2:] == ["WaitStateAborted", "ExecutionAborted"]


def test_stopping_reaches_into_a_map() -> None:
    stage = Stage(machine_of({"M": map_over({"A": waiting()})}), {"work": lambda _: None})
    assert stage.run([1, 2], stop_after=3).status == "ABORTED"
    assert stage.kinds().count("MapIterationAborted") == 2


def test_an_execution_ends_at_its_last_event() -> None:
    states = {"A": {"Type": "Wait", "Seconds": 1, "Next": "B"}, "B": {"Type": "Wait", "Seconds": 1, "Next": "A"},
              "C": END}  # fmt: skip
    del states["C"]
    states["B"] = {"Type": "Choice", "Choices": [{"Condition": "{% false %}", "Next": "C"}], "Default": "A"}
    stage = Stage(machine_of(states | {"C": END}), {}, limit=1000)
    execution = stage.run(None)
    assert (execution.status, execution.error) == ("FAILED", "States.Runtime")
    assert len(execution.history.events) == 1000


def test_a_seed_replays_an_execution_exactly() -> None:
    def once() -> list[Any]:
        retry = [{"ErrorEquals": ["Busy"], "JitterStrategy": "FULL", "MaxAttempts": 9}]
        stage = Stage(machine_of({"A": task(Retry=retry)}), {"work": in_turn(*[Raised("Busy")] * 9, {})}, seed=7)
        return stage.run(None).history.events

    assert once() == once()
