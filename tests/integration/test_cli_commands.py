"""The command line against the real API function: an HTTP server in between hands its requests to the handler."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from tests.integration.http_api import request
from tests.integration.ready_examples import store_examples
from tests.integration.served_api import World, served
from typer.testing import CliRunner

from pixtune.examples import places
from pixtune.examples.items import UploadItem
from pixtune.examples.ports import Write
from pixtune.keys import NO_DATASET
from pixtune.registry.models import ModelVersion
from pixtune.training.approval import Approval
from pixtune.training.run import Terms
from pixtune.verdicts import Code, rejected
from pixtune_cli.app import app
from pixtune_cli.client import Api
from pixtune_cli.display import talk
from pixtune_cli.failures import Exit, Failure
from pixtune_cli.pushing import files_of, push
from pixtune_cli.target import find

MODEL = ModelVersion(
    "cats", 0, "run_1", 10, "local", "local-vision-1", "ft:1", 1, "d1", "m.json", "r1", 1_800_000_000.0, score=0.75
)


@dataclass
class Gateway:
    """Answers on 127.0.0.1 as API Gateway would. `instead`: (status, body) answered in place of the function."""

    world: World
    instead: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, headers: dict[str, str], body: str) -> tuple[int, dict[str, str], str]:
        self.seen.append({"method": method, "path": path, **headers})
        if self.instead:
            status, problem = self.instead.pop(0)
            return status, {"content-type": "application/problem+json"}, json.dumps(problem)
        url = urlsplit(path)
        event = request(method, url.path, headers=headers, query=dict(parse_qsl(url.query)), raw_body=body or None)
        response = self.world.handler(event, SimpleNamespace(aws_request_id="r"))
        return response["statusCode"], response["headers"], response.get("body") or ""


def _handler(gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length).decode()
            status, answered, text = gateway.answer(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in answered.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with served(monkeypatch) as made:
        yield made


@pytest.fixture
def gateway(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """The API behind a local stack's stack.json, which commands find from the folder they are called in."""
    made = Gateway(world)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (tmp_path / ".pixtune").mkdir()
    (tmp_path / ".pixtune" / "stack.json").write_text(
        json.dumps(
            {
                "endpoint_url": "http://127.0.0.1:9",
                "api_url": f"http://127.0.0.1:{server.server_port}",
                "region": "eu-west-1",
                "access_key_id": "local",
                "secret_access_key": "local",
                "outputs": {"UploadsBucket": "uploads", "ArtifactsBucket": "artifacts", "ApiUrl": "http://elsewhere"},
            }
        )
    )
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    monkeypatch.delenv("PIXTUNE_STACK", raising=False)
    monkeypatch.setattr("pixtune_cli.client._FIRST_PAUSE", 0.0)
    yield made
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def pixtune(gateway: Gateway) -> Callable[..., Ended]:
    def call(*arguments: str) -> Ended:
        result = CliRunner().invoke(app, list(arguments))
        return Ended(result.exit_code, result.stdout, result.stderr)

    return call


def test_a_run_starts_with_its_id_on_stdout_and_the_next_command_on_stderr(
    pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    ended = pixtune("run", "start", "cats", "--epochs", "2", "--learning-rate", "0.5", "--seed", "7")
    run_id = ended.out.strip()
    assert ended.code == 0
    assert run_id.startswith("run_")
    assert f"pixtune run watch {run_id}" in ended.err
    settings = gateway.world.runs.get(run_id).settings
    assert (settings.hyperparameters.n_epochs, settings.hyperparameters.learning_rate_multiplier, settings.seed) == (
        2,
        0.5,
        7,
    )


def test_a_run_may_name_a_version_and_terms(pixtune: Callable[..., Ended], gateway: Gateway) -> None:
    ended = pixtune("run", "start", "cats@3", "--max-usd", "5", "--approval-above", "2.5", "--accept-retirement")
    settings = gateway.world.runs.get(ended.out.strip()).settings
    assert (settings.version, settings.terms) == (3, Terms(5.0, 2.5, True))
    refused = pixtune("run", "start", "cats@latest")
    assert (refused.code, refused.out) == (Exit.USAGE, "")


def test_a_waiting_run_is_shown_with_its_costs_and_approved_or_denied(
    pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    run_id = pixtune("run", "start", "cats").out.strip()
    asked = asdict(Approval("asked", "d", 7.5, attempt=1, asked_at=1.0))
    estimate = {"usd": {"low": 1.0, "mid": 4.0, "high": 7.5}, "price_date": "2026-11-22"}
    changes = {"version": 1, "stage": "AwaitApproval", "approval": asked, "approval_token": "t" * 20}
    gateway.world.runs.update(run_id, changes | {"estimate": estimate})
    shown = pixtune("run", "show", run_id)
    assert "1.00 to 7.50 USD (prices of 2026-11-22)" in shown.out
    assert f"pixtune run approve {run_id}" in shown.err
    ended = pixtune("run", "approve", run_id, "--why", "worth it")
    assert (ended.code, ended.out) == (0, f"{run_id}  approved up to 7.50 USD\n")
    assert "worth it" in pixtune("run", "show", run_id).out
    too_late = pixtune("run", "deny", run_id)
    assert too_late.code == Exit.USAGE
    assert "was approved by" in too_late.err


def test_costs_are_shown_by_detail_with_what_saves_and_refusals_say_why(
    pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    store_examples(gateway.world, *range(20))
    ended = pixtune("cost", "cats", "--provider", "openai", "--epochs", "3", "--traffic", "3000/month")
    assert ended.code == 0, ended.err
    for said in ("as it is now (20 train)", "gpt-4o-2024-08-06", "high (asked)", "detail low", "epochs 2", "USD"):
        assert said in ended.out
    assert "pixtune run start cats --provider openai" in ended.err
    as_json = json.loads(pixtune("cost", "cats", "--provider", "openai", "--json").out)
    assert as_json["offer"]["inference"]["requests_per_month"] == 30_000
    assert pixtune("cost", "cats", "--traffic", "much").code == Exit.USAGE
    assert pixtune("cost", "dogs").code == Exit.USAGE


def test_every_request_is_signed_for_the_api_with_the_local_stack_s_own_keys(
    pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    pixtune("run", "ls", "cats")
    signature = gateway.seen[0]["authorization"]
    assert signature.startswith("AWS4-HMAC-SHA256 Credential=local/")
    assert "/eu-west-1/execute-api/aws4_request" in signature


def test_the_same_idempotency_key_gets_the_same_run(pixtune: Callable[..., Ended]) -> None:
    first = pixtune("run", "start", "cats", "--idempotency-key", "order-0001")
    again = pixtune("run", "start", "cats", "--idempotency-key", "order-0001", "--json")
    assert json.loads(again.out)["run_id"] == first.out.strip()
    assert "was made before" in again.err
    other = pixtune("run", "start", "dogs", "--idempotency-key", "order-0001")
    assert (other.code, other.out) == (Exit.USAGE, "")
    assert "idempotency_key_reused" in other.err


def test_a_refused_body_names_each_field(pixtune: Callable[..., Ended]) -> None:
    ended = pixtune("run", "start", "Cats", "--epochs", "99")
    assert ended.code == Exit.USAGE
    assert "/dataset" in ended.err
    assert "/hyperparameters/n_epochs" in ended.err


def test_runs_are_shown_listed_and_resumed(pixtune: Callable[..., Ended], gateway: Gateway) -> None:
    run_id = pixtune("run", "start", "cats").out.strip()
    failure = {"code": "dataset_empty", "cause": "No example is ready.", "fix": "Add images."}
    gateway.world.runs.update(run_id, {"status": "failed", "failure": failure})
    shown = pixtune("run", "show", run_id)
    assert "No example is ready." in shown.out
    assert f"pixtune run resume {run_id}" in shown.err
    assert json.loads(pixtune("run", "show", run_id, "--json").out)["failure"] == failure
    assert pixtune("run", "ls", "cats").out.split("\t")[0] == run_id
    assert pixtune("run", "ls").out == ""
    watched = pixtune("run", "watch", run_id)
    assert watched.code == Exit.RUN_FAILED
    assert "Add images." in watched.err
    assert pixtune("run", "resume", run_id).out == f"{run_id}  attempt 2\n"
    assert pixtune("run", "ls", "--json").out.count(run_id) == 1


def test_a_curve_is_shown_and_a_run_held_up_let_go_on_and_called_off(
    pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    run_id = pixtune("run", "start", "cats").out.strip()
    assert "no metrics yet" in pixtune("run", "metrics", run_id).err
    gateway.world.runs.put_metrics(run_id, [{"step": 1, "train_loss": 2.5}, {"step": 2, "train_loss": 0.5}])
    assert pixtune("run", "metrics", run_id).out == "1\t2.5000\n2\t0.5000\n"
    assert json.loads(pixtune("run", "metrics", run_id, "--json").out.splitlines()[1]) == {
        "step": 2,
        "train_loss": 0.5,
    }
    refused = pixtune("run", "pause", run_id)
    assert (refused.code, "no provider job yet" in refused.err) == (Exit.USAGE, True)
    going = {"status": "running", "stage": "PollTraining", "provider_job_id": "j", "provider_status": "running"}
    gateway.world.runs.update(run_id, going)
    for verb in ("pause", "unpause", "cancel"):
        assert f"{verb} asked for; now running" in pixtune("run", verb, run_id).out


def test_an_unknown_run_is_a_usage_error_with_the_request_s_id(pixtune: Callable[..., Ended]) -> None:
    ended = pixtune("run", "show", "run_nobody")
    assert ended.code == Exit.USAGE
    assert "run_unknown" in ended.err
    assert "JKJaXmPLvHcESHA=" in ended.err


def test_versions_are_listed_and_one_is_shown_with_its_card(pixtune: Callable[..., Ended], gateway: Gateway) -> None:
    none = pixtune("data", "versions", "cats")
    assert (none.code, none.out) == (0, "")
    assert "no versions yet" in none.err
    key = "versions/cats/2-0123456789ab/card.html"
    item = {
        "dataset": "cats", "version": 2, "digest": "0123456789abcdef", "created_at": 1_800_000_000.0, "repaired": 0,
        "counts": {"train": 3, "validation": 0, "test": 1}, "settings": "{}", "recipe": "r1", "card_key": key,
        "manifest_key": "versions/cats/2-0123456789ab/manifest.json",
        "notes": json.dumps([{"code": "left_out", "detail": "1 examples were left out"}]),
    }  # fmt: skip
    assert gateway.world.examples.write(Write(places.version("cats", "0123456789abcdef"), item, 0))
    listed = pixtune("data", "versions", "cats")
    assert listed.out == "2\t0123456789ab\t2027-01-15T08:00:00.000Z\t3\t0\t1\tleft_out\n"
    assert "pixtune data versions cats --version 2" in listed.err
    assert json.loads(pixtune("data", "versions", "cats", "--json").out)["version"] == 2
    shown = pixtune("data", "versions", "cats", "--version", "2")
    assert key in shown.out
    assert "left_out 1 examples were left out" in shown.out
    assert pixtune("data", "versions", "cats", "--version", "3").code == Exit.USAGE


def test_a_dataset_and_one_of_its_files_are_shown(pixtune: Callable[..., Ended], gateway: Gateway) -> None:
    key = "cats/a b+ü#%41.jpg"
    item = UploadItem("image", "cats", key, "v1", "01", verdict=rejected(Code.TRUNCATED, "It ends early.", "Again."))
    assert gateway.world.examples.write(Write(places.image("cats", key), item.to_json(), 0))
    summary = pixtune("data", "show", "cats")
    assert "uploads.rejected" in summary.out
    assert json.loads(pixtune("data", "show", "cats", "--json").out)["uploads"]["rejected"] == 1
    for name in (key, key.removeprefix("cats/")):
        one = pixtune("data", "show", "cats", "--key", name)
        assert one.code == 0
        assert "It ends early." in one.out
    assert pixtune("data", "show", "cats", "--key", "nowhere.jpg").code == Exit.USAGE


def test_verdicts_are_listed_those_outside_any_dataset_too(pixtune: Callable[..., Ended], gateway: Gateway) -> None:
    for dataset, key in (("cats", "cats/a.jpg"), (NO_DATASET, "stray.jpg")):
        verdict = rejected(Code.TRUNCATED if dataset == "cats" else Code.NO_DATASET, "It is so.", "Mend it.")
        item = UploadItem("image", dataset, key, "v1", "01", verdict=verdict)
        assert gateway.world.examples.write(Write(places.image(dataset, key), item.to_json(), 0))
    assert pixtune("data", "verdicts", "cats").out == "cats/a.jpg\trejected\ttruncated\tIt is so. Mend it.\n"
    assert pixtune("data", "verdicts", "cats", "--only", "accepted").out == ""
    assert pixtune("data", "verdicts").out == "stray.jpg\trejected\tno_dataset\tIt is so. Mend it.\n"
    assert json.loads(pixtune("data", "verdicts", "--json").out)["key"] == "stray.jpg"
    assert pixtune("data", "verdicts", "cats", "--only", "bad").code == Exit.USAGE
    assert pixtune("data", "compliance", "cats", "1").code == Exit.USAGE


def test_an_alias_is_promoted_and_rolled_back(pixtune: Callable[..., Ended], gateway: Gateway) -> None:
    for run in ("run_1", "run_2"):
        gateway.world.models.register(replace(MODEL, run_id=run, model_id=f"ft:{run}"))
    assert pixtune("model", "rollback", "cats").code == Exit.USAGE
    assert pixtune("model", "promote", "cats", "run_1@x").code == Exit.USAGE
    unknown = pixtune("model", "promote", "cats", "run_9@20")
    assert (unknown.code, "run_unknown" in unknown.err) == (Exit.USAGE, True)
    assert pixtune("model", "promote", "cats", "1").out == "champion -> model version 1 (ft:run_1)\n"
    assert json.loads(pixtune("model", "promote", "cats", "2", "--json").out)["previous"] == 1
    assert pixtune("model", "rollback", "cats").out == "champion -> model version 1 (ft:run_1)\n"
    history = [line.split("\t")[1:3] for line in pixtune("model", "history", "cats").out.splitlines()]
    assert history == [["rolled_back", "1"], ["promoted", "2"], ["promoted", "1"]]
    listed = [line.split("\t")[:2] for line in pixtune("model", "ls", "cats").out.splitlines()]
    assert listed == [["2", ""], ["1", "champion"]]


@pytest.mark.parametrize(
    ("status", "exit_code"), [(401, Exit.AUTH), (403, Exit.AUTH), (404, Exit.USAGE), (412, Exit.USAGE)]
)
def test_a_refusal_becomes_the_exit_code_of_its_kind(
    status: int, exit_code: Exit, pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    gateway.instead = [(status, {"message": "no"})]
    assert pixtune("run", "ls", "cats").code == exit_code


def test_throttling_and_passing_faults_are_tried_again_and_lasting_ones_reported(
    pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    gateway.instead = [(503, {}), (429, {"message": "slow down"}), (502, {})]
    assert pixtune("run", "start", "cats").code == 0
    assert len({seen["idempotency-key"] for seen in gateway.seen}) == 1
    gateway.instead = [(429, {"message": "slow down"})] * 4
    assert pixtune("run", "ls", "cats").code == Exit.QUOTA
    gateway.instead = [(500, {"detail": "x"})] * 4
    assert pixtune("run", "ls", "cats").code == Exit.BUG


def test_an_api_that_is_gone_is_explained(gateway: Gateway, tmp_path: Path) -> None:
    target = find(None, tmp_path)
    nobody = replace(target, outputs=dict(target.outputs) | {"ApiUrl": "http://127.0.0.1:9"})
    with pytest.raises(Failure) as raised:
        Api(nobody, sleep=lambda _: None).get("/v1/runs")
    assert "does not answer" in raised.value.what
    assert raised.value.remedy == "pixtune status"


# ---------------------------------------------------------------------------------------------- push


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a b+ü#%41.jpg", "deep/er/b.png", "metadata.csv", ".DS_Store", "._a.jpg", ".git/config"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(name.encode())
    return tmp_path / "photos"


def keys_in_bucket() -> set[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket="uploads")
    return {item["Key"] for item in listed.get("Contents", [])}


def test_a_folder_is_pushed_with_its_structure_and_pushed_again_without_a_byte(world: World, folder: Path) -> None:
    files, client = files_of(folder, "cats"), boto3.client("s3")
    first = push(files, client, "uploads", "cats", 4, talk())
    assert (
        keys_in_bucket() == set(first.uploaded) == {"cats/a b+ü#%41.jpg", "cats/deep/er/b.png", "cats/metadata.csv"}
    )
    head = client.head_object(Bucket="uploads", Key="cats/a b+ü#%41.jpg")
    assert head["ContentType"] == "image/jpeg"
    again = push(files, client, "uploads", "cats", 4, talk())
    assert (again.uploaded, len(again.unchanged)) == ([], 3)
    (folder / "metadata.csv").write_bytes(b"metadata.CSV")
    assert push(files, client, "uploads", "cats", 4, talk()).uploaded == ["cats/metadata.csv"]


def test_the_marker_that_starts_a_run_goes_last_and_not_at_all_after_a_failure(world: World, folder: Path) -> None:
    (folder / "_READY").write_bytes(b"")
    files, client = files_of(folder, "cats"), boto3.client("s3")
    assert push(files, client, "uploads", "cats", 4, talk()).uploaded[-1] == "cats/_READY"
    files["cats/gone.jpg"] = folder / "gone.jpg"
    failing = push(files, client, "uploads", "cats", 4, talk())
    assert list(failing.failed) == ["cats/gone.jpg"]
    assert "cats/_READY" not in failing.uploaded


def test_a_refused_bucket_is_named_with_its_reason(world: World, folder: Path) -> None:
    client = boto3.client("s3")
    client.create_bucket(Bucket="other", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    files = files_of(folder, "cats")

    def deny(**_: object) -> None:
        raise client.exceptions.ClientError(
            {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "PutObject"
        )

    client.meta.events.register("provide-client-params.s3.PutObject", deny)
    pushed = push(files, client, "other", "cats", 4, talk())
    assert pushed.denied
    assert set(pushed.failed.values()) == {"Access Denied"}


def test_a_bucket_that_is_not_there_is_no_bug_of_ours(pixtune: Callable[..., Ended], folder: Path) -> None:
    ended = pixtune("data", "push", str(folder), "--dataset", "cats")
    assert ended.code == Exit.USAGE
    assert "127.0.0.1:9" in ended.err
    assert "bug" not in ended.err


def test_providers_are_listed_and_every_figure_is_shown_with_its_source(
    pixtune: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDER_URLS", '{"openai": "https://api.openai.com/v1", "local": ""}')
    listed = pixtune("provider", "ls").out.splitlines()
    assert "openai\tgpt-4o-2024-08-06\there\t2027-01-06\t2027-01-14" in listed
    assert "local\tlocal-vision-1\tnot in this stack\tnot announced\tnot announced" in listed
    assert "together\tQwen/Qwen3-VL-8B-Instruct\trows only\tnot announced\tnot announced" in listed
    figures = pixtune("provider", "limits", "azure/gpt-4.1-2025-04-14").out
    assert "images_per_row\t64\t2026-07-31\t\thttps://github.com/MicrosoftDocs" in figures
    assert "prices\tnot stated" in figures
    spec = json.loads(pixtune("provider", "limits", "together", "--json").out)
    assert spec["base_model"] == "Qwen/Qwen3-VL-8B-Instruct"
    assert pixtune("provider", "limits", "nobody").code == Exit.USAGE


def test_a_table_of_ones_own_is_checked_and_shown_without_a_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own.toml"
    own.write_text(
        '[[model]]\nprovider = "azure"\nbase_model = "gpt-4.1-2025-04-14"\nread = 2026-11-20\nmin_rows = 20\n'
    )
    command = ["provider", "limits", "azure/gpt-4.1-2025-04-14"]
    shown = CliRunner().invoke(app, command, env={"PIXTUNE_LIMITS": str(own)})
    assert "min_rows\t20\t2026-11-20\t\tuser" in shown.stdout
    assert "azure\tgpt-4.1-2025-04-14\t" in CliRunner().invoke(app, ["provider", "ls", "--limits", str(own)]).stdout
    own.write_text(own.read_text().replace("= 20\n", '= "many"\n'))
    wrong = CliRunner().invoke(app, [*command, "--limits", str(own)])
    assert wrong.exit_code == Exit.USAGE
    assert "azure/gpt-4.1-2025-04-14: min_rows: Input should be a valid integer" in wrong.stderr


def test_a_version_is_linted_for_one_provider_or_compared_for_all(
    pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    about = {"dataset": "cats", "version": 3, "provider": "bedrock", "base_model": "nova", "title": "Nova"}
    about |= {"adapter": True, "available": True, "notes": ["Known before it is paid for."]}
    problem = {
        "where": "train line 1 (ex_1)",
        "path": "text",
        "found": "'User:'",
        "expected": "other",
        "fix": "Reword.",
    }
    mended = [{"code": "images_moved", "detail": "Images are named by S3 URI.", "rows": 1200, "example_id": "ex_1"}]
    bad = about | {"total": 2, "items": [problem], "mended": mended}
    gateway.instead = [(200, bad | {"next_cursor": "c"}), (200, bad | {"next_cursor": None})]
    found = pixtune("data", "lint", "cats@3", "--provider", "bedrock", "--model", "nova")
    assert found.code == Exit.USAGE
    assert found.out.splitlines() == [
        *["train line 1 (ex_1): text is 'User:', expected other. Reword."] * 2,
        "mended  Images are named by S3 URI. (1,200 examples)",
    ]
    assert "Version 3 of cats has 2 problem(s) for Nova." in found.err
    asked = [seen["path"] for seen in gateway.seen]
    assert asked[0] == "/v1/datasets/cats/versions/3/lint?provider=bedrock&base_model=nova"
    assert asked[1].endswith("&cursor=c")
    gateway.instead = [(200, about | {"total": 0, "items": [], "mended": mended, "next_cursor": None})]
    good = pixtune("data", "lint", "cats@3", "--provider", "bedrock", "--json")
    assert good.code == Exit.OK
    assert json.loads(good.out.splitlines()[-1])["summary"]["mended"] == mended
    assert "pixtune run start cats --provider bedrock --base-model nova" in good.err
    gateway.instead = [(200, {"items": [about | {"problems": 4}]})]
    assert pixtune("data", "lint", "cats@3").out == "bedrock\tnova\t4\there\n"
    assert "has no version yet" in pixtune("data", "lint", "cats").err


def test_a_provider_that_does_not_answer_has_an_exit_code_of_its_own(
    pixtune: Callable[..., Ended], gateway: Gateway
) -> None:
    answer = {
        "provider": "openai",
        "base_model": "gpt-4o",
        "ok": False,
        "detail": "HTTP 401",
        "fix": "Check the key.",
    }
    gateway.instead = [(200, answer)]
    checked = pixtune("provider", "check", "openai/gpt-4o")
    assert checked.code == Exit.PROVIDER
    assert "HTTP 401" in checked.err
    gateway.instead = [(200, answer | {"ok": True, "detail": "The base model answers."})]
    assert pixtune("provider", "check", "openai").out == "openai/gpt-4o: The base model answers.\n"
