"""What AWS does and the local cloud must do too: one test for each thing MiniStack alone did otherwise."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from pixtune_local.cloud import stack
from pixtune_local.cloud.stack import StackInfo

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).parent / "cloud_gaps"

Event = dict[str, Any]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own: its template and functions, this project's layer, locks and environments."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "functions", folder / "functions")
    shutil.copy(PROJECT / "template.yaml", folder)
    for part in ("shared", ".tools", ".venv-cloud"):
        (folder / part).symlink_to(ROOT / part)
    build = ROOT / ".pixtune" / "build"  # what both projects are made of need not be installed twice
    build.mkdir(parents=True, exist_ok=True)
    (folder / ".pixtune").mkdir()
    (folder / ".pixtune" / "build").symlink_to(build)
    (folder / "infra").mkdir()
    for part in ("build", "locks"):
        (folder / "infra" / part).symlink_to(ROOT / "infra" / part)
    (folder / "infra" / "local" / "pixtune_local").mkdir(parents=True)
    for part in ("__init__.py", "cloud", "workflow"):
        if (ROOT / "infra/local/pixtune_local" / part).exists():
            (folder / "infra/local/pixtune_local" / part).symlink_to(ROOT / "infra/local/pixtune_local" / part)
    return folder


@pytest.fixture(scope="module")
def cloud(project: Path) -> Iterator[StackInfo]:
    with stack.running(project) as info:
        yield info


class Inbox:
    """The queue that the rules and functions of the test's stack write to."""

    def __init__(self, info: StackInfo, queue: str) -> None:
        self._sqs = stack.client(info, "sqs")
        self._url = info.outputs[queue]
        self.seen: list[Event] = []

    def wait_for(self, wanted: Callable[[Event], bool], count: int = 1, seconds: float = 20) -> list[Event]:
        """The messages that are wanted, as soon as there are so many; whatever came instead is in the failure."""
        deadline = time.monotonic() + seconds
        while len(found := [message for message in self.seen if wanted(message)]) < count:
            assert time.monotonic() < deadline, f"waited for {count} messages, found {len(found)} in {self.seen}"
            self.receive()
        return found

    def receive(self) -> None:
        names = ["All"]
        answer = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=names
        )
        for message in answer.get("Messages", []):
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
            said = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
            self.seen.append({**json.loads(message["Body"]), "attributes": said})


@pytest.fixture
def seen(cloud: StackInfo) -> Inbox:
    return Inbox(cloud, "Seen")


def events_of(inbox: Inbox, key: str, count: int) -> list[Event]:
    found = inbox.wait_for(lambda m: m.get("detail", {}).get("object", {}).get("key") == key, count)
    return sorted(found, key=lambda event: str(event["detail"]["object"]["sequencer"]))


# ---------------------------------------------------------------------------------------- S3 events


def test_s3_names_version_reason_and_growing_sequencer_of_every_change(cloud: StackInfo, seen: Inbox) -> None:
    s3, bucket, key = stack.client(cloud, "s3"), cloud.outputs["Bucket"], "cats/a b+ü#%41.jpg"
    first = s3.put_object(Bucket=bucket, Key=key, Body=b"1")["VersionId"]
    second = s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": key}, Metadata={"a": "b"},
                            MetadataDirective="REPLACE")["VersionId"]  # fmt: skip
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"3")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    third = s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload=parts)["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key=key)["VersionId"]
    s3.delete_object(Bucket=bucket, Key=key, VersionId=first)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key, "VersionId": marker}]})

    events = events_of(seen, key, 6)
    details = [event["detail"] for event in events]
    assert [detail["object"]["version-id"] for detail in details] == [first, second, third, marker, first, marker]
    reasons = ["PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject", "DeleteObject", "DeleteObject"]
    assert [detail["reason"] for detail in details] == reasons
    kinds = [None, None, None, "Delete Marker Created", "Permanently Deleted", "Permanently Deleted"]
    assert [detail.get("deletion-type") for detail in details] == kinds
    assert [event["detail-type"] for event in events] == ["Object Created"] * 3 + ["Object Deleted"] * 3
    assert [detail["object"].get("size") for detail in details] == [1, 1, 1, None, None, None]
    assert all(len(event["time"]) == len("2026-01-01T00:00:00Z") for event in events)


def test_a_presigned_post_is_held_to_its_conditions_and_makes_an_event(cloud: StackInfo, seen: Inbox) -> None:
    s3, bucket = stack.client(cloud, "s3", as_root=False), cloud.outputs["Bucket"]
    post = s3.generate_presigned_post(bucket, "cats/posted.jpg", Conditions=[["content-length-range", 1, 10]])
    assert _post_form(post["url"], post["fields"], b"small") == 204
    assert _post_form(post["url"], post["fields"], b"much too large") == 400
    assert _post_form(post["url"], {**post["fields"], "key": "dogs/elsewhere.jpg"}, b"small") == 403
    (event,) = events_of(seen, "cats/posted.jpg", 1)
    assert event["detail"]["reason"] == "POST Object"
    assert event["detail"]["object"]["version-id"]


def test_a_put_if_none_match_of_an_existing_object_answers_412(cloud: StackInfo) -> None:
    s3, bucket = stack.client(cloud, "s3"), cloud.outputs["Bucket"]
    s3.put_object(Bucket=bucket, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=bucket, Key="once", Body=b"2", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket=bucket, Key="once")["Body"].read() == b"1"


def test_a_bucket_that_denies_plain_http_admits_a_caller_on_loopback(cloud: StackInfo) -> None:
    s3, bucket = stack.client(cloud, "s3", as_root=False), cloud.outputs["Bucket"]
    s3.put_object(Bucket=bucket, Key="by-the-caller", Body=b"1")
    with pytest.raises(ClientError, match="not authorized to perform: dynamodb:Scan"):
        stack.client(cloud, "dynamodb", as_root=False).scan(TableName=cloud.outputs["Table"])


# ---------------------------------------------------------------------------------------- EventBridge


def test_anything_but_a_list_of_suffixes_leaves_exactly_those_out(cloud: StackInfo, seen: Inbox) -> None:
    s3, bucket = stack.client(cloud, "s3"), cloud.outputs["Bucket"]
    for key in ("x/_READY", "x/rows.JSON", "x/rows.json", "x/_READY2"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"1")
    events_of(seen, "x/_READY2", 1)
    events_of(seen, "x/rows.json", 1)
    s3.put_object(Bucket=bucket, Key="x/last", Body=b"1")
    events_of(seen, "x/last", 1)
    keys = {message["detail"]["object"]["key"] for message in seen.seen if "detail" in message}
    assert not keys & {"x/_READY", "x/rows.JSON"}


def test_or_patterns_and_input_transformers_work_on_a_bus_of_its_own(cloud: StackInfo, seen: Inbox) -> None:
    put(cloud, "gaps", "test", {"kind": "dog", "size": 3})
    put(cloud, "gaps", "test", {"kind": "dog", "size": 6})
    put(cloud, "gaps", "test", {"kind": "cat", "size": 1})
    found = seen.wait_for(lambda message: "transformed" in message, 2)
    assert sorted(message["transformed"] for message in found) == ["cat", "dog"]


def test_what_a_queue_does_not_admit_goes_to_the_rules_dead_letters_with_the_reason(cloud: StackInfo) -> None:
    put(cloud, "default", "test.refused", {"n": 1})
    (letter,) = Inbox(cloud, "RuleDeadLetters").wait_for(lambda message: message.get("source") == "test.refused")
    assert letter["detail"] == {"n": 1}
    assert letter["attributes"]["ERROR_CODE"] == "NO_PERMISSIONS"
    assert letter["attributes"]["RULE_ARN"].endswith("Refused" + letter["attributes"]["RULE_ARN"].split("Refused")[1])


def test_a_function_that_fails_an_event_is_tried_thrice_and_then_its_destination_hears(
    cloud: StackInfo, seen: Inbox
) -> None:
    put(cloud, "default", "test.asked", {"n": 7})
    seen.wait_for(lambda message: message.get("asked") == {"n": 7}, 3)
    (given_up,) = Inbox(cloud, "GivenUp").wait_for(bool)
    assert given_up["requestPayload"]["detail"] == {"n": 7}
    assert given_up["responsePayload"]["errorType"] == "LookupError"
    assert len([message for message in seen.seen if message.get("asked") == {"n": 7}]) == 3


# ---------------------------------------------------------------------------------------- SQS to Lambda


def test_a_queue_batch_is_larger_than_ten_and_only_reported_messages_come_again(
    cloud: StackInfo, seen: Inbox
) -> None:
    sqs, work = stack.client(cloud, "sqs"), cloud.outputs["Work"]
    sqs.send_message(QueueUrl=work, MessageBody="warm up")
    seen.wait_for(lambda message: message.get("batch") == ["warm up"])
    for start in range(0, 100, 10):
        entries = [{"Id": str(n), "MessageBody": f"m{n}"} for n in range(start, start + 10)]
        assert not sqs.send_message_batch(QueueUrl=work, Entries=entries).get("Failed")
    sqs.send_message(QueueUrl=work, MessageBody="refused")

    def bodies() -> list[str]:
        return [body for message in seen.seen for body in message.get("batch", [])]

    seen.wait_for(lambda message: "refused" in message.get("batch", []), 2)
    deadline = time.monotonic() + 40
    while len({body for body in bodies() if body.startswith("m")}) < 100:
        assert time.monotonic() < deadline, bodies()
        seen.receive()
    assert max(len(message["batch"]) for message in seen.seen if "batch" in message) > 10
    assert len([body for body in bodies() if body.startswith("m")]) == 100
    dead = stack.client(cloud, "sqs")
    letters: list[Any] = []
    while not letters:
        assert time.monotonic() < deadline
        letters = dead.receive_message(QueueUrl=cloud.outputs["WorkDeadLetters"], WaitTimeSeconds=1).get(
            "Messages", []
        )
    assert [letter["Body"] for letter in letters] == ["refused"]


# ---------------------------------------------------------------------------------------- DynamoDB


def test_a_stream_goes_on_after_a_refused_record_and_after_a_crash(cloud: StackInfo, seen: Inbox) -> None:
    dynamodb, table = stack.client(cloud, "dynamodb"), cloud.outputs["Table"]
    names = ["one", "unwatched", "refused", "two", "crash", "three"]
    items = [{"PutRequest": {"Item": {"pk": {"S": name}}}} for name in names]
    dynamodb.batch_write_item(RequestItems={table: items})
    dead = Inbox(cloud, "StreamDeadLetters")
    letters = dead.wait_for(bool, 2)
    assert {letter["requestContext"]["condition"] for letter in letters} == {"RetryAttemptsExhausted"}
    dynamodb.put_item(TableName=table, Item={"pk": {"S": "four"}})
    seen.wait_for(lambda message: "four" in message.get("stream", []))
    batches = [message["stream"] for message in seen.seen if "stream" in message]
    assert all("unwatched" not in batch for batch in batches)
    assert ["crash"] in batches, "a crashing batch is split until the record that crashes it stands alone"
    assert batches.count(["crash"]) == 3
    assert {"one", "two", "three", "four"} <= {name for batch in batches for name in batch}


def test_the_time_to_live_of_the_template_is_on(cloud: StackInfo) -> None:
    answer = stack.client(cloud, "dynamodb").describe_time_to_live(TableName=cloud.outputs["Table"])
    assert answer["TimeToLiveDescription"] == {"AttributeName": "expires_at", "TimeToLiveStatus": "ENABLED"}


def test_get_att_id_of_a_secret_is_its_arn(cloud: StackInfo) -> None:
    assert cloud.outputs["SecretArn"].startswith("arn:aws:secretsmanager:us-east-1:")


# ---------------------------------------------------------------------------------------- Lambda and IAM


def test_a_function_has_the_layer_and_the_rights_of_its_role_and_no_others(cloud: StackInfo) -> None:
    functions, name = stack.client(cloud, "lambda"), cloud.outputs["AnswerCall"]
    answer = functions.invoke(FunctionName=name, Payload=b"{}")
    assert json.loads(json.loads(answer["Payload"].read())["body"])["layer"] == "pixtune.keys"
    answer = functions.invoke(FunctionName=name, Payload=json.dumps({"do": "delete the table"}).encode())
    assert answer["FunctionError"] == "Unhandled"
    said = json.loads(answer["Payload"].read())
    assert said["errorType"] == "ClientError"
    assert "is not authorized to perform: dynamodb:DeleteTable" in said["errorMessage"]
    assert said["stackTrace"]


def test_the_status_names_a_functions_processes_and_it_survives_their_death(cloud: StackInfo, project: Path) -> None:
    functions, name = stack.client(cloud, "lambda"), cloud.outputs["AnswerCall"]
    functions.invoke(FunctionName=name, Payload=b"{}")
    before = stack.status(project).functions["AnswerCall"]
    assert before["name"] == name
    killed = [psutil.Process(pid) for pid in before["pids"]]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=10)
    assert "FunctionError" not in functions.invoke(FunctionName=name, Payload=b"{}")
    assert not set(stack.status(project).functions["AnswerCall"]["pids"]) & set(before["pids"])


# ---------------------------------------------------------------------------------------- HTTP API


def test_a_signed_and_permitted_call_arrives_as_payload_format_two(cloud: StackInfo) -> None:
    keys = (cloud.access_key_id, cloud.secret_access_key)
    status, body = call(cloud, "POST", "/v1/runs?a=1&b=x%20y", keys, b'{"dataset": "cats"}')
    event = json.loads(body)["event"]
    assert status == 200
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/v1/runs"
    assert event["queryStringParameters"] == {"a": "1", "b": "x y"}
    assert event["requestContext"]["authorizer"]["iam"]["userArn"].endswith(f":user/{stack.CALLER}")


@pytest.mark.parametrize(
    "how", ["unsigned", "wrong secret", "unknown key", "not permitted", "another service", "body"]
)
def test_a_call_that_is_not_signed_or_not_permitted_is_forbidden(cloud: StackInfo, how: str) -> None:
    keys = (cloud.access_key_id, cloud.secret_access_key)
    answers = {
        "unsigned": lambda: call(cloud, "GET", "/v1/runs", None),
        "wrong secret": lambda: call(cloud, "GET", "/v1/runs", (keys[0], "wrong")),
        "unknown key": lambda: call(cloud, "GET", "/v1/runs", ("AKIANOBODY", "x")),
        "not permitted": lambda: call(cloud, "GET", "/v1/runs", stranger(cloud)),
        "another service": lambda: call(cloud, "GET", "/v1/runs", keys, service="s3"),
        "body": lambda: call(cloud, "POST", "/v1/runs", keys, b"signed", send=b"sent"),
    }
    assert answers[how]() == (403, '{"message":"Forbidden"}')


def test_a_route_without_authorization_is_open_and_an_unknown_one_is_not_found(cloud: StackInfo) -> None:
    status, body = call(cloud, "POST", "/v1/hooks/openai", None, b"{}")
    assert (status, json.loads(body)["event"]["pathParameters"]) == (200, {"name": "openai"})
    assert call(cloud, "GET", "/v2/runs", None)[0] == 404


# ---------------------------------------------------------------------------------------- up and down


def test_up_again_brings_the_running_stack_up_to_date(cloud: StackInfo, project: Path) -> None:
    handler = project / "functions" / "take_batch" / "handler.py"
    handler.write_text(handler.read_text().replace('{"batch": bodies}', '{"edited": bodies}'))
    said: list[str] = []
    again = stack.up(project, echo=said.append)
    assert again.processes == cloud.processes
    assert again.outputs == cloud.outputs
    stack.client(cloud, "sqs").send_message(QueueUrl=cloud.outputs["Work"], MessageBody="after the edit")
    Inbox(cloud, "Seen").wait_for(lambda message: message.get("edited") == ["after the edit"])
    assert any("up to date" in line for line in said)


def test_only_loopback_is_listened_to_and_spoken_to(cloud: StackInfo) -> None:
    for process in cloud.processes.values():
        listening = [c for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    away = StackInfo(**{**vars(cloud), "endpoint_url": "https://s3.us-east-1.amazonaws.com"})
    with pytest.raises(stack.StackFailed, match="not on this machine"):
        stack.client(away, "s3")


def test_the_keys_of_the_stack_are_readable_by_their_owner_alone(cloud: StackInfo, project: Path) -> None:
    assert (project / ".pixtune" / "stack.json").stat().st_mode & 0o077 == 0


def test_down_stops_what_up_started_and_nothing_that_only_took_its_number(project: Path) -> None:
    with stack.running(project) as info:
        cloud = info.processes["cloud"]
        children = psutil.Process(cloud.pid)
        assert stack.status(project).alive["cloud"]
        path = project / ".pixtune" / "stack.json"
        mistaken = json.loads(path.read_text())
        mistaken["processes"]["cloud"]["started"] -= 100
        path.write_text(json.dumps(mistaken))
        assert stack.down(project) == []
        assert children.is_running()
        mistaken["processes"]["cloud"]["started"] += 100
        path.write_text(json.dumps(mistaken))
        assert "cloud" in stack.down(project)
        assert not children.is_running()
        assert stack.status(project).info is None
        assert stack.down(project) == []


def put(cloud: StackInfo, bus: str, source: str, detail: Event) -> None:
    entry = {"EventBusName": bus, "Source": source, "DetailType": "Test", "Detail": json.dumps(detail)}
    assert stack.client(cloud, "events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def stranger(cloud: StackInfo) -> tuple[str, str]:
    """The keys of a user who exists and may do nothing."""
    iam = stack.client(cloud, "iam")
    name = f"stranger-{time.monotonic_ns()}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def call(
    cloud: StackInfo,
    method: str,
    path: str,
    keys: tuple[str, str] | None,
    body: bytes = b"",
    *,
    send: bytes | None = None,
    service: str = "execute-api",
) -> tuple[int, str]:
    request = AWSRequest(method, f"{cloud.api_url}{path}", data=body, headers={"content-type": "application/json"})
    if keys is not None:
        SigV4Auth(Credentials(*keys), service, cloud.region).add_auth(request)
    sent = (send or body) if method == "POST" else None
    return _open(urllib.request.Request(str(request.url), data=sent, headers=dict(request.headers), method=method))


def _post_form(url: str, fields: dict[str, str], content: bytes) -> int:
    boundary = "field-boundary"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = "".join(parts) + f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return _open(urllib.request.Request(url, data=body, headers=headers))[0]


def _open(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
