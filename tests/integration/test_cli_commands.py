"""The command line against the real API function: an HTTP server in between hands its requests to the handler."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from tests.integration.http_api import request
from tests.integration.served_api import World, served
from typer.testing import CliRunner

from pixtune.examples import places
from pixtune.examples.items import UploadItem
from pixtune.examples.ports import Write
from pixtune.keys import NO_DATASET
from pixtune.registry.models import ModelVersion
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
