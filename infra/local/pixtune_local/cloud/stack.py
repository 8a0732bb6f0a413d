"""Comes in: the project's folder; goes out: its template running on this machine, and a description of where.

`up` builds the functions for this machine, starts MiniStack and the local provider, and deploys the same
`template.yaml` that AWS gets. Nothing here talks to AWS: every client is bound to loopback and made-up keys.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import boto3
import psutil
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

STACK = "pixtune"
REGION = "us-east-1"
ACCOUNT = "000000000000"
DEPLOYMENT_BUCKET = "pixtune-deployment"
CALLER = "pixtune-local"
ROOT_KEY = "test"

# What the template's parameters are on this machine; only those it declares are passed.
LOCAL_PARAMETERS: Mapping[str, str] = {
    "DefaultProvider": "local",
    "OpenAIUrl": "",  # nothing here can reach a provider that costs money
    "PollMinSeconds": "1",
    "PollMaxSeconds": "1",
    "ReenqueueAfterSeconds": "10",
    "SettleDeadlineSeconds": "120",
    "FactsWindowSeconds": "0",
    "ConvertConcurrency": "4",
    "ReadObjectTags": "true",
}
NO_PARAMETERS: Mapping[str, str] = {}
PROVIDER_KEY = "sk-local"

Echo = Callable[[str], None]


class StackFailed(Exception):
    """The local cloud could not be brought up; the message says what failed and what to do."""


@dataclass(frozen=True)
class Process:
    """A process this module started. `started` (seconds since 1970) tells it from a later one with the same pid."""

    pid: int
    started: float
    log: str


@dataclass(frozen=True)
class StackInfo:
    """Where everything listens, and the keys of a caller who may use the API and the buckets."""

    endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str
    outputs: dict[str, str]
    api_url: str | None
    provider_url: str | None
    processes: dict[str, Process]
    logs: str

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> StackInfo:
        fields = json.loads(text)
        fields["processes"] = {name: Process(**process) for name, process in fields["processes"].items()}
        return StackInfo(**fields)


@dataclass(frozen=True)
class QueueDepth:
    """Messages that wait and messages in flight."""

    name: str
    waiting: int
    in_flight: int


@dataclass(frozen=True)
class StackStatus:
    """What `pixtune status` shows. `info` is None where nothing was brought up."""

    info: StackInfo | None
    alive: dict[str, bool] = field(default_factory=dict)
    queues: list[QueueDepth] = field(default_factory=list)
    dead_letter_queues: list[QueueDepth] = field(default_factory=list)
    functions: dict[str, dict[str, Any]] = field(default_factory=dict)


def up(
    root: Path,
    *,
    port: int | None = None,
    fresh: bool = False,
    echo: Echo = print,
    parameters: Mapping[str, str] = NO_PARAMETERS,
) -> StackInfo:
    """Bring the stack up, or up to date where it already runs. `fresh` starts from nothing. parameters: of the
    template, over LOCAL_PARAMETERS.

    Raises StackFailed with what to do; whatever was started for it is stopped again.
    """
    root = root.resolve()
    state = root / ".pixtune"
    state.mkdir(exist_ok=True)
    began = time.monotonic()
    interpreter = root / ".venv-cloud" / "bin" / "python"
    if not interpreter.exists():
        raise StackFailed(f"{interpreter.parent.parent} is missing: run `make setup` in {root}")
    if fresh:
        down(root)
    before = _recorded(root)
    running = before if before is not None and all(map(_is_ours, before.processes.values())) else None
    if before is not None and running is None:
        down(root)

    def took() -> str:
        return f"{time.monotonic() - began:.1f} s"

    archives = _build(root, interpreter)
    echo(f"functions built ({took()})")
    if running is not None:
        info = _deploy(root, running, archives, parameters)
        echo(f"stack brought up to date ({took()})")
        return _record(root, info)

    processes: dict[str, Process] = {}
    try:
        port = port or _free_port()
        endpoint_url = f"http://127.0.0.1:{port}"
        processes["cloud"] = _start_cloud(root, interpreter, port)
        provider_url = None
        if (root / "infra/local/pixtune_local/provider/server.py").is_file():
            provider_port = _free_port()
            provider_url = f"http://127.0.0.1:{provider_port}"
            processes["provider"] = _start_provider(root, provider_port)
        _wait_until_it_answers(f"{endpoint_url}/_ministack/health", processes["cloud"])
        if provider_url is not None:
            _wait_until_it_answers(f"{provider_url}/_local/health", processes["provider"])
        echo(f"local cloud and provider started ({took()})")
        logs = str(state / "logs")
        info = StackInfo(endpoint_url, REGION, "", "", {}, None, provider_url, processes, logs)
        info = _deploy(root, _with_caller(info), archives, parameters)
        echo(f"stack deployed, the same template.yaml as on AWS ({took()})")
    except BaseException:
        for process in processes.values():
            _stop(process)
        raise
    return _record(root, info)


def down(root: Path) -> list[str]:
    """Stop what `up` recorded, and only that; forget its state. Answers the names of what was stopped."""
    root = root.resolve()
    info = _recorded(root)
    if info is None:
        return []
    stopped = [name for name, process in info.processes.items() if _stop(process)]
    state = root / ".pixtune"
    for folder in ("provider", "tmp"):
        shutil.rmtree(state / folder, ignore_errors=True)
    (state / "stack.json").unlink(missing_ok=True)
    return stopped


def kill_provider(root: Path) -> Callable[[], None]:
    """Crash the local provider (SIGKILL); calling what comes back starts it again on the same port and folder."""
    root = root.resolve()
    info = _recorded(root)
    if info is None or info.provider_url is None or not _is_ours(info.processes["provider"]):
        raise StackFailed("no local provider runs")
    provider_url = info.provider_url
    crashed = psutil.Process(info.processes["provider"].pid)
    for process in [*crashed.children(recursive=True), crashed]:
        process.kill()
    crashed.wait(10)

    def start() -> None:
        process = _start_provider(root, urlsplit(provider_url).port or 0)
        _wait_until_it_answers(f"{provider_url}/_local/health", process)
        _record(root, replace(info, processes={**info.processes, "provider": process}))

    return start


def status(root: Path) -> StackStatus:
    """Who is alive, where everything is, how deep the queues are and where the functions' logs are."""
    info = _recorded(root.resolve())
    if info is None:
        return StackStatus(None)
    alive = {name: _is_ours(process) for name, process in info.processes.items()}
    if not alive.get("cloud"):
        return StackStatus(info, alive)
    queues: list[QueueDepth] = []
    dead: list[QueueDepth] = []
    sqs = client(info, "sqs")
    names: list[Literal["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "RedrivePolicy"]]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "RedrivePolicy"]
    found = {
        url: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names).get("Attributes", {})
        for url in sqs.list_queues().get("QueueUrls", [])
    }
    targets = {
        json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].rsplit(":", 1)[-1]
        for attributes in found.values()
        if attributes.get("RedrivePolicy")
    }
    for url, attributes in sorted(found.items()):
        name = url.rsplit("/", 1)[-1]
        waiting, in_flight = (int(attributes.get(key, "0")) for key in names[:2])
        is_dead = name in targets or "deadletter" in name.replace("-", "").lower()
        (dead if is_dead else queues).append(QueueDepth(name, waiting, in_flight))
    functions = json.loads(_http(f"{info.endpoint_url}/_pixtune/functions"))
    return StackStatus(info, alive, queues, dead, functions)


def client(info: StackInfo, service: str, *, as_root: bool = True) -> Any:
    """A boto3 client of the local cloud, as its root or as the caller the API knows.

    Typed Any because the service is named at run time.
    """
    keys = (ROOT_KEY, ROOT_KEY) if as_root else (info.access_key_id, info.secret_access_key)
    return boto3.session.Session(
        aws_access_key_id=keys[0], aws_secret_access_key=keys[1], region_name=info.region
    ).client(  # type: ignore[call-overload]  # the overloads are by literal service name
        service,
        endpoint_url=_loopback(info.endpoint_url),
        config=Config(retries={"max_attempts": 3}, proxies={}),
    )


def _loopback(url: str) -> str:
    host = urlsplit(url).hostname
    if host not in {"127.0.0.1", "localhost", "::1"}:
        raise StackFailed(f"{url} is not on this machine; the local stack speaks to loopback addresses only")
    return url


def _http(url: str, body: dict[str, str] | None = None) -> bytes:
    """The answer of a server of ours; OSError where it does not answer, or answers with an error."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {PROVIDER_KEY}"}
    request = urllib.request.Request(_loopback(url), data=data, headers=headers)  # _loopback checked it
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        content: bytes = answer.read()
        return content


def _build(root: Path, interpreter: Path) -> dict[str, Path]:
    """Every artifact for this machine, by the interpreter the functions will run in: logical id -> archive."""
    package = root / "infra" / "build" / "package.py"
    command = [str(interpreter), str(package), "host", "--all", "--zip", "--root", str(root)]
    index = {name: value for name, value in os.environ.items() if name.lower() in _INDEX_SETTINGS}
    environment = {**_environment(root), **index}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise StackFailed(f"the functions could not be built:\n{done.stderr.strip()}")
    return {Path(line).stem: Path(line) for line in done.stdout.splitlines()}


def _environment(root: Path, *python_path: str) -> dict[str, str]:
    """What a child may know of this machine: no AWS profile, key, endpoint or proxy of the person's own."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "UV_CACHE_DIR") if name in os.environ
    }
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(str(root / part) for part in python_path),
        "PYTHONUNBUFFERED": "1",
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


# How uv reaches the package index where a machine has its own way to it.
_INDEX_SETTINGS = {
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "ssl_cert_file", "ssl_cert_dir",
    "uv_index_url", "uv_default_index", "uv_index", "uv_offline", "pip_index_url",
}  # fmt: skip


def _start_cloud(root: Path, interpreter: Path, port: int) -> Process:
    state = root / ".pixtune"
    shutil.rmtree(state / "logs", ignore_errors=True)
    runtime = state / "build" / "host" / "runtime"
    arguments = ["--port", str(port), "--state-dir", str(state), "--runtime", str(runtime)]
    command = [str(interpreter), "-m", "pixtune_local.cloud.server", *arguments]
    return _start(command, _environment(root, "infra/local"), state / "cloud.log")


def _start_provider(root: Path, port: int) -> Process:
    state = root / ".pixtune"
    command = [sys.executable, "-m", "pixtune_local.provider.server", "--port", str(port)]
    command += ["--state-dir", str(state / "provider")]
    return _start(command, _environment(root, "infra/local", "shared"), state / "provider.log")


def _start(command: list[str], environment: dict[str, str], log: Path) -> Process:
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return Process(child.pid, psutil.Process(child.pid).create_time(), str(log))


def _is_ours(process: Process) -> bool:
    try:
        found = psutil.Process(process.pid)
        return abs(found.create_time() - process.started) < 0.01 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stop(process: Process) -> bool:
    if not _is_ours(process):
        return False
    found = psutil.Process(process.pid)
    found.terminate()
    try:
        found.wait(10)
    except psutil.TimeoutExpired:
        found.kill()
        found.wait(5)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(url: str, process: Process, seconds: float = 30) -> None:
    for _ in _until(seconds, process, url):
        with suppress(OSError):
            _http(url)
            return


def _until(seconds: float, process: Process, url: str) -> Iterator[None]:
    """Tries until the deadline; the process's own last words say why it never answered."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _is_ours(process):
        yield
        time.sleep(0.03)
    tail = "\n".join(Path(process.log).read_text(errors="replace").splitlines()[-15:])
    raise StackFailed(f"{url} never answered; {process.log} ends with:\n{tail}")


def _with_caller(info: StackInfo) -> StackInfo:
    """An IAM user, for the API's routes ask for a signature and a permission, here as on AWS."""
    iam = client(info, "iam")
    iam.create_user(UserName=CALLER)
    key = iam.create_access_key(UserName=CALLER)["AccessKey"]
    return StackInfo(
        **{**vars(info), "access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
    )


def _permit_caller(info: StackInfo, buckets: list[str], queue_urls: list[str]) -> None:
    arns = [f"arn:aws:s3:::{bucket}{part}" for bucket in buckets for part in ("", "/*")]
    statements = [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}]
    if arns:
        statements.append({"Effect": "Allow", "Action": "s3:*", "Resource": arns})  # type: ignore[dict-item]  # one or many
    if queues := [f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rsplit('/', 1)[-1]}" for url in queue_urls]:
        statements.append({"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queues})  # type: ignore[dict-item]  # as above
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    client(info, "iam").put_user_policy(UserName=CALLER, PolicyName="use-pixtune", PolicyDocument=policy)


def _deploy(root: Path, info: StackInfo, archives: dict[str, Path], parameters: Mapping[str, str]) -> StackInfo:
    """What `sam package` and `sam deploy` do, in one call: upload what the template names, then create or update."""
    cloudformation: CloudFormationClient = client(info, "cloudformation")
    s3 = client(info, "s3")
    s3.create_bucket(Bucket=DEPLOYMENT_BUCKET)
    body = (root / "template.yaml").read_text()

    def upload(match: re.Match[str]) -> str:
        label, relative = match[1], match[2].rstrip("/")
        source = root / relative if label == "DefinitionUri" else archives.get(_logical_id(relative))
        if source is None or not source.is_file():
            raise StackFailed(f"template.yaml names {relative}, and nothing was built from it: is it in the project?")
        content = source.read_bytes()
        key = f"{source.name}-{_short_hash(content)}"
        s3.put_object(Bucket=DEPLOYMENT_BUCKET, Key=key, Body=content)
        return f"{label}: s3://{DEPLOYMENT_BUCKET}/{key}"

    packaged = re.sub(r"\b(CodeUri|ContentUri|DefinitionUri):\s*([\w][\w./-]*)", upload, body)
    s3.put_object(Bucket=DEPLOYMENT_BUCKET, Key="template.yaml", Body=packaged.encode())
    url = f"{info.endpoint_url}/{DEPLOYMENT_BUCKET}/template.yaml"
    declared = {p["ParameterKey"] for p in cloudformation.get_template_summary(TemplateURL=url).get("Parameters", [])}
    values = {**LOCAL_PARAMETERS, **parameters}
    if info.provider_url is not None:
        values["LocalProviderUrl"] = f"{info.provider_url}/v1"
    _create_or_update(cloudformation, url, {name: value for name, value in values.items() if name in declared})
    stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    resources = [
        summary
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=STACK)
        for summary in page["StackResourceSummaries"]
    ]

    def ids(kind: str) -> list[str]:
        return [found["PhysicalResourceId"] for found in resources if found["ResourceType"] == kind]

    _permit_caller(info, ids("AWS::S3::Bucket"), [url for name, url in outputs.items() if name.endswith("QueueUrl")])
    apis = ids("AWS::ApiGatewayV2::Api")
    api_url = f"{info.endpoint_url}/_aws/execute-api/{apis[0]}" if apis else None
    info = StackInfo(**{**vars(info), "outputs": outputs, "api_url": api_url})
    if info.provider_url is not None:
        _introduce_provider(info, ids("AWS::SecretsManager::Secret"))
    return info


def _introduce_provider(info: StackInfo, secret_ids: list[str]) -> None:
    """Let the provider sign its webhooks, and the functions check them, with a secret made for this stack."""
    signing = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    _http(f"{info.provider_url}/_local/webhook", {"url": f"{info.api_url}/v1/webhooks/local", "secret": signing})
    value = json.dumps({"local": {"api_key": PROVIDER_KEY, "webhook_secret": signing}})
    for secret_id in secret_ids:
        client(info, "secretsmanager").put_secret_value(SecretId=secret_id, SecretString=value)


def _logical_id(folder: str) -> str:
    """As infra/build names artifacts: `functions/convert_image` -> `ConvertImage`; `shared` is the layer."""
    if folder == "shared":
        return "PixtuneLayer"
    return "".join(word.capitalize() for word in Path(folder).name.split("_"))


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _create_or_update(cloudformation: CloudFormationClient, url: str, values: dict[str, str]) -> None:
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
    request: dict[str, Any] = {
        "StackName": STACK,
        "TemplateURL": url,
        "Parameters": parameters,
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    try:
        cloudformation.describe_stacks(StackName=STACK)
        exists = True
    except ClientError:
        exists = False
    try:
        (cloudformation.update_stack if exists else cloudformation.create_stack)(**request)
    except ClientError as refused:
        if "No updates are to be performed" in str(refused):
            return
        raise StackFailed(f"CloudFormation refused template.yaml: {refused}") from refused
    deadline = time.monotonic() + 120
    while (state := cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]).endswith(
        "_PROGRESS"
    ):
        if time.monotonic() > deadline:
            raise StackFailed(f"the stack is still {state} after two minutes")
        time.sleep(0.03)
    if state not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        reasons = "\n".join(
            f"  {event.get('LogicalResourceId')}: {event.get('ResourceStatusReason')}"
            for event in reversed(events)
            if "FAILED" in event.get("ResourceStatus", "")
        )
        raise StackFailed(f"the stack is {state}:\n{reasons}")


def _recorded(root: Path) -> StackInfo | None:
    path = root / ".pixtune" / "stack.json"
    return StackInfo.from_json(path.read_text()) if path.is_file() else None


def _record(root: Path, info: StackInfo) -> StackInfo:
    path = root / ".pixtune" / "stack.json"
    partial = path.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(info.to_json())
    partial.replace(path)
    return info


@contextmanager
def running(root: Path, *, echo: Echo = print, parameters: Mapping[str, str] = NO_PARAMETERS) -> Iterator[StackInfo]:
    """The stack for the length of a block: up before, down after, whatever happens."""
    info = up(root, fresh=True, echo=echo, parameters=parameters)
    try:
        yield info
    finally:
        down(root)
