"""Every path through infra/training.asl.json, on the virtual clock, with its functions played."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import botocore.session
import pytest
from tests.workflow.stage import Function, Json, Raised, Stage, in_turn, training_machine

from pixtune_local.workflow.faults import Fault

RUN = {"run_id": "run_1", "attempt": 1}
MACHINE = training_machine()
DAY = 86_400
HAPPY = [
    "SettleUploads",
    "PublishDataset",
    "CheckReadiness",
    "UploadFiles",
    "LaunchTraining",
    "PollTraining",
    "RecordCheckpoints",
    "ActivateModel",
    "EvaluateCheckpoint",
    "ReleaseModel",
    "ChooseCheckpoint",
    "ActivateModel",
    "PromoteModel",
]
FUNCTIONS = list(dict.fromkeys(HAPPY))


class Training(Stage):
    """A run whose provider job lasts `lasts` seconds and ends as `ends`; functions given by name
    replace the usual ones."""

    def __init__(
        self, *, lasts: float = 0, ends: str = "succeeded", steps: int = 1, seed: int = 0, **replaced: Function
    ):
        self.lasts = lasts
        self.ends = ends
        usual: dict[str, Function] = {
            "SettleUploads": lambda _: settled(),
            "PublishDataset": lambda _: {"version": 3, "digest": "d1"},
            "CheckReadiness": lambda _: ready(),
            "AwaitApproval": lambda _: {"state": "asked"},
            "UploadFiles": lambda _: {"done": True, "parts_key": "", "parts": 0},
            "LaunchTraining": lambda _: {"outcome": "launched", "wait_seconds": 0},
            "PollTraining": self.poll,
            "RecordCheckpoints": lambda _: {"steps": [{"step": 21 * number} for number in range(steps)]},
            "ActivateModel": lambda _: {"active": True, "wait_seconds": 0},
            "EvaluateCheckpoint": lambda payload: {"step": payload["step"], "score": 0.5},
            "ReleaseModel": lambda _: {},
            "ChooseCheckpoint": lambda _: {"step": 0},
            "PromoteModel": lambda _: {"promoted": True},
            "RecordFailure": record_failure,
        }
        super().__init__(MACHINE, usual | replaced, seed=seed)

    def poll(self, payload: Json) -> None:
        """As the real one: asks once, answers the token when the job has ended, else returns."""
        if self.loop.time() >= self.lasts:
            self.engine.tokens.succeed(payload["task_token"], {"status": self.ends})

    def outcome(self) -> Json:
        assert self.execution.status == "SUCCEEDED", (self.execution.error, self.execution.cause)
        assert self.execution.output is not None
        return json.loads(self.execution.output)


def settled(*, least: int = 30, most: int = 1800) -> Json:
    return {"settled": True, "wait_seconds": 0, "poll_min_seconds": least, "poll_max_seconds": most}


def ready(*, needs_approval: bool = False) -> Json:
    return {"ready": True, "needs_approval": needs_approval, "approval_seconds": 3 * DAY}


def record_failure(payload: Json) -> Json:
    """As the real one answers: a code, the message of the failure, and a remedy."""
    error, cause = payload["failure"]["Error"], payload["failure"].get("Cause", "")
    message = json.loads(cause)["errorMessage"] if cause.startswith("{") else cause
    return {"code": error, "cause": f"What happened: {message}", "fix": "What to do: mend it and resume."}


def play(**options: Any) -> Training:
    stage = Training(**options)
    stage.run(RUN)
    return stage


def failed(stage: Training) -> tuple[str, str]:
    """The error and cause of an execution that failed in TrainingFailed."""
    assert stage.execution.status == "FAILED"
    assert stage.entered()[-1] == "TrainingFailed"
    assert stage.execution.error is not None
    assert stage.execution.cause is not None
    return stage.execution.error, stage.execution.cause


@pytest.fixture
def api_event() -> Callable[[Json], list[str]]:
    """What is wrong with an event, by botocore's own model of GetExecutionHistory."""
    # Any: botocore's stubs know the shape's members only for structures.
    model: Any = botocore.session.get_session().get_service_model("stepfunctions").shape_for("HistoryEvent")

    def problems(event: Json) -> list[str]:
        found = [] if event["type"] in model.members["type"].enum else [f"no type {event['type']}"]
        for key, value in event.items():
            if key not in model.members:
                found.append(f"{event['type']} has no {key}")
            elif isinstance(value, dict):
                known = set(model.members[key].members)
                found += [f"{key} has no {name}" for name in value if name not in known]
        return found

    return problems


# --- the ends -----------------------------------------------------------------------------------------------------


def test_a_run_that_goes_well_calls_each_function_in_the_designs_order() -> None:
    stage = play()
    assert stage.order() == HAPPY
    assert stage.outcome() == {"run_id": "run_1", "attempt": 1, "outcome": "trained", "step": 0, "promoted": True}


def test_every_function_learns_which_attempt_of_which_run_it_serves() -> None:
    stage = Training()
    stage.run({"run_id": "run_9", "attempt": 4})
    assert {(call.payload["run_id"], call.payload["attempt"]) for call in stage.calls} == {("run_9", 4)}


def test_a_model_that_is_not_promoted_is_a_success_that_says_so() -> None:
    assert play(PromoteModel=lambda _: {"promoted": False}).outcome()["promoted"] is False


def test_a_run_that_joins_another_ends_without_polling() -> None:
    stage = play(LaunchTraining=in_turn({"outcome": "joined", "wait_seconds": 0}))
    assert stage.outcome() == {"run_id": "run_1", "attempt": 1, "outcome": "joined"}
    assert stage.order()[-1] == "LaunchTraining"
    assert stage.entered()[-1] == "RunJoined"


def test_an_unknown_launch_waits_out_the_quiet_window_and_launches_again() -> None:
    answers = [{"outcome": "unknown", "wait_seconds": 900}, {"outcome": "unknown", "wait_seconds": 30}]
    stage = play(LaunchTraining=in_turn(*answers, {"outcome": "launched", "wait_seconds": 0}))
    assert stage.times("LaunchTraining") == [0, 900, 930]
    assert stage.outcome()["outcome"] == "trained"


def test_a_launch_that_answers_nonsense_fails_and_names_it() -> None:
    error, cause = failed(play(LaunchTraining=in_turn({"outcome": "maybe", "wait_seconds": 0})))
    assert error == "UnexpectedAnswer"
    assert "LaunchTraining answered maybe" in cause


# --- settling -----------------------------------------------------------------------------------------------------


def test_publishing_waits_until_the_uploads_are_settled() -> None:
    waiting = {"settled": False, "wait_seconds": 7, "poll_min_seconds": 30, "poll_max_seconds": 1800}
    stage = play(SettleUploads=in_turn(waiting, waiting, settled()))
    assert stage.times("SettleUploads") == [0, 7, 14]
    assert stage.times("PublishDataset") == [14]


def test_uploads_that_never_settle_fail_the_run_and_are_named() -> None:
    waiting = {"settled": False, "wait_seconds": 5, "poll_min_seconds": 30, "poll_max_seconds": 1800}
    late = Raised("UploadsNotSettled", "shapes/a.jpg has no verdict after 60 minutes")
    stage = play(SettleUploads=in_turn(waiting, late))
    error, cause = failed(stage)
    assert error == "UploadsNotSettled"
    assert "shapes/a.jpg has no verdict" in cause
    assert "PublishDataset" not in stage.order()


# --- approval -----------------------------------------------------------------------------------------------------


def asking(answer: Callable[[Stage, str], None], after: float = 0) -> Training:
    """A run that needs approval, and a person who answers the token `after` so many seconds."""
    stage = Training(CheckReadiness=lambda _: ready(needs_approval=True))

    def ask(payload: Json) -> Json:
        stage.loop.call_later(after, answer, stage, payload["task_token"])
        return {"state": "asked"}

    stage.functions = {**stage.functions, "AwaitApproval": ask}
    stage.run(RUN)
    return stage


def test_a_run_that_needs_no_approval_asks_nobody() -> None:
    assert "AwaitApproval" not in play().order()


def test_an_approved_run_goes_on_to_its_upload_however_long_the_person_took() -> None:
    stage = asking(lambda stage, token: stage.engine.tokens.succeed(token, {"approved": True}), after=2 * DAY)
    assert stage.order()[:5] == [*HAPPY[:3], "AwaitApproval", "UploadFiles"]
    assert stage.times("UploadFiles") == [2 * DAY]
    assert stage.outcome()["outcome"] == "trained"


def test_a_denied_run_fails_as_denied_and_launches_nothing() -> None:
    stage = asking(lambda stage, token: stage.engine.tokens.fail(token, "ApprovalDenied", "Denied by ann."))
    assert failed(stage)[0] == "ApprovalDenied"
    assert stage.called("RecordFailure")[0]["failure"]["Cause"] == "Denied by ann."
    assert not {"UploadFiles", "LaunchTraining"} & set(stage.order())


def test_silence_is_a_denial_and_asks_once() -> None:
    stage = play(CheckReadiness=lambda _: ready(needs_approval=True))
    error, cause = failed(stage)
    assert error == "ApprovalDenied"
    assert "Nobody approved within 259200 s" in cause
    assert stage.times("RecordFailure") == [3 * DAY]
    assert len(stage.called("AwaitApproval")) == 1
    assert "LaunchTraining" not in stage.order()


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_fault_in_any_function_is_recorded_and_ends_in_a_cause_to_act_on(function: str) -> None:
    stage = play(**{function: in_turn(Raised("DatasetNotReady", "row 3 has 11 images, the most is 10"))})
    error, cause = failed(stage)
    assert error == "DatasetNotReady"
    assert cause == "What happened: row 3 has 11 images, the most is 10 What to do: mend it and resume."
    (recorded,) = stage.called("RecordFailure")
    assert recorded["failure"]["Error"] == "DatasetNotReady"
    assert (recorded["run_id"], recorded["attempt"]) == ("run_1", 1)
    assert stage.called(function), "the function was reached"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_fault_of_our_own_is_not_tried_again(function: str) -> None:
    stage = play(**{function: in_turn(Raised("DatasetNotReady"))})
    assert len(stage.called(function)) == 1


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("crash", ["Runtime.ExitError", "Sandbox.Timedout", "Lambda.Unknown"])
def test_a_process_that_dies_is_run_again_in_every_state(function: str, crash: str) -> None:
    stage = Training()
    usual = stage.functions[function]
    left = [Raised(crash, "signal: killed"), Raised(crash, "signal: killed")]

    def dying(payload: Json) -> Json:
        if left:
            raise left.pop()
        return usual(payload)

    stage.functions = {**stage.functions, function: dying}
    stage.run(RUN)
    assert stage.outcome()["outcome"] == "trained"


def test_a_process_that_always_dies_fails_the_run_after_three_tries() -> None:
    stage = play(LaunchTraining=in_turn(Raised("Runtime.ExitError", "signal: killed")))
    assert failed(stage)[0] == "Runtime.ExitError"
    assert len(stage.called("LaunchTraining")) == 3


def test_a_function_that_never_answers_is_tried_again_and_then_recorded() -> None:
    async def silent(_: Json) -> Json:
        await asyncio.sleep(10 * DAY)

    stage = play(PublishDataset=silent)
    assert failed(stage)[0] == "States.Timeout"
    assert len(stage.called("PublishDataset")) == 3


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lambda_throttling_is_sat_out(function: str) -> None:
    stage = Training()
    usual = stage.functions[function]
    left = [Fault("Lambda.TooManyRequestsException", "Rate Exceeded.")] * 5

    def throttled(payload: Json) -> Json:
        if left:
            raise left.pop()
        return usual(payload)

    stage.functions = {**stage.functions, function: throttled}
    stage.run(RUN)
    assert stage.outcome()["outcome"] == "trained"


@pytest.mark.parametrize("function", ["UploadFiles", "LaunchTraining", "RecordCheckpoints", "EvaluateCheckpoint"])
def test_a_provider_that_is_away_for_a_while_is_waited_for(function: str) -> None:
    stage = Training(lasts=0)
    usual = stage.functions[function]
    left = [Raised("ProviderUnavailable", "503")] * 10

    def away(payload: Json) -> Json:
        if left:
            raise left.pop()
        return usual(payload)

    stage.functions = {**stage.functions, function: away}
    stage.run(RUN)
    assert stage.outcome()["outcome"] == "trained"
    assert 0 < stage.loop.time() < 3600


def test_a_provider_that_stays_away_fails_the_run() -> None:
    stage = play(UploadFiles=in_turn(Raised("ProviderUnavailable", "503 for an hour")))
    assert failed(stage)[0] == "ProviderUnavailable"
    assert len(stage.called("UploadFiles")) == 11


def test_a_failure_that_cannot_be_recorded_still_says_what_happened_and_what_to_do() -> None:
    stage = play(
        CheckReadiness=in_turn(Raised("DatasetNotReady", "row 3 has 11 images")),
        RecordFailure=in_turn(Raised("ResourceNotFoundException", "no such table")),
    )
    error, cause = failed(stage)
    assert error == "DatasetNotReady"
    assert "row 3 has 11 images" in cause
    assert "no such table" in cause
    assert "pixtune run resume run_1" in cause


def test_recording_a_failure_is_tried_again_when_its_process_dies() -> None:
    answer = {"code": "dataset_not_ready", "cause": "Row 3.", "fix": "Mend it."}
    stage = play(
        CheckReadiness=in_turn(Raised("DatasetNotReady")), RecordFailure=in_turn(Raised("Runtime.ExitError"), answer)
    )
    assert failed(stage) == ("dataset_not_ready", "Row 3. Mend it.")


def test_a_cause_longer_than_step_functions_takes_is_cut() -> None:
    stage = play(CheckReadiness=in_turn(Raised("DatasetNotReady", "x" * 40_000)))
    assert len(failed(stage)[1]) == 32_000


# --- polling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_provider_job_that_did_not_succeed_is_recorded(status: str) -> None:
    stage = play(ends=status)
    error, cause = failed(stage)
    assert error == "ProviderJobEnded"
    assert f"ended with the status {status}" in cause
    assert "RecordCheckpoints" not in stage.order()


def test_polling_grows_from_half_a_minute_to_half_an_hour() -> None:
    stage = play(lasts=3 * 3600)
    times = stage.times("PollTraining")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[:7] == [30, 60, 120, 240, 480, 960, 1800]
    assert set(gaps[7:]) == {1800}


def test_turns_are_numbered_and_each_has_its_own_token() -> None:
    stage = play(lasts=3600)
    turns = stage.called("PollTraining")
    assert [payload["turn"] for payload in turns] == list(range(1, len(turns) + 1))
    assert len({payload["task_token"] for payload in turns}) == len(turns)


def test_the_interval_is_what_settling_says_it_is() -> None:
    stage = play(lasts=5, SettleUploads=lambda _: settled(least=1, most=1))
    assert stage.times("PollTraining") == [0, 1, 2, 3, 4, 5]


def test_a_wake_up_polls_at_once_and_keeps_the_interval() -> None:
    stage = Training(lasts=5000)

    def woken(payload: Json) -> None:
        stage.poll(payload)
        if payload["turn"] == 4:  # begins at 210 s and would end at 450 s
            stage.loop.call_later(10, stage.engine.tokens.succeed, payload["task_token"], {"status": "woken"})

    stage.functions = {**stage.functions, "PollTraining": woken}
    stage.run(RUN)
    assert stage.times("PollTraining")[:6] == [0, 30, 90, 210, 220, 460]
    assert stage.outcome()["outcome"] == "trained"


def test_a_deadline_answered_through_the_token_fails_the_run() -> None:
    stage = Training()

    def late(payload: Json) -> None:
        if payload["turn"] == 3:
            stage.engine.tokens.fail(payload["task_token"], "RunDeadlinePassed", "it took longer than 14 days")

    stage.functions = {**stage.functions, "PollTraining": late}
    stage.run(RUN)
    error, cause = failed(stage)
    assert error == "RunDeadlinePassed"
    assert "longer than 14 days" in cause


def test_turns_in_which_the_provider_is_away_are_only_turns() -> None:
    stage = Training(lasts=100)
    asked = stage.poll

    def away(payload: Json) -> None:
        if payload["turn"] > 6:  # before, the GET fails: the function logs it and returns
            asked(payload)

    stage.functions = {**stage.functions, "PollTraining": away}
    stage.run(RUN)
    assert len(stage.called("PollTraining")) == 7
    assert stage.outcome()["outcome"] == "trained"


def test_lambda_may_be_throttled_for_minutes_while_a_job_runs() -> None:
    answers = [Fault("Lambda.TooManyRequestsException", "Rate Exceeded.")] * 10
    stage = Training(lasts=0)
    usual = stage.functions["PollTraining"]

    def throttled(payload: Json) -> Json:
        if answers:
            raise answers.pop()
        return usual(payload)

    stage.functions = {**stage.functions, "PollTraining": throttled}
    stage.run(RUN)
    assert stage.outcome()["outcome"] == "trained"


# --- evaluation ---------------------------------------------------------------------------------------------------


def test_each_checkpoint_is_activated_scored_and_released_two_at_a_time() -> None:
    alive: set[int] = set()
    most: list[int] = []

    def activate(payload: Json) -> Json:
        alive.add(payload["step"])
        most.append(len(alive))
        return {"active": True, "wait_seconds": 0}

    async def score(payload: Json) -> Json:
        await asyncio.sleep(60)
        return {"step": payload["step"], "score": 0.9}

    def release(payload: Json) -> Json:
        alive.remove(payload["step"])
        return {}

    stage = play(steps=5, ActivateModel=activate, EvaluateCheckpoint=score, ReleaseModel=release)
    assert [payload["step"] for payload in stage.called("EvaluateCheckpoint")] == [0, 21, 42, 63, 84]
    assert max(most) == 2
    assert alive == {0}, "only the chosen one, activated again to be promoted"
    assert stage.outcome()["step"] == 0


def test_activation_is_waited_for_with_the_seconds_it_says() -> None:
    activate = in_turn(
        {"active": False, "wait_seconds": 60},
        {"active": False, "wait_seconds": 30},
        {"active": True, "wait_seconds": 0},
    )
    stage = play(ActivateModel=activate)
    assert stage.times("ActivateModel") == [0, 60, 90, 90]
    assert stage.times("EvaluateCheckpoint") == [90]


def test_the_chosen_model_is_waited_for_too() -> None:
    ready, not_yet = {"active": True, "wait_seconds": 0}, {"active": False, "wait_seconds": 45}
    stage = play(ActivateModel=in_turn(ready, not_yet, ready), ChooseCheckpoint=lambda _: {"step": 42})
    assert stage.times("PromoteModel") == [45]
    assert [payload["step"] for payload in stage.called("ActivateModel")] == [0, 42, 42]
    assert stage.called("PromoteModel")[0]["step"] == 42


def test_an_evaluation_that_fails_releases_its_model_and_fails_the_run() -> None:
    stage = play(EvaluateCheckpoint=in_turn(Raised("ProviderRefused", "content filter")))
    assert failed(stage)[0] == "ProviderRefused"
    assert [payload["step"] for payload in stage.called("ReleaseModel")] == [0]
    assert "ChooseCheckpoint" not in stage.order()


def test_an_activation_that_fails_releases_what_it_may_have_deployed() -> None:
    stage = play(ActivateModel=in_turn(Raised("ProviderRefused", "quota")))
    assert failed(stage)[0] == "ProviderRefused"
    assert len(stage.called("ReleaseModel")) == 1
    assert "EvaluateCheckpoint" not in stage.order()


def test_one_failing_checkpoint_leaves_no_other_model_deployed() -> None:
    alive: set[int] = set()

    def activate(payload: Json) -> Json:
        alive.add(payload["step"])
        return {"active": True, "wait_seconds": 0}

    async def score(payload: Json) -> Json:
        if payload["step"] == 21:
            raise Raised("ProviderRefused", "content filter")
        await asyncio.sleep(60)
        return {"step": payload["step"], "score": 0.9}

    def release(payload: Json) -> Json:
        alive.discard(payload["step"])
        return {}

    stage = play(steps=5, ActivateModel=activate, EvaluateCheckpoint=score, ReleaseModel=release)
    assert failed(stage)[0] == "ProviderRefused"
    assert alive == set()
    assert "MapIterationAborted" not in stage.kinds()


def test_a_release_that_fails_is_a_failure_of_the_run() -> None:
    stage = play(ReleaseModel=in_turn(Raised("ProviderRefused", "cannot delete")))
    error, cause = failed(stage)
    assert error == "ProviderRefused"
    assert "cannot delete" in cause


def test_the_first_failure_of_a_checkpoint_is_the_one_that_is_told() -> None:
    stage = play(
        EvaluateCheckpoint=in_turn(Raised("DatasetEmpty", "first")),
        ReleaseModel=in_turn(Raised("FenceLost", "second")),
    )
    assert failed(stage)[0] == "DatasetEmpty"


def test_no_checkpoint_to_choose_is_a_failure() -> None:
    stage = play(ChooseCheckpoint=in_turn(Raised("RunFault", "no checkpoint beats the base model")))
    assert "no checkpoint beats the base model" in failed(stage)[1]
    assert "PromoteModel" not in stage.order()


def test_a_job_with_no_checkpoints_of_its_own_still_judges_the_base_model() -> None:
    stage = play(RecordCheckpoints=lambda _: {"steps": [{"step": 0}]})
    assert [payload["step"] for payload in stage.called("EvaluateCheckpoint")] == [0]


# --- size ---------------------------------------------------------------------------------------------------------


def longest_run(**options: Any) -> Training:
    return play(lasts=14 * DAY, steps=6, **options)


def test_a_run_of_fourteen_days_fits_its_history() -> None:
    stage = longest_run()
    assert stage.outcome()["outcome"] == "trained"
    assert 14 * DAY <= stage.loop.time() < 14 * DAY + 1800
    events = len(stage.execution.history.events)
    assert 3_900 < events < 4_400, events


def test_a_webhook_lost_costs_one_interval_at_most() -> None:
    stage = longest_run()
    assert stage.times("RecordCheckpoints")[0] - 14 * DAY <= 1800


def test_state_data_stays_under_32_kb() -> None:
    largest = 0
    for event in longest_run().execution.history.events:
        for details in (value for key, value in event.items() if key.endswith("Details")):
            data = [details.get(part, "") for part in ("input", "output", "parameters")]
            data.append(json.dumps(details.get("assignedVariables", {})))
            largest = max(largest, *(len(part.encode()) for part in data))
    assert largest < 32_000
    assert largest < 2_000, "ids only"


def test_every_function_may_be_throttled_now_and_then_for_fourteen_days() -> None:
    stage = Training(lasts=14 * DAY, steps=6, seed=3)

    def sometimes(usual: Function) -> Function:
        def function(payload: Json) -> Json:
            if stage.engine.chance.random() < 0.2:
                raise Fault("Lambda.TooManyRequestsException", "Rate Exceeded.")
            return usual(payload)

        return function

    stage.functions = {name: sometimes(usual) for name, usual in stage.functions.items()}
    stage.run(RUN)
    assert stage.outcome()["outcome"] == "trained"
    assert len(stage.execution.history.events) < 6_000


def test_stopping_a_run_ends_it_where_it_waits() -> None:
    stage = Training(lasts=14 * DAY)
    assert stage.run(RUN, stop_after=100).status == "ABORTED"
    assert "RecordFailure" not in stage.order(), "the rule on aborted executions settles the run"


def test_the_history_is_shaped_as_the_api_shapes_it(api_event: Callable[[Json], list[str]]) -> None:
    stages = [
        play(steps=2, lasts=100),
        play(EvaluateCheckpoint=in_turn(Raised("ProviderRefused"))),
        play(LaunchTraining=in_turn({"outcome": None})),
    ]
    stopped = Training(lasts=DAY)
    stopped.run(RUN, stop_after=10)
    for stage in [*stages, stopped]:
        assert [problem for event in stage.execution.history.events for problem in api_event(event)] == []
