"""The HTTP API over simulated AWS: what each route answers, and every refusal as a problem with its code."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from tests.fakes.facts import NOW
from tests.fakes.versions import row
from tests.integration.http_api import Answer
from tests.integration.served_api import World, served

from pixtune.annotations import object_labels
from pixtune.aws.buckets import Artifacts
from pixtune.aws.runs_table import RunsTable
from pixtune.compliance.gate import Judges, judge
from pixtune.datasets.card_files import store_judged_card
from pixtune.datasets.publish import publish
from pixtune.datasets.version import Manifest
from pixtune.examples import places
from pixtune.examples.annotation import Annotation, Part, Turn
from pixtune.examples.items import ExampleItem, Slot, State, UploadItem
from pixtune.examples.ports import Place, Write, one_by_one
from pixtune.keys import NO_DATASET
from pixtune.registry.models import ModelVersion
from pixtune.training.run import Checkpoint, RunEvent
from pixtune.verdicts import Code, accepted, rejected

if TYPE_CHECKING:
    pass

KEY = {"Idempotency-Key": "order-0001"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with served(monkeypatch) as world:
        yield world


def assert_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    assert (answer.status, answer.body.get("code")) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.body.keys() == {
        "type", "title", "status", "code", "detail", "instance", "errors", "request_id",
    }  # fmt: skip
    assert answer.body["request_id"] == "JKJaXmPLvHcESHA="
    body: dict[str, Any] = answer.body
    return body


# ---------------------------------------------------------------------------------------------- uploads


def test_an_upload_form_takes_exactly_this_key_with_exactly_these_fields(api: World) -> None:
    metadata = {"prompt": "Which animal?", "answer": "cat", "split": "test"}
    answer = api(
        "POST",
        "/v1/datasets/cats/uploads",
        {"filename": "in/a b+ü#%41.jpg", "content_type": "image/jpeg", "size": 1000, "metadata": metadata},
    )
    assert answer.status == 200
    assert answer.body["key"] == "cats/in/a b+ü#%41.jpg"
    fields = answer.body["fields"]
    assert fields["key"] == answer.body["key"]
    assert fields["Content-Type"] == "image/jpeg"
    assert fields["x-amz-meta-pixtune-answer"] == "cat"
    assert fields["x-amz-meta-pixtune-split"] == "test"
    assert answer.body["max_bytes"] == 1000
    assert answer.body["status"].endswith("?key=cats%2Fin%2Fa%20b%2B%C3%BC%23%2541.jpg")


@pytest.mark.parametrize("said", ["dark – sehr", "two\nlines", " spaced ", "=?utf-8?q?odd?=", "plain", "日本" * 200])
def test_whatever_the_words_the_reader_of_metadata_finds_them_again(said: str, api: World) -> None:
    body = {"filename": "a.jpg", "metadata": {"answer": said}}
    fields = api("POST", "/v1/datasets/cats/uploads", body).body["fields"]
    stored = {name.removeprefix("x-amz-meta-"): text for name, text in fields.items() if "x-amz-meta" in name}
    assert all(text.isascii() and text.isprintable() for text in stored.values())
    (row,) = object_labels.read("cats/a.jpg", stored, {}).rows
    assert row.annotation.turns[-1].parts[0].text == said


def test_a_form_without_a_size_takes_up_to_fifty_mebibytes(api: World) -> None:
    assert api("POST", "/v1/datasets/cats/uploads", {"filename": "a.jpg"}).body["max_bytes"] == 50 * 1024 * 1024


@pytest.mark.parametrize(
    "filename",
    ["/a.jpg", "../b/a.jpg", "a//b.jpg", "a/./b.jpg", "", "a\nb.jpg", "_READY", "x/_READY", ".DS_Store", "ü" * 500],
)
def test_a_filename_that_could_not_be_an_upload_is_refused(filename: str, api: World) -> None:
    problem = assert_problem(api("POST", "/v1/datasets/cats/uploads", {"filename": filename}), 422, "invalid_body")
    assert problem["errors"][0]["pointer"] == "/filename"


def test_everything_wrong_with_a_body_is_told_at_once(api: World) -> None:
    body = {"filename": "a.jpg", "size": 10**9, "metadata": {"split": "half", "colour": "red"}, "bytes": "..."}
    problem = assert_problem(api("POST", "/v1/datasets/cats/uploads", body), 422, "invalid_body")
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"/size", "/metadata/split", "/metadata/colour", "/bytes"}


def test_metadata_that_s3_would_not_take_are_refused_with_another_way(api: World) -> None:
    body = {"filename": "a.jpg", "metadata": {"prompt": "ü" * 1500}}
    problem = assert_problem(api("POST", "/v1/datasets/cats/uploads", body), 422, "invalid_body")
    assert "sidecar" in problem["errors"][0]["detail"]


def _store(api: World, *items: tuple[Place, Any]) -> None:
    for place, item in items:
        assert api.examples.write(Write(place, item.to_json(), 0))


def test_what_happened_to_a_file_is_answered_by_its_whole_key(api: World) -> None:
    key = "cats/a b+ü#%41.jpg"
    item = UploadItem("image", "cats", key, "v1", "01", verdict=rejected(Code.TRUNCATED, "ends early", "again"))
    _store(api, (places.image("cats", key), item))
    found = api("GET", "/v1/datasets/cats/uploads", query={"key": key})
    assert found.status == 200
    assert found.body["verdict"] == {
        "verdict": "rejected", "code": "truncated", "detail": "ends early", "fix": "again", "warnings": [],
    }  # fmt: skip
    assert_problem(api("GET", "/v1/datasets/cats/uploads", query={"key": "cats/b.jpg"}), 404, "upload_unknown")
    assert_problem(api("GET", "/v1/datasets/cats/uploads", query={"key": "dogs/b.jpg"}), 400, "key_invalid")
    assert_problem(api("GET", "/v1/datasets/cats/uploads"), 400, "key_invalid")


def test_a_dataset_is_counted_even_when_nothing_has_arrived(api: World) -> None:
    _store(
        api,
        (places.image("cats", "cats/a.jpg"), UploadItem("image", "cats", "cats/a.jpg", "v", "1", verdict=accepted())),
    )
    assert api("GET", "/v1/datasets/cats").body["uploads"] == {"accepted": 1, "fixed": 0, "rejected": 0}
    assert api("GET", "/v1/datasets/dogs").body["uploads"] == {"accepted": 0, "fixed": 0, "rejected": 0}
    assert_problem(api("GET", "/v1/datasets/Cats"), 400, "dataset_name_invalid")


def test_verdicts_are_listed_for_a_dataset_and_for_uploads_outside_any(api: World) -> None:
    for dataset, name in (("cats", "cats/a.jpg"), ("cats", "cats/b.jpg"), (NO_DATASET, "stray.jpg")):
        bad = rejected(Code.NO_DATASET if dataset == NO_DATASET else Code.TRUNCATED, "detail", "fix")
        verdict = accepted() if name == "cats/a.jpg" else bad
        _store(api, (places.image(dataset, name), UploadItem("image", dataset, name, "v", "1", verdict=verdict)))
    path = "/v1/datasets/cats/verdicts"
    assert sorted(item["key"] for item in api("GET", path).body["items"]) == ["cats/a.jpg", "cats/b.jpg"]
    (bad_one,) = api("GET", path, query={"verdict": "rejected"}).body["items"]
    assert (bad_one["key"], bad_one["kind"], bad_one["verdict"]["fix"]) == ("cats/b.jpg", "image", "fix")
    (stray,) = api("GET", "/v1/verdicts").body["items"]
    assert (stray["key"], stray["verdict"]["code"]) == ("stray.jpg", "no_dataset")
    cursor = api("GET", path, query={"limit": "1"}).body["next_cursor"]
    assert len(api("GET", path, query={"limit": "1", "cursor": cursor}).body["items"]) == 1
    assert_problem(api("GET", "/v1/verdicts", query={"cursor": cursor}), 400, "cursor_invalid")
    assert_problem(api("GET", path, query={"verdict": "bad"}), 400, "verdict_invalid")


def test_the_findings_on_a_version_are_listed_and_its_card_is_the_judged_one(api: World) -> None:
    manifest = _publish(api)
    path = "/v1/datasets/cats/versions/1"
    assert_problem(api("GET", f"{path}/compliance"), 404, "not_judged")
    assert_problem(api("GET", "/v1/datasets/cats/versions/2/compliance"), 404, "version_unknown")
    artifacts = Artifacts(boto3.client("s3"), "artifacts")
    said = [row(f"ex_{number}", answer=f"ann{number}@example.org") for number in range(3)]
    report = judge(manifest, said, artifacts, Judges())
    key = store_judged_card(manifest, report, artifacts, NOW.date())
    assert key
    assert urlsplit(api("GET", path).body["card_url"]).path.endswith(key)
    first = api("GET", f"{path}/compliance", query={"limit": "2"}).body
    assert first["summary"]["privacy"] == {"passed": 0, "warned": 3, "refused": 0}
    assert first["report"] == f"{manifest.folder}/compliance.json"
    rest = api("GET", f"{path}/compliance", query={"limit": "2", "cursor": first["next_cursor"]}).body
    found = [*first["items"], *rest["items"]]
    assert [item["example_id"] for item in found] == ["ex_0", "ex_1", "ex_2"]
    assert {(item["level"], item["check"], item["code"]) for item in found} == {("warn", "privacy", "email")}
    assert rest["next_cursor"] is None


def _publish(api: World) -> Manifest:
    """One example of dataset cats, cut into a version by the function that does it."""
    key = "cats/1.jpg"
    made = row("ex_1", dataset="cats")
    said = made.annotation
    assert said is not None
    example = ExampleItem(
        "cats",
        "ex_1",
        {"file-1": Slot("file", "cats/a.csv", "v1", "01", "", (key,), (said,), "line 1")},
        state=State.READY,
        line=made.to_line(),
        digest=made.digest(),
        revision=1,
    )
    broken = UploadItem(
        "image", "cats", "cats/2.jpg", "v1", "01", verdict=rejected(Code.TRUNCATED, "ends early", "again")
    )
    items = [(places.example("cats", "ex_1"), example), (places.image("cats", "cats/2.jpg"), broken)]
    _store(api, *items)
    artifacts = Artifacts(boto3.client("s3"), "artifacts")
    manifest, _ = publish("cats", api.examples, artifacts, NOW, "s1", one_by_one, lambda _: None)
    return manifest


def test_versions_are_listed_and_one_is_answered_with_a_link_to_its_card(api: World) -> None:
    assert api("GET", "/v1/datasets/cats/versions").body == {"items": []}
    manifest = _publish(api)
    (listed,) = api("GET", "/v1/datasets/cats/versions").body["items"]
    assert (listed["version"], listed["digest"], listed["counts"]["train"]) == (1, manifest.digest, 1)
    assert listed["created_at"] == "2026-11-20T12:00:00.000Z"
    assert [note["code"] for note in listed["notes"]] == ["other_recipe", "repaired"]
    one = api("GET", "/v1/datasets/cats/versions/1").body
    assert one.items() >= (listed | {"dataset": "cats", "card_key": manifest.card_key}).items()
    url = urlsplit(one["card_url"])
    assert url.path.endswith(manifest.card_key)
    assert "Expires=" in url.query
    page = boto3.client("s3").get_object(Bucket="artifacts", Key=one["card_key"])["Body"].read().decode()
    assert "cats/2.jpg" in page


@pytest.mark.parametrize("version", ["2", "0", "01", "latest", "1.0"])
def test_a_version_that_is_not_there_is_a_problem(version: str, api: World) -> None:
    _publish(api)
    assert_problem(api("GET", f"/v1/datasets/cats/versions/{version}"), 404, "version_unknown")
    assert_problem(api("GET", f"/v1/datasets/Cats/versions/{version}"), 400, "dataset_name_invalid")


def _example(number: int, state: State) -> tuple[Place, ExampleItem]:
    said = Annotation((Turn("user", (Part(image=0),)), Turn("assistant", (Part("cat"),))))
    slot = Slot("file", "cats/a.csv", "v1", "01", "", (f"cats/{number}.jpg",), (said,), f"line {number}")
    example_id = f"ex_{number}"
    return places.example("cats", example_id), ExampleItem(
        "cats", example_id, {"file-1": slot}, state=state, revision=1
    )


def test_examples_come_in_pages_whose_cursor_belongs_to_its_list(api: World) -> None:
    _store(api, *(_example(number, State.READY) for number in range(5)), _example(9, State.WAITING))
    path, seen, cursor = "/v1/datasets/cats/examples", list[str](), None
    while True:
        query = {"state": "ready", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = api("GET", path, query=query).body
        seen += [item["example_id"] for item in page["items"]]
        if cursor := page["next_cursor"]:
            last = cursor
            continue
        break
    assert sorted(seen) == [f"ex_{number}" for number in range(5)]
    assert_problem(api("GET", path, query={"state": "held", "cursor": last}), 400, "cursor_invalid")
    forged = base64.urlsafe_b64encode(json.dumps(["nowhere", "examples", "cats", None]).encode()).decode()
    assert_problem(api("GET", path, query={"cursor": forged}), 400, "cursor_invalid")
    assert_problem(api("GET", path, query={"cursor": "bm9uc2Vuc2U"}), 400, "cursor_invalid")
    assert_problem(api("GET", path, query={"state": "done"}), 400, "state_invalid")
    for limit in ("0", "101", "-1", "ten", "9" * 5000):
        assert_problem(api("GET", path, query={"limit": limit}), 400, "limit_invalid")


# ---------------------------------------------------------------------------------------------- runs


def test_a_run_is_accepted_and_its_execution_started(api: World) -> None:
    answer = api("POST", "/v1/runs", {"dataset": "cats", "hyperparameters": {"n_epochs": 2}, "seed": 7}, KEY)
    run_id = answer.body["run_id"]
    assert (answer.status, answer.headers["location"]) == (202, f"/v1/runs/{run_id}")
    assert "idempotent-replayed" not in answer.headers
    assert api.executions() == [f"{run_id}-1"]
    run = api("GET", f"/v1/runs/{run_id}").body
    assert (run["status"], run["dataset"], run["door"]) == ("queued", "cats", "api")
    assert run["settings"]["base_model"] == "local-vision-1"
    assert run["settings"]["hyperparameters"]["n_epochs"] == 2
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", run["requested_at"])
    assert not {"task_token", "fence", "request_key"} & run.keys()


def test_repeating_a_request_answers_the_same_and_starts_nothing(api: World) -> None:
    first = api("POST", "/v1/runs", {"dataset": "cats"}, KEY)
    again = api("POST", "/v1/runs", {"dataset": "cats"}, KEY)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(api.executions()) == 1


def test_a_key_used_again_for_something_else_is_refused(api: World) -> None:
    api("POST", "/v1/runs", {"dataset": "cats"}, KEY)
    assert_problem(api("POST", "/v1/runs", {"dataset": "dogs"}, KEY), 422, "idempotency_key_reused")


def test_another_key_for_the_same_training_shares_the_run_that_has_not_cut_its_data(api: World) -> None:
    first = api("POST", "/v1/runs", {"dataset": "cats"}, KEY).body
    second = api("POST", "/v1/runs", {"dataset": "cats"}, {"Idempotency-Key": "order-0002"}).body
    assert (first["shared"], second["shared"]) == (False, True)
    assert second["run_id"] == first["run_id"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "idempotency_key_missing"),
        ({"Idempotency-Key": "short"}, "idempotency_key_invalid"),
        ({"Idempotency-Key": "x" * 65}, "idempotency_key_invalid"),
        ({"Idempotency-Key": "with spaces"}, "idempotency_key_invalid"),
    ],
)
def test_a_run_needs_an_idempotency_key(headers: dict[str, str], code: str, api: World) -> None:
    assert_problem(api("POST", "/v1/runs", {"dataset": "cats"}, headers), 400, code)
    assert api.executions() == []


def test_a_provider_that_nobody_knows_is_refused_before_a_run_is_made(api: World) -> None:
    assert_problem(api("POST", "/v1/runs", {"dataset": "cats", "provider": "acme"}, KEY), 422, "unknown_provider")
    assert api("GET", "/v1/runs", query={"dataset": "cats"}).body["items"] == []


def test_what_a_request_leaves_open_is_marked_so_that_the_dataset_s_own_settings_can_decide(api: World) -> None:
    left_open = api("POST", "/v1/runs", {"dataset": "cats"}, KEY).body["run_id"]
    stated = api("POST", "/v1/runs", {"dataset": "cats", "provider": "local"}, {"Idempotency-Key": "order-0002"}).body
    settings = [api("GET", f"/v1/runs/{run}").body["settings"] for run in (left_open, stated["run_id"])]
    assert [(one["provider"], one["defaulted"]) for one in settings] == [
        ("local", ["provider", "base_model"]),
        ("local", ["base_model"]),
    ]


def test_runs_are_listed_newest_first_in_pages_or_all_that_live(api: World) -> None:
    made = [
        api("POST", "/v1/runs", {"dataset": "cats", "seed": n}, {"Idempotency-Key": f"order-{n:04}"}).body["run_id"]
        for n in range(3)
    ]
    first = api("GET", "/v1/runs", query={"dataset": "cats", "limit": "2"}).body
    rest = api("GET", "/v1/runs", query={"dataset": "cats", "limit": "2", "cursor": first["next_cursor"]}).body
    assert [run["run_id"] for run in first["items"] + rest["items"]] == sorted(made, reverse=True)
    api.runs.update(made[0], {"status": "failed"})
    assert {run["run_id"] for run in api("GET", "/v1/runs").body["items"]} == set(made[1:])


def test_events_checkpoints_and_metrics_of_a_run_are_lists(api: World) -> None:
    run_id = api("POST", "/v1/runs", {"dataset": "cats"}, KEY).body["run_id"]
    api.runs.put_checkpoint(Checkpoint(run_id, 10, "ft:1", {"train_loss": 0.5}, 0.75))
    api.runs.put_metrics(run_id, [{"step": 1, "train_loss": 2.5}])
    api.runs.add_event(run_id, RunEvent(1_800_000_000.25, "job-created", "The provider has it."))
    path = f"/v1/runs/{run_id}"
    assert api("GET", f"{path}/checkpoints").body["items"][0]["score"] == 0.75
    assert api("GET", f"{path}/metrics").body["items"] == [{"step": 1, "train_loss": 2.5}]
    (event,) = api("GET", f"{path}/events").body["items"]
    assert event == {
        "at": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "name": "job-created",
        "text": "The provider has it.",
    }
    for below in ("", "/events", "/checkpoints", "/metrics"):
        assert_problem(api("GET", f"/v1/runs/run_nobody{below}"), 404, "run_unknown")


def test_a_failed_run_is_resumed_as_its_next_attempt_and_a_finished_one_is_not(api: World) -> None:
    run_id = api("POST", "/v1/runs", {"dataset": "cats"}, KEY).body["run_id"]
    api.runs.update(run_id, {"status": "failed", "failure": {"code": "x", "cause": "y", "fix": ""}})
    answer = api("POST", f"/v1/runs/{run_id}/resume")
    assert (answer.status, answer.body["attempt"], answer.body["status"]) == (202, 2, "queued")
    assert sorted(api.executions()) == [f"{run_id}-1", f"{run_id}-2"]
    api.runs.update(run_id, {"status": "succeeded"})
    assert_problem(api("POST", f"/v1/runs/{run_id}/resume"), 409, "run_not_resumable")
    assert_problem(api("POST", "/v1/runs/run_nobody/resume"), 404, "run_unknown")


# ---------------------------------------------------------------------------------------------- models

MODEL = ModelVersion(
    "cats", 0, "run_1", 10, "local", "local-vision-1", "ft:1", 1, "d1", "versions/cats/1/manifest.json", "r1",
    1_800_000_000.0, score=0.75,
)  # fmt: skip


@pytest.fixture
def models(api: World) -> World:
    for run in ("run_1", "run_2"):
        api.models.register(replace(MODEL, run_id=run, model_id=f"ft:{run}"))
    return api


PROMOTE = "/v1/models/cats/champion/promote"
ROLL_BACK = "/v1/models/cats/champion/rollback"


def test_an_alias_answers_with_all_that_is_needed_to_use_its_model(models: World) -> None:
    assert_problem(models("GET", "/v1/models/cats/champion"), 404, "alias_unknown")
    first = models("POST", PROMOTE, {"model_version": 1}, {"If-None-Match": "*"})
    assert (first.status, first.headers["etag"]) == (200, '"1"')
    found = models("GET", "/v1/models/cats/champion")
    assert (found.body["model_version"], found.body["model"]["model_id"]) == (1, "ft:run_1")
    assert found.body["model"]["recipe"] == "r1"
    cached = models("GET", "/v1/models/cats/champion", headers={"If-None-Match": '"1"'})
    assert (cached.status, cached.body, cached.headers["etag"]) == (304, None, '"1"')


def test_an_alias_moves_only_from_where_the_caller_saw_it(models: World) -> None:
    assert_problem(models("POST", PROMOTE, {"model_version": 1}), 428, "if_match_required")
    models("POST", PROMOTE, {"model_version": 1}, {"If-None-Match": "*"})
    assert_problem(models("POST", PROMOTE, {"model_version": 2}, {"If-None-Match": "*"}), 412, "etag_stale")
    for tag in ('"7"', 'W/"1"', "1", "nonsense"):
        assert_problem(models("POST", PROMOTE, {"model_version": 2}, {"If-Match": tag}), 412, "etag_stale")
    moved = models("POST", PROMOTE, {"model_version": 2}, {"If-Match": '"1"'})
    assert (moved.body["model_version"], moved.body["previous"], moved.headers["etag"]) == (2, 1, '"2"')
    assert moved.body["by"] == "AROAEXAMPLE"


def test_rolling_back_is_one_more_entry_of_the_history(models: World) -> None:
    models("POST", PROMOTE, {"model_version": 1}, {"If-None-Match": "*"})
    models("POST", PROMOTE, {"model_version": 2, "reason": "better"}, {"If-Match": '"1"'})
    assert_problem(models("POST", ROLL_BACK), 428, "if_match_required")
    assert_problem(models("POST", ROLL_BACK, headers={"If-Match": '"1"'}), 412, "etag_stale")
    back = models("POST", ROLL_BACK, headers={"If-Match": '"2"'})
    assert (back.body["action"], back.body["model_version"], back.headers["etag"]) == ("rolled_back", 1, '"3"')
    history = models("GET", "/v1/models/cats/champion/history").body["items"]
    assert [(move["action"], move["model_version"]) for move in history] == [
        ("rolled_back", 1), ("promoted", 2), ("promoted", 1),
    ]  # fmt: skip


def test_moves_that_make_no_sense_are_refused(models: World) -> None:
    new = {"If-None-Match": "*"}
    assert_problem(models("POST", PROMOTE, {"model_version": 9}, new), 422, "model_unknown")
    assert_problem(models("POST", PROMOTE, {"model_version": 0}, new), 422, "invalid_body")
    assert_problem(
        models("POST", "/v1/models/cats/Champion/promote", {"model_version": 1}, new), 422, "alias_refused"
    )
    assert_problem(models("POST", ROLL_BACK, headers=new), 422, "alias_refused")


def test_models_are_listed_newest_first_with_their_aliases(models: World) -> None:
    models("POST", PROMOTE, {"model_version": 1}, {"If-None-Match": "*"})
    listed = models("GET", "/v1/models/cats").body
    assert [(model["number"], model["aliases"]) for model in listed["items"]] == [(2, []), (1, ["champion"])]
    assert [(alias["alias"], alias["etag"]) for alias in listed["aliases"]] == [("champion", '"1"')]


# ---------------------------------------------------------------------------------------------- all routes


def test_a_known_path_with_another_method_says_which_it_answers_to(api: World) -> None:
    answer = api("DELETE", "/v1/datasets/cats/uploads")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/datasets", "/v1/runs/a/b/c", "/v1/", "/v1/runs/%F0%9F"])
def test_an_unknown_path_is_a_problem_too(path: str, api: World) -> None:
    answer = api("GET", path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_is_not_json_is_refused_by_type_by_content_and_by_size(api: World) -> None:
    path = "/v1/datasets/cats/uploads"
    assert_problem(api("POST", path, raw_body="filename=a.jpg"), 415, "unsupported_media_type")
    json_type = {"Content-Type": "application/json; charset=utf-8"}
    assert_problem(api("POST", path, headers=json_type, raw_body="{"), 400, "bad_json")
    assert_problem(api("POST", path, headers=json_type), 400, "bad_json")
    assert_problem(api("POST", path, headers=json_type, raw_body="[]"), 422, "invalid_body")
    assert_problem(api("POST", path, headers=json_type, base64_body=b"\xff\xfe"), 400, "bad_json")
    assert_problem(api("POST", path, headers=json_type, raw_body=" " * 70_000), 413, "body_too_large")
    good = json.dumps({"filename": "a.jpg"}).encode()
    assert api("POST", path, headers=json_type, base64_body=good).status == 200


def test_a_fault_of_ours_is_a_problem_without_its_inner_life(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(RunsTable, "get", broken)
    problem = assert_problem(api("GET", "/v1/runs/run_1"), 500, "internal_error")
    assert "secret" not in json.dumps(problem)
