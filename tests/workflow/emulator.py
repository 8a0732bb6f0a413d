"""MiniStack with the runner behind its Step Functions API and functions played in this process.

    PYTHONPATH=infra/local:. .venv-cloud/bin/python tests/workflow/emulator.py PORT STATE_FOLDER

`echo` answers its payload, `broken` raises, `slow` takes a minute, `silent` answers nothing (a token waits), `bug`
breaks the invocation; any other name is a function of MiniStack's.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from pixtune_local.cloud import server


def invoke(function: str, payload: bytes) -> tuple[bytes, str | None]:
    if function == "broken":
        return json.dumps({"errorType": "DatasetNotReady", "errorMessage": "row 3"}).encode(), "Unhandled"
    if function == "slow":
        time.sleep(60)
    if function == "bug":
        raise OSError("the pool is gone")
    if function == "silent":
        return b"null", None
    if function in ("echo", "slow"):
        return payload, None

    from pixtune_local.cloud import step_functions

    return step_functions.invoke_function(function, payload)


async def main(port: int) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    from pixtune_local.cloud import step_functions

    step_functions.install(invoke)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.2

    async def stopped() -> None:
        await stop.wait()

    await serve(app, config, shutdown_trigger=stopped)
    os._exit(0)  # functions that still run would hold the interpreter


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ.update(server.settings(int(sys.argv[1]), folder))
    asyncio.run(main(int(sys.argv[1])))
