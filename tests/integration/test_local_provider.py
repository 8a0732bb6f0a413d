"""The local provider through the unmodified openai client: files, jobs, models, chat."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image
from tests.integration.provider_rows import (
    MODEL,
    QUESTION,
    colour_rows,
    data_url,
    ended,
    events,
    jsonl,
    picture,
    question,
    row,
    steps,
    upload,
)

from pixtune_local.provider.testing import Provider, running_provider


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def client(provider: Provider) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.base_url, api_key=provider.api_key, max_retries=0)


@pytest.fixture(scope="module")
def trained(client: openai.OpenAI) -> Any:
    """A job over 24 rows with 6 for validation, ended."""
    job = client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=upload(client, colour_rows(24)),
        validation_file=upload(client, colour_rows(6, seed=1)),
        seed=3,
        suffix="colours",
        metadata={"run_id": "run_1"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}},
    )
    return ended(client, job.id)


def ask(client: openai.OpenAI, model: str, image: Image.Image, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=question(data_url(image)), **more)


def test_a_job_trains_a_model_that_answers_for_pictures_it_has_not_seen(client: openai.OpenAI, trained: Any) -> None:
    assert trained.status == "succeeded"
    assert trained.fine_tuned_model.startswith("ft:local-vision-1:local:colours:")
    said = {
        colour: ask(client, trained.fine_tuned_model, picture(colour, 77)).choices[0].message.content
        for colour in ("red", "green", "blue")
    }
    assert said == {"red": "red", "green": "green", "blue": "blue"}


def test_a_job_says_what_it_was_asked_and_what_it_chose(trained: Any) -> None:
    assert trained.metadata == {"run_id": "run_1"}
    assert trained.seed == 3
    chosen = trained.method.supervised.hyperparameters
    assert (chosen.n_epochs, chosen.batch_size, chosen.learning_rate_multiplier) == (5, 1, 1.0)
    assert trained.trained_tokens > 5 * 24 * 85
    assert not (trained.error and trained.error.code)


def test_events_tell_the_whole_way_and_carry_the_metrics_of_every_step(client: openai.OpenAI, trained: Any) -> None:
    told = [event.message for event in events(client, trained.id)]
    assert told[0] == f"Created fine-tuning job: {trained.id}"
    assert told[-1] == "The job has successfully completed"
    assert any("small image-to-answer model" in message for message in told)
    metrics = steps(client, trained.id)
    assert [data["step"] for data in metrics] == list(range(1, 121))
    assert metrics[0]["train_loss"] == pytest.approx(1.0986, abs=0.05)
    assert {"total_steps", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy"} <= set(metrics[0])


def test_the_last_three_checkpoints_are_models_of_their_own(client: openai.OpenAI, trained: Any) -> None:
    found = list(client.fine_tuning.jobs.checkpoints.list(trained.id))
    assert [checkpoint.step_number for checkpoint in found] == [120, 96, 72]
    for checkpoint in found:
        assert checkpoint.fine_tuned_model_checkpoint.endswith(f":ckpt-step-{checkpoint.step_number}")
        assert checkpoint.metrics.full_valid_loss is not None
        assert ask(client, checkpoint.fine_tuned_model_checkpoint, picture("red", 5)).choices[0].message.content
    assert (found[0].metrics.full_valid_loss or 9) < 0.5


def test_the_result_file_has_a_line_for_each_step(client: openai.OpenAI, trained: Any) -> None:
    table = list(csv.DictReader(io.StringIO(client.files.content(trained.result_files[0]).text)))
    assert len(table) == 120
    assert float(table[-1]["full_valid_mean_token_accuracy"]) > 0.9
    assert table[0]["full_valid_loss"] == ""


def test_the_same_seed_gives_the_same_losses(client: openai.OpenAI, trained: Any) -> None:
    again = client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=trained.training_file,
        validation_file=trained.validation_file,
        seed=3,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}},
    )
    assert ended(client, again.id).status == "succeeded"
    for one, other in zip(steps(client, trained.id), steps(client, again.id), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-3)


def test_jobs_are_found_by_their_metadata(client: openai.OpenAI, trained: Any) -> None:
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"run_id": "run_1"})] == [trained.id]
    assert list(client.fine_tuning.jobs.list(metadata={"run_id": "run_2"})) == []
    listed = [job.id for job in client.fine_tuning.jobs.list(limit=1)]
    assert trained.id in listed
    assert len(listed) == len(set(listed)) >= 1


def test_usage_counts_words_and_tiles(client: openai.OpenAI, trained: Any) -> None:
    usage = ask(client, trained.fine_tuned_model, picture("red", 1)).usage
    assert usage.prompt_tokens == 11 + 85 + 3 + 3
    assert usage.completion_tokens == 1
    assert usage.total_tokens == usage.prompt_tokens + 1


def test_the_answer_says_that_a_small_local_model_gave_it(client: openai.OpenAI, trained: Any) -> None:
    assert "small_model" in ask(client, trained.fine_tuned_model, picture("red", 1)).system_fingerprint
    assert "small-model" in client.models.retrieve(trained.fine_tuned_model).owned_by


def test_token_probabilities_are_given_when_asked_for(client: openai.OpenAI, trained: Any) -> None:
    (token,) = ask(client, trained.fine_tuned_model, picture("red", 1), logprobs=True).choices[0].logprobs.content
    assert token.token == "red"
    assert -0.7 < token.logprob <= 0


def test_the_base_model_guesses_among_the_options_and_always_the_same(client: openai.OpenAI) -> None:
    said = [ask(client, MODEL, picture("red", seed)).choices[0].message.content for seed in range(24)]
    assert set(said) == {"red", "green", "blue"}
    assert said[0] == ask(client, MODEL, picture("red", 0)).choices[0].message.content


def test_the_base_model_does_not_know_where_the_prompt_names_no_options(client: openai.OpenAI) -> None:
    asked = question(data_url(picture("red", 1)), "What is this?")
    answer = client.chat.completions.create(model=MODEL, messages=asked)
    assert answer.choices[0].message.content == "I don't know."


def test_files_can_be_stored_listed_read_and_deleted(client: openai.OpenAI) -> None:
    content = jsonl(colour_rows(2))
    file = client.files.create(file=("two.jsonl", content), purpose="fine-tune")
    assert (file.bytes, file.filename, file.purpose) == (len(content), "two.jsonl", "fine-tune")
    assert client.files.content(file.id).read() == content
    assert file.id in [one.id for one in client.files.list(purpose="fine-tune")]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File"):
        client.files.retrieve(file.id)


def test_a_file_can_come_in_parts(client: openai.OpenAI) -> None:
    content = jsonl(colour_rows(4))
    whole = client.uploads.create(
        bytes=len(content), filename="rows.jsonl", mime_type="text/jsonl", purpose="fine-tune"
    )
    middle = len(content) // 2
    second = client.uploads.parts.create(whole.id, data=content[middle:])
    first = client.uploads.parts.create(whole.id, data=content[:middle])
    md5 = hashlib.md5(content).hexdigest()
    done = client.uploads.complete(whole.id, part_ids=[first.id, second.id], md5=md5)
    assert done.status == "completed"
    assert done.file is not None
    assert client.files.content(done.file.id).read() == content


def test_an_upload_whose_parts_are_in_another_order_is_refused(client: openai.OpenAI) -> None:
    whole = client.uploads.create(bytes=4, filename="rows.jsonl", mime_type="text/jsonl", purpose="fine-tune")
    parts = [client.uploads.parts.create(whole.id, data=data).id for data in (b"ab", b"cd")]
    with pytest.raises(openai.BadRequestError, match="md5"):
        client.uploads.complete(whole.id, part_ids=parts[::-1], md5=hashlib.md5(b"abcd").hexdigest())
    assert client.uploads.complete(whole.id, part_ids=parts).status == "completed"


def test_a_wrong_key_is_refused(provider: Provider) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=provider.base_url, api_key="sk-wrong", max_retries=0).models.list()


def test_a_model_can_be_deleted_and_is_then_unknown(client: openai.OpenAI) -> None:
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client, colour_rows(10)))
    name = ended(client, job.id).fine_tuned_model
    assert name is not None
    assert name in [model.id for model in client.models.list()]
    client.models.delete(name)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        ask(client, name, picture("red", 1))


def test_the_date_a_model_retires_is_told(client: openai.OpenAI, provider: Provider) -> None:
    assert client.models.retrieve(MODEL).shutdown_date is None
    provider.faults(shutdown_date="2027-01-14")
    assert client.models.retrieve(MODEL).shutdown_date == "2027-01-14"
    provider.admin("POST", "reset")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "gpt-4o"}, "not available for fine-tuning"),
        ({"training_file": "file-nothing"}, "invalid training_file"),
        ({"suffix": "s" * 65}, "64 characters"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 51}}}}, "n_epochs"),
        ({"method": {"type": "dpo"}}, "supervised"),
        ({"method": "supervised"}, "must be an object"),
        ({"suffix": "a/b"}, "letters, digits"),
    ],
)
def test_a_wrong_request_for_a_job_is_refused_at_once(
    client: openai.OpenAI, change: dict[str, Any], says: str
) -> None:
    good = {"model": MODEL, "training_file": upload(client, colour_rows(10))}
    with pytest.raises(openai.BadRequestError, match=says):
        client.fine_tuning.jobs.create(**{**good, **change})


def test_a_bad_file_fails_its_job_and_names_every_line(client: openai.OpenAI) -> None:
    rows = [json.dumps(one) for one in colour_rows(12)]
    rows[2] = "{not json"
    rows[5] = json.dumps({"messages": question(data_url(picture("red", 1)))})
    rows[7] = json.dumps(row("https://example.org/a.jpg", "red"))
    file = upload(client, "\n".join(rows).encode())
    job = ended(client, client.fine_tuning.jobs.create(model=MODEL, training_file=file).id)
    assert (job.status, job.fine_tuned_model) == ("failed", None)
    assert job.error is not None
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    for part in ("line 3: not valid JSON", "line 6: no assistant message", "line 8: messages[0]: image URL"):
        assert part in job.error.message


def test_too_few_examples_fail_the_job(client: openai.OpenAI) -> None:
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client, colour_rows(9)))
    error = ended(client, job.id).error
    assert error is not None
    assert error.code == "invalid_n_examples"
    assert "9 example(s), but must have at least 10" in error.message


def test_a_question_with_an_unreadable_image_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot be decoded"):
        client.chat.completions.create(model=MODEL, messages=question("data:image/png;base64,AAAA"))


def test_answers_that_pictures_do_not_explain_are_warned_about(client: openai.OpenAI) -> None:
    rows = [row(data_url(picture("red", seed)), ("left", "right")[(seed * 7) % 5 % 2]) for seed in range(30)]
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client, rows), seed=1)
    assert ended(client, job.id).status == "succeeded"
    warned = [event.message for event in events(client, job.id) if event.level == "warn"]
    assert warned == ["the small local model finds little in these pictures that explains the answers"]


def test_each_prompt_has_a_head_of_its_own(client: openai.OpenAI) -> None:
    bright = "Is this picture bright?"
    rows = colour_rows(12)
    rows += [row(data_url(picture("green", seed)), "yes", bright) for seed in range(6)]
    rows += [row(data_url(picture("blue", seed)), "no", bright) for seed in range(6)]
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client, rows), seed=1)
    name = ended(client, job.id).fine_tuned_model
    assert name is not None
    said = [
        client.chat.completions.create(model=name, messages=question(data_url(picture(colour, 99)), text))
        for colour in ("green", "blue")
        for text in (QUESTION, bright)
    ]
    assert [answer.choices[0].message.content for answer in said] == ["green", "yes", "blue", "no"]


def test_killed_in_the_middle_it_starts_the_training_again_and_finishes(tmp_path: Path) -> None:
    rows, valid = colour_rows(16), colour_rows(4, seed=1)
    with running_provider(tmp_path) as provider:
        client = openai.OpenAI(base_url=provider.base_url, api_key=provider.api_key, max_retries=0)
        files: dict[str, Any] = {
            "training_file": upload(client, rows),
            "validation_file": upload(client, valid),
            "model": MODEL,
            "seed": 5,
        }
        calm = client.fine_tuning.jobs.create(**files)
        assert ended(client, calm.id).status == "succeeded"

        provider.faults(queue={"step_seconds": 0.05})
        job = client.fine_tuning.jobs.create(**files)
        second = client.fine_tuning.jobs.create(model=MODEL, training_file=files["training_file"])
        while len(steps(client, job.id)) < 8:
            assert client.fine_tuning.jobs.retrieve(job.id).status != "failed"
        provider.kill()
        with pytest.raises(openai.APIConnectionError):
            client.models.list()
        provider.start()

        assert ended(client, job.id).status == "succeeded"
        assert ended(client, second.id).status == "succeeded"
        assert len(list(client.fine_tuning.jobs.list())) == 3
        assert client.files.retrieve(files["training_file"]).bytes == len(jsonl(rows))
        before, after = steps(client, calm.id), steps(client, job.id)
        assert [data["step"] for data in after] == list(range(1, 65))
        for one, other in zip(before, after, strict=True):
            assert one["valid_loss"] == pytest.approx(other["valid_loss"], abs=1e-3)
        kept = [checkpoint.step_number for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id)]
        assert kept == [64, 48, 32]
