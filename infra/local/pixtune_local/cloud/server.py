"""Comes in: a port and a state folder; goes out: MiniStack on 127.0.0.1, its gaps mended, until told to stop.

    PYTHONPATH=infra/local .venv-cloud/bin/python -m pixtune_local.cloud.server --port 4566 --state-dir .pixtune

Runs in an environment of its own, for MiniStack pins another botocore than the project uses.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

MINISTACK = "1.5.33"
SERVICES = (
    "apigateway,cloudformation,cloudwatch,dynamodb,events,iam,kms,lambda,logs,monitoring,"
    "s3,scheduler,secretsmanager,sqs,ssm,states,sts"
)
ROOT_KEY = "test"

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def settings(port: int, state_dir: Path) -> dict[str, str]:
    """MiniStack reads its settings from the environment when it is imported."""
    return {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "localhost",
        "SERVICES": SERVICES,
        "AUTH": "true",
        "IOT_MTLS_ENABLED": "0",
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(state_dir / "tmp"),
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "1",
    }


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--state-dir", type=Path, required=True)
    arguments.add_argument("--runtime", type=Path, required=True, help="folder with awslambdaric and boto3")
    given = arguments.parse_args()
    found = version("ministack")
    if found != MINISTACK:
        print(f"ministack {found} is installed; the mended gaps are those of {MINISTACK}: run `make setup`")
        return 1
    state_dir = given.state_dir.resolve()
    (state_dir / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ.update(settings(given.port, state_dir))
    asyncio.run(_serve(given.port, state_dir, given.runtime.resolve()))
    return 0


async def _serve(port: int, state_dir: Path, runtime: Path) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    from pixtune_local.cloud import gaps, step_functions
    from pixtune_local.cloud.lambda_pool import CodeStore, LambdaPool

    pool = LambdaPool(runtime, state_dir / "logs", f"http://127.0.0.1:{port}")
    gaps.mend(pool, CodeStore(state_dir / "code"))
    step_functions.install()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def stopped() -> None:
        await stop.wait()
        pool.close()

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 0.5
    config.loglevel = "WARNING"
    await serve(_with_control(app, pool.status), config, shutdown_trigger=stopped)


def _with_control(app: Application, status: Callable[[], dict[str, Any]]) -> Application:
    """`GET /_pixtune/functions` says which processes serve which function; everything else is MiniStack's."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/_pixtune/functions":
            body = json.dumps(status()).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await app(scope, receive, send)

    return application


if __name__ == "__main__":
    sys.exit(main())
