"""Comes in: MiniStack as installed; goes out: MiniStack that does what AWS does where the project depends on it.

One function per gap; each opens by saying what AWS does. `tests/e2e/test_cloud_gaps.py` holds a test for each.
MiniStack's own modules are changed in this process only, and the launcher refuses any other version of it.
"""

from __future__ import annotations

import contextvars
import json
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import eventbridge, lambda_svc, s3

from pixtune_local.cloud.lambda_pool import CodeStore, Function, LambdaPool


def mend(pool: LambdaPool, store: CodeStore) -> None:
    run_functions_in_the_pool(pool, store)
    put_version_ids_into_s3_events()


def run_functions_in_the_pool(pool: LambdaPool, store: CodeStore) -> None:
    """AWS runs a function in an environment of its own: its role's keys, its memory and time, its exceptions."""
    layers: dict[str, Any] = {}

    def layer_folder(attachment: Any) -> Any:
        arn = attachment["Arn"] if isinstance(attachment, dict) else attachment
        if arn not in layers:
            archive = lambda_svc._resolve_layer_zip(attachment)
            layers[arn] = store.unpacked(archive) if archive else None
        return layers[arn]

    def execute(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        config = func.get("config") or func
        folders = [layer_folder(attachment) for attachment in config.get("Layers") or []]
        function = Function(
            name=config["FunctionName"],
            arn=config["FunctionArn"],
            handler=config["Handler"],
            code=store.unpacked(func["code_zip"]),
            layers=tuple(folder for folder in folders if folder),
            environment=dict((config.get("Environment") or {}).get("Variables") or {}),
            credentials=lambda_runtime.execution_credentials(config),
            memory_mb=int(config.get("MemorySize", 128)),
            timeout_seconds=float(config.get("Timeout", 3)),
            region=config["FunctionArn"].split(":")[3],
            version=config.get("Version", "$LATEST"),
            json_logs=(config.get("LoggingConfig") or {}).get("LogFormat") == "JSON",
        )
        answer = pool.invoke(function, event, request_id)
        if answer.failed:
            return {"body": answer.payload, "error": True, "function_error": "Unhandled", "log": answer.log}
        return {"body": answer.payload, "log": answer.log}

    lambda_svc._execute_function_warm = execute


def put_version_ids_into_s3_events() -> None:
    """AWS names the object's version in every event of a versioned bucket; a deletion has neither size nor etag."""
    version: contextvars.ContextVar[str | None] = contextvars.ContextVar("version", default=None)
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event

    def fire_with_version(*args: Any, **kwargs: Any) -> None:
        version.set(kwargs.get("version_id"))
        fire(*args, **kwargs)
        version.set(None)

    def dispatch_with_version(event: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if event.get("Source") == "aws.s3" and (current := version.get()):
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = current
            event = {**event, "Detail": json.dumps(detail)}
        return dispatch(event, *args, **kwargs)

    s3._fire_s3_event = fire_with_version
    eventbridge._dispatch_event = dispatch_with_version
