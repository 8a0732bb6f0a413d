"""What every provider's adapter promises, whatever its kind: the same tests for OpenAI's shape and for Bedrock."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from moto import mock_aws
from tests.fakes.runs import FakeRuns
from tests.integration.provider_desks import (
    AzureDesk,
    BedrockDesk,
    Call,
    Desk,
    Desks,
    How,
    LocalDesk,
    coloured,
    request,
)

from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.providers.port import JobRequest, JobState, JobView, TrainingProvider
from pixtune.training.launch import Launch, LaunchLimits, launch
from pixtune.training.run import Hyperparameters, Run, TrainingSettings
from pixtune_local.provider.testing import running_provider

_NUMBERS = count(1)
WINDOW = 60.0


def _wait(
    provider: TrainingProvider, job_id: str, until: Callable[[JobState], bool] = lambda state: state.ended
) -> None:
    deadline = time.monotonic() + 60
    while not until(provider.status(job_id).state):
        assert time.monotonic() < deadline, f"job {job_id} does not get there"
        time.sleep(0.05)


@pytest.fixture(scope="module", params=Desks)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        if request.param == "bedrock":
            yield BedrockDesk()
        else:
            with running_provider(tmp_path_factory.mktemp("provider")) as server:
                yield (AzureDesk if request.param == "azure" else LocalDesk)(server, _wait)


@pytest.fixture(scope="module")
def training_file(shared: Desk) -> str:
    rows, read_image = coloured(12)
    content = b"".join(shared.provider.render(one, None, None, "low", read_image) for one in rows)
    return shared.provider.upload("shared.jsonl", io.BytesIO(content))


@pytest.fixture(scope="module")
def finished(shared: Desk, training_file: str) -> JobView:
    """A job that has succeeded."""
    job = shared.provider.launch(request(shared, "run_finished", training_file))
    shared.finish(job.job_id)
    return shared.provider.status(job.job_id)


@pytest.fixture
def desk(shared: Desk, finished: JobView) -> Iterator[Desk]:
    """With a job that is done already, so that no test waits behind the jobs of others."""
    yield shared
    shared.heal()


def new_run() -> str:
    return f"run_{next(_NUMBERS):04}ABC"


def launched(desk: Desk, training_file: str) -> tuple[JobRequest, JobView]:
    asked = request(desk, new_run(), training_file)
    return asked, desk.provider.launch(asked)


# --------------------------------------------------------------------------- files


def test_a_row_becomes_one_line_of_json_and_equal_rows_equal_lines(desk: Desk) -> None:
    (one,), read_image = coloured(1)
    line = desk.provider.render(one, "Name colours.", None, "low", read_image)
    assert line == desk.provider.render(one, "Name colours.", None, "low", read_image)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert [message["role"] for message in json.loads(line)["messages"]][-2:] == ["user", "assistant"]


def test_a_file_is_uploaded_once_however_often_it_is_sent(desk: Desk) -> None:
    content = b'{"messages": []}\n' * 20
    sent = [desk.provider.upload("once.jsonl", io.BytesIO(content)) for _ in range(2)]
    assert sent[0] == sent[1] == desk.provider.find_file("once.jsonl", len(content))
    assert desk.provider.find_file("once.jsonl", len(content) + 1) is None
    assert desk.provider.find_file("never.jsonl", 1) is None


def test_a_file_sent_in_parts_is_the_file(desk: Desk) -> None:
    parts = [b"a" * 5_242_880, b"b" * 10]  # S3 takes no smaller part but the last
    upload = desk.provider.begin_upload("parts.jsonl", sum(map(len, parts)))
    ids = {index: desk.provider.upload_part(upload, index, parts[index]) for index in (1, 0)}
    file_id = desk.provider.complete_upload(upload, [ids[0], ids[1]])
    assert desk.provider.find_file("parts.jsonl", 5_242_890) == file_id


def test_a_deleted_file_is_gone_and_deleting_it_again_is_success(desk: Desk) -> None:
    file_id = desk.provider.upload("gone.jsonl", io.BytesIO(b"{}\n"))
    desk.provider.delete_file(file_id)
    desk.provider.delete_file(file_id)
    assert desk.provider.find_file("gone.jsonl", 3) is None


# --------------------------------------------------------------------------- jobs


def test_a_launched_job_is_found_by_its_run(desk: Desk, training_file: str) -> None:
    asked, job = launched(desk, training_file)
    assert job.run_id == asked.run_id
    assert not job.state.ended
    found = desk.provider.find_jobs(asked.run_id)
    assert [(view.job_id, view.run_id) for view in found] == [(job.job_id, asked.run_id)]
    assert desk.provider.find_jobs(asked.run_id[:-1]) == []


def test_the_sweep_sees_our_jobs_and_nobody_elses(desk: Desk, training_file: str) -> None:
    asked, job = launched(desk, training_file)
    desk.strange_job(asked.run_id)
    seen = {view.job_id: view.run_id for view in desk.provider.list_tagged_jobs(time.time() - 2 * 86_400)}
    assert seen[job.job_id] == asked.run_id
    assert [run_id for run_id in seen.values() if run_id == asked.run_id] == [asked.run_id]
    assert not [name for name in seen if "somebody" in name]
    assert [view.job_id for view in desk.provider.find_jobs(asked.run_id)] == [job.job_id]


def _launch(desk: Desk, runs: FakeRuns, run_id: str, now: float) -> Launch:
    return launch(
        run_id,
        1,
        limits=LaunchLimits(WINDOW, 3600),
        clock=lambda: now,
        seconds_left=lambda: 120,
        runs=runs,
        provider=desk.provider,
    )


def _ready(desk: Desk, training_file: str) -> tuple[FakeRuns, str]:
    run_id = new_run()
    asked = TrainingSettings(desk.spec.provider, desk.spec.base_model, Hyperparameters(n_epochs=1))
    run = Run(run_id, "colours", asked, 0.0, "api", run_id, version=1, version_digest=run_id)
    runs = FakeRuns({run_id: run})
    runs.update(run_id, {"files": {"training": training_file}})
    return runs, run_id


@pytest.mark.parametrize("how", ["lost", "broken", "busy"])
def test_a_create_of_unknown_outcome_is_sent_once_and_makes_one_job(desk: Desk, training_file: str, how: How) -> None:
    runs, run_id = _ready(desk, training_file)
    before = desk.creates()
    desk.fail("launch", how)
    first = _launch(desk, runs, run_id, 1000.0)
    assert desk.creates() == before + 1
    assert (first.outcome == "launched") or first.wait_seconds == WINDOW
    again = _launch(desk, runs, run_id, 1000.0 + WINDOW + 1)
    assert again.outcome == "launched"
    (job,) = desk.provider.find_jobs(run_id)
    assert runs.get(run_id).provider_job_id == job.job_id


def test_a_run_launched_twice_has_one_job(desk: Desk, training_file: str) -> None:
    runs, run_id = _ready(desk, training_file)
    assert [_launch(desk, runs, run_id, now).outcome for now in (1.0, 2.0)] == ["launched", "launched"]
    assert len(desk.provider.find_jobs(run_id)) == 1


def test_a_create_sent_twice_makes_one_job_where_the_provider_says_so(desk: Desk, training_file: str) -> None:
    asked, first = launched(desk, training_file)
    second = desk.provider.launch(asked)
    jobs = {view.job_id for view in desk.provider.find_jobs(asked.run_id)}
    assert (jobs == {first.job_id}) == desk.spec.idempotent_create
    assert (second.job_id == first.job_id) == desk.spec.idempotent_create


def test_after_a_job_that_came_to_nothing_another_one_is_made(desk: Desk, training_file: str) -> None:
    asked, first = launched(desk, training_file)
    desk.provider.cancel(first.job_id)
    second = desk.provider.launch(asked)
    assert second.job_id != first.job_id
    assert not second.state.ended
    assert {view.job_id for view in desk.provider.find_jobs(asked.run_id)} == {first.job_id, second.job_id}


def test_every_word_of_the_provider_is_a_state_and_a_new_word_is_no_end(desk: Desk, training_file: str) -> None:
    _, job = launched(desk, training_file)
    for word, state in desk.words.items():
        desk.say(job.job_id, word)
        view = desk.provider.status(job.job_id)
        assert (view.raw_state, view.state) == (word, state)
    for word in ("Rebalancing", "frobnicating"):
        desk.say(job.job_id, word)
        view = desk.provider.status(job.job_id)
        assert (view.raw_state, view.state) == (word, JobState.RUNNING)


def test_only_a_job_that_has_succeeded_names_a_model(desk: Desk, training_file: str, finished: JobView) -> None:
    _, job = launched(desk, training_file)
    assert desk.provider.status(job.job_id).model_id is None
    assert desk.provider.checkpoints(job.job_id) == []
    assert finished.state is JobState.SUCCEEDED
    assert finished.model_id


def test_a_job_is_cancelled_once_and_then_answered_as_it_is(desk: Desk, training_file: str) -> None:
    _, job = launched(desk, training_file)
    for _ in range(2):
        assert desk.provider.cancel(job.job_id).state in (JobState.CANCELLING, JobState.CANCELLED)


def test_a_job_that_has_succeeded_cannot_be_cancelled_any_more(desk: Desk, finished: JobView) -> None:
    assert desk.provider.cancel(finished.job_id).state is JobState.SUCCEEDED
    assert desk.provider.status(finished.job_id).model_id == finished.model_id


def test_the_last_checkpoint_is_the_final_model_with_its_losses(desk: Desk, finished: JobView) -> None:
    listed = desk.provider.checkpoints(finished.job_id)
    assert [point.step for point in listed] == sorted({point.step for point in listed})
    assert listed[0].step >= 1, "step 0 is the base model's"
    assert listed[-1].model_id == finished.model_id
    assert listed[-1].metrics["train_loss"] > 0
    if not desk.spec.lists_checkpoints:
        assert len(listed) == 1


def test_what_a_job_has_said_is_heard_and_a_job_that_said_nothing_is_no_fault(
    desk: Desk, training_file: str, finished: JobView
) -> None:
    _, job = launched(desk, training_file)
    assert desk.provider.progress(job.job_id, 0.0).points == []
    assert list(desk.provider.progress(finished.job_id, 0.0).points) == list(desk.provider.metrics(finished.job_id))


def test_a_job_is_paused_where_the_provider_can_and_refused_where_it_cannot(desk: Desk, training_file: str) -> None:
    _, job = launched(desk, training_file)
    if desk.spec.pauses:
        _wait(desk.provider, job.job_id, lambda state: state is JobState.QUEUED)
        assert desk.provider.pause(job.job_id).state is JobState.PAUSED
        assert desk.provider.resume(job.job_id).state is not JobState.PAUSED
        return
    with pytest.raises(ProviderRefused) as refused:
        desk.provider.pause(job.job_id)
    assert refused.value.fix


# --------------------------------------------------------------------------- models


def test_a_model_answers_once_it_is_active_and_is_released_as_often_as_asked(desk: Desk, finished: JobView) -> None:
    (one,), read_image = coloured(1)
    assert finished.model_id
    for _ in range(2):  # a released model can be activated again
        first = desk.provider.activate(finished.model_id)
        assert first.active or first.wait_seconds > 0
        desk.deploy()
        assert desk.provider.activate(finished.model_id).active
        reply = desk.provider.answer(finished.model_id, one, None, None, "low", read_image)
        assert reply.text in ("red", "green", "blue")
        assert reply.prompt_tokens > 0
        desk.provider.release(finished.model_id)
        desk.provider.release(finished.model_id)


def _base_model_answers(desk: Desk) -> None:
    """On Azure a base model too is deployed; elsewhere it just answers."""
    assert desk.provider.activate(desk.spec.base_model).active or desk.spec.provider == "azure"
    desk.deploy()
    assert desk.provider.activate(desk.spec.base_model).active


def test_a_base_model_answers_once_it_is_active(desk: Desk) -> None:
    (one,), read_image = coloured(1)
    _base_model_answers(desk)
    assert desk.provider.answer(desk.spec.base_model, one, None, None, "low", read_image).prompt_tokens > 0
    desk.provider.release(desk.spec.base_model)


def test_the_day_a_model_retires_is_told_or_is_not_known(desk: Desk) -> None:
    assert desk.provider.retires_on(desk.spec.base_model) is None


# --------------------------------------------------------------------------- faults


def _call(desk: Desk, call: Call, training_file: str, job_id: str) -> None:
    (one,), read_image = coloured(1)
    match call:
        case "launch":
            desk.provider.launch(request(desk, new_run(), training_file))
        case "find":
            desk.provider.find_jobs(new_run())
        case "status":
            desk.provider.status(job_id)
        case "upload":
            desk.provider.upload(f"{new_run()}.jsonl", io.BytesIO(b"{}\n"))
        case "answer":
            _base_model_answers(desk)
            desk.provider.answer(desk.spec.base_model, one, None, None, "low", read_image)


@pytest.mark.parametrize("call", ["launch", "find", "status", "upload", "answer"])
@pytest.mark.parametrize("how", ["busy", "broken"])
def test_what_passes_with_time_is_worth_another_try(
    desk: Desk, training_file: str, finished: JobView, call: Call, how: How
) -> None:
    desk.fail(call, how, times=20)
    with pytest.raises(ProviderUnavailable):
        _call(desk, call, training_file, finished.job_id)


@pytest.mark.parametrize("call", ["launch", "find", "status", "upload", "answer"])
def test_a_refusal_is_final_and_says_who_refused_what(
    desk: Desk, training_file: str, finished: JobView, call: Call
) -> None:
    desk.fail(call, "forbidden", times=20)
    with pytest.raises(ProviderRefused) as refused:
        _call(desk, call, training_file, finished.job_id)
    assert desk.spec.provider in refused.value.message
    assert "403" in refused.value.message
    assert refused.value.fix


def test_a_job_nobody_knows_is_a_refusal(desk: Desk) -> None:
    with pytest.raises(ProviderRefused, match=r"404|NotFound"):
        desk.provider.status("no-such-job")
