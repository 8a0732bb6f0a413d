"""Comes in: MiniStack as installed; goes out: MiniStack that does what AWS does where the project depends on it.

One function per gap; each opens by saying what AWS does, and `tests/e2e/test_cloud_gaps.py` holds a test for each.
MiniStack's own modules are changed in this process only, and the launcher refuses any other version of it.
"""

from __future__ import annotations

import contextvars
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.arn import parse_arn
from ministack.core.responses import get_account_id, get_region, set_request_account_id, set_request_region
from ministack.services import dynamodb, eventbridge, lambda_svc, s3, sqs, stepfunctions
from ministack.services.cloudformation import provisioners

from pixtune_local.cloud.lambda_pool import CodeStore, Function, LambdaPool

# MiniStack's records are plain JSON-like dicts throughout.
Record = dict[str, Any]


def mend(pool: LambdaPool, store: CodeStore) -> None:
    run_functions_in_the_pool(pool, store)
    read_numbers_in_mappings()
    fill_queue_batches(pool.per_function)
    read_table_streams()
    name_versions_in_s3_events()
    ask_targets_for_permission()
    retry_events_for_functions()
    refuse_unsigned_api_calls()
    authorize_as_iam_names_it()
    count_loopback_as_tls()
    keep_time_to_live()


def run_functions_in_the_pool(pool: LambdaPool, store: CodeStore) -> None:
    """AWS runs a function in an environment of its own: its role's keys, its memory and time, its exceptions."""
    layers: dict[str, Any] = {}

    def layer_folder(attachment: Any) -> Any:
        arn = attachment["Arn"] if isinstance(attachment, dict) else attachment
        if arn not in layers:
            archive = lambda_svc._resolve_layer_zip(attachment)
            layers[arn] = store.unpacked(archive, arn) if archive else None
        return layers[arn]

    def execute(func: Record, event: Any, request_id: str) -> Record:
        config = func.get("config") or func
        folders = [layer_folder(attachment) for attachment in config.get("Layers") or []]
        function = Function(
            name=config["FunctionName"],
            arn=config["FunctionArn"],
            handler=config["Handler"],
            code=store.unpacked(func["code_zip"], config["CodeSha256"]),
            layers=tuple(folder for folder in folders if folder),
            environment=dict((config.get("Environment") or {}).get("Variables") or {}),
            credentials=lambda_runtime.execution_credentials(config),
            memory_mb=int(config.get("MemorySize", 128)),
            timeout_seconds=float(config.get("Timeout", 3)),
            region=config["FunctionArn"].split(":")[3],
            version=config.get("Version", "$LATEST"),
            revision=" ".join([config["CodeSha256"], *map(str, config.get("Layers") or [])]),
            json_logs=(config.get("LoggingConfig") or {}).get("LogFormat") == "JSON",
        )
        answer = pool.invoke(function, event, request_id)
        if answer.failed:
            return {"body": answer.payload, "error": True, "function_error": "Unhandled", "log": answer.log}
        return {"body": answer.payload, "log": answer.log}

    lambda_svc._execute_function_warm = execute


def read_numbers_in_mappings() -> None:
    """CloudFormation reads a Number parameter as the number the property asks for, not as text."""

    def with_numbers(properties: Record) -> Record:
        scaling = properties.get("ScalingConfig")
        whole: Record = {
            key: int(value)
            for key, value in properties.items()
            if key.startswith("Maximum") or key in {"BatchSize", "ParallelizationFactor"}
        }
        if scaling:
            whole["ScalingConfig"] = {key: int(value) for key, value in scaling.items()}
        return {**properties, **whole}

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
    create, update = handlers["create"], handlers["update"]
    handlers["create"] = lambda name, properties, stack: create(name, with_numbers(properties), stack)
    handlers["update"] = lambda physical, old, new, stack: update(
        physical, with_numbers(old), with_numbers(new), stack
    )


def fill_queue_batches(per_function: int) -> None:
    """Lambda fills a batch up to the mapping's BatchSize, which may be more than the ten of one ReceiveMessage.

    It also starts as many environments as it likes; here no more batches are taken than the pool can serve, so that
    waiting messages gather in larger batches instead of waiting one by one, their visibility running out.
    The batching window is not waited for: a batch goes as soon as there is anything to send.
    """
    concurrency = lambda_svc._sqs_esm_concurrency

    def receive(queue_url: str, batch_size: int) -> list[Record]:
        with sqs._queues_lock:
            queue = sqs._get_q(queue_url)
            visibility = int(queue["attributes"].get("VisibilityTimeout", "30"))
            sqs._expire_retained(queue)
            sqs._dlq_sweep(queue)
            messages: list[Record] = sqs._collect_msgs(queue, int(batch_size or 1), visibility)
            return messages

    sqs._receive_messages_for_esm = receive
    lambda_svc._sqs_esm_concurrency = lambda *arguments: min(per_function, concurrency(*arguments))


def read_table_streams() -> None:
    """Lambda reads each table stream in order and on its own: a batch that fails is split, retried from the first
    record it reports as failed, and after its retries goes to the failure destination, so that the stream goes on.
    """
    at_work: set[str] = set()

    def poll() -> None:
        while True:
            for account, region, mapping in list(lambda_svc._iter_all_esms()):
                if mapping["UUID"] not in at_work and ":dynamodb:" in mapping.get("EventSourceArn", ""):
                    at_work.add(mapping["UUID"])
                    threading.Thread(target=serve, args=(account, region, mapping), daemon=True).start()
            time.sleep(0.5)

    def serve(account: str, region: str, mapping: Record) -> None:
        set_request_account_id(account)
        set_request_region(region)
        while mapping["UUID"] in lambda_svc._esms:
            if not mapping.get("Enabled", True) or not advance(mapping):
                time.sleep(0.05)
        at_work.discard(mapping["UUID"])

    def advance(mapping: Record) -> bool:
        stream = mapping["EventSourceArn"]
        table = stream.split("/")[1]
        positions = lambda_svc._dynamodb_stream_positions
        position = max(positions.get(mapping["UUID"], 0), dynamodb.stream_start_position(table))
        batch = dynamodb.stream_records_since(table, position, mapping.get("BatchSize", 100))
        if not batch:
            return False
        matching = lambda_svc._apply_filter_criteria(batch, mapping)
        if matching:
            deliver(mapping, matching, 0)
        positions[mapping["UUID"]] = position + len(batch)
        return True

    def deliver(mapping: Record, records: list[Record], attempt: int) -> None:
        function, _config = lambda_svc._get_func_record_for_qualifier(
            mapping["FunctionName"], mapping.get("Qualifier")
        )
        if function is None or mapping["UUID"] not in lambda_svc._esms:
            return
        result = lambda_svc._execute_function(function, {"Records": records})
        remaining = records if result.get("error") else unfinished(mapping, records, result.get("body"))
        if not remaining:
            return
        half = len(remaining) // 2
        if result.get("error") and half and mapping.get("BisectBatchOnFunctionError"):
            deliver(mapping, remaining[:half], attempt)
            deliver(mapping, remaining[half:], attempt)
            return
        retries = mapping.get("MaximumRetryAttempts", -1)
        if 0 <= retries <= attempt:
            stream = mapping["EventSourceArn"]
            lambda_svc._send_ddb_stream_failure_record(
                mapping, function, remaining, stream, result, "RetryAttemptsExhausted"
            )
            return
        time.sleep(min(5.0, 0.1 * 2**attempt))
        deliver(mapping, remaining, attempt + 1)

    def unfinished(mapping: Record, records: list[Record], answer: Any) -> list[Record]:
        if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []) or not isinstance(answer, dict):
            return []
        failed = {item.get("itemIdentifier") for item in answer.get("batchItemFailures") or []}
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        first = min((numbers.index(number) for number in failed if number in numbers), default=0)
        return records[first:] if failed else []

    lambda_svc._poll_dynamodb_streams = lambda: False
    threading.Thread(target=poll, daemon=True).start()


def name_versions_in_s3_events() -> None:
    """S3 names the object's version in the events of a versioned bucket, tells time to the second, and gives a
    deletion neither size nor, unless a delete marker was made, an etag.
    """
    version: contextvars.ContextVar[str | None] = contextvars.ContextVar("version", default=None)
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event

    def fire_with_version(*arguments: Any, **named: Any) -> None:
        token = version.set(named.get("version_id"))
        try:
            fire(*arguments, **named)
        finally:
            version.reset(token)

    def dispatch_with_version(event: Record, *arguments: Any, **named: Any) -> Any:
        if event.get("Source") == "aws.s3":
            detail = json.loads(event["Detail"])
            if current := version.get():
                detail["object"]["version-id"] = current
            if event["DetailType"] == "Object Deleted":
                detail["object"].pop("size", None)
            if not detail["object"].get("etag"):
                detail["object"].pop("etag", None)
            at = re.sub(r"\.\d+Z$", "Z", event["Time"])
            event = {**event, "Detail": json.dumps(detail, ensure_ascii=False), "Time": at}
        return dispatch(event, *arguments, **named)

    s3._fire_s3_event = fire_with_version
    eventbridge._dispatch_event = dispatch_with_version


def ask_targets_for_permission() -> None:
    """EventBridge delivers only where the queue's or function's policy lets it; what it cannot deliver goes to the
    target's dead-letter queue with the reason, or is lost where there is none.
    """
    invoke = eventbridge._invoke_target

    def refusal(arn: str, rule_arn: str) -> tuple[str, str] | None:
        service = parse_arn(arn).service
        if service == "sqs":
            if sqs._queue_by_arn(arn) is None:
                return "SDK_CLIENT_ERROR", "The specified queue does not exist."
            if not sqs.queue_policy_allows(arn, "events.amazonaws.com", rule_arn, get_account_id()):
                return (
                    "NO_PERMISSIONS",
                    f"events.amazonaws.com is not authorized to perform: sqs:SendMessage on {arn}",
                )
        if service == "lambda":
            function, _config, _name = lambda_svc._get_func_record_for_ref(arn)
            if not function:
                return "SDK_CLIENT_ERROR", f"Function not found: {arn}"
            context = iam_evaluator.EvalContext(
                principal_arn="*",
                principal_type="Service",
                principal_account="",
                action="lambda:InvokeFunction",
                resource_arn=arn,
                region=get_region(),
                service_context={"aws:sourcearn": rule_arn, "aws:sourceaccount": get_account_id()},
            )
            policy = function.get("policy")
            if iam_evaluator.evaluate_resource_policy(policy, context, "events.amazonaws.com").decision != "Allow":
                return "NO_PERMISSIONS", f"events.amazonaws.com is not authorized to invoke {arn}"
        return None

    def invoke_or_bury(target: Record, event: Record, rule: Record, view: Any = None) -> None:
        arn = target.get("Arn", "")
        refused = refusal(arn, rule["Arn"])
        if refused is None:
            invoke(target, event, rule, view)
            return
        dead = (target.get("DeadLetterConfig") or {}).get("Arn")
        app.logger.error("EventBridge: %s: %s", rule["Arn"], refused[1])
        if not dead or refusal(dead, rule["Arn"]) is not None:
            return
        view = view or eventbridge._pattern_event_view(event)
        eventbridge._dispatch_to_sqs(parse_arn(dead), json.dumps(view.event_with_detail()))
        said = {"RULE_ARN": rule["Arn"], "TARGET_ARN": arn, "ERROR_CODE": refused[0], "ERROR_MESSAGE": refused[1]}
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in said.items()}
        sqs._queue_by_arn(dead)["messages"][-1]["message_attributes"] = attributes

    eventbridge._invoke_target = invoke_or_bury


def retry_events_for_functions() -> None:
    """EventBridge invokes a function asynchronously: Lambda tries twice more, then its failure destination."""

    def dispatch(arn: str, payload: str) -> None:
        function, config, _name = lambda_svc._get_func_record_for_ref(arn)
        lambda_svc.invoke_async_with_retry(
            lambda_svc._execution_record_for_config(function, config), json.loads(payload)
        )

    eventbridge._dispatch_to_lambda = dispatch


def refuse_unsigned_api_calls() -> None:
    """A route of an HTTP API with AWS_IAM answers 403 {"message":"Forbidden"} to a call that is unsigned, wrongly
    signed, signed for another service than execute-api, or not permitted to its caller.
    """
    enforce: Callable[..., Any] = app._enforce_execute_api

    def enforce_alike(
        api: str, stage: str, method: str, path: str, headers: Record, query: Record, **named: Any
    ) -> Any:
        denied = enforce(api, stage, method, path, headers, query, **named)
        if app._execute_api_authorization_type(api, stage, method, path) != "AWS_IAM":
            return denied
        signed = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", headers.get("authorization", ""))
        presigned = re.search(r"/([^/]+)/aws4_request", str(query.get("X-Amz-Credential", "")))
        scope = signed or presigned
        if denied is None and scope is not None and scope[1] == "execute-api":
            return None
        return 403, {"Content-Type": "application/json"}, b'{"message":"Forbidden"}'

    app._enforce_execute_api = enforce_alike


def authorize_as_iam_names_it() -> None:
    """IAM has no action for SQS's batch calls: sqs:SendMessage permits SendMessageBatch too. A task token's answer is
    permitted on the state machine that issued the token, which the request itself does not name.
    """
    action, resource = iam_actions.extract_iam_action, iam_actions.extract_resource_arn

    def action_of(*arguments: Any) -> str | None:
        name: str | None = action(*arguments)
        return name.removesuffix("Batch") if name and name.startswith("sqs:") else name

    def resource_of(service: str, method: str, path: str, headers: Record, *rest: Any) -> str:
        target = headers.get("x-amz-target", "")
        machines = list(stepfunctions._state_machines)
        if target.startswith("AWSStepFunctions.SendTask") and len(machines) == 1:
            return str(machines[0])
        return str(resource(service, method, path, headers, *rest))

    iam_actions.extract_iam_action = action_of
    iam_actions.extract_resource_arn = resource_of


def count_loopback_as_tls() -> None:
    """AWS's endpoints speak TLS, and buckets refuse whoever does not. Loopback cannot be listened to from outside."""
    pin = app.pin_request_origin
    app.pin_request_origin = lambda source_ip, _secure: pin(source_ip, True)


def keep_time_to_live() -> None:
    """CloudFormation turns on the time to live that a table's TimeToLiveSpecification names."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    create, update = handlers["create"], handlers["update"]

    def turn_on(table: str, properties: Record) -> None:
        specification = properties.get("TimeToLiveSpecification")
        if specification:
            enabled = str(specification.get("Enabled")).lower() == "true"
            request = {"TableName": table, "TimeToLiveSpecification": {**specification, "Enabled": enabled}}
            status, _headers, body = dynamodb._update_ttl(request)
            if status >= 400:
                raise ValueError(f"AWS::DynamoDB::Table TimeToLiveSpecification: {body.decode()}")

    def create_with_ttl(name: str, properties: Record, *rest: Any) -> Any:
        answer = create(name, properties, *rest)
        turn_on(answer[0], properties)
        return answer

    def update_with_ttl(physical: str, old: Record, new: Record, *rest: Any, **named: Any) -> Any:
        answer = update(physical, old, new, *rest, **named)
        turn_on(answer[0], new)
        return answer

    handlers.update(create=create_with_ttl, update=update_with_ttl)
