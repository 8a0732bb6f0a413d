"""`python -m pixtune_local.provider.server`: a port and a folder go in, a running local provider comes out.

It speaks OpenAI's routes on 127.0.0.1 and keeps its state in the folder; killed and started again on the same folder,
it goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import threading
from pathlib import Path

import uvicorn

from pixtune_local.provider.api import Api, build_app
from pixtune_local.provider.faults import DroppableProtocol, Faults, FaultyApp, QueuePlan
from pixtune_local.provider.jobs import Jobs
from pixtune_local.provider.store import Store
from pixtune_local.provider.webhooks import Webhooks

DEFAULT_KEY = "sk-local"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="pixtune-local-provider", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--api-key", default=DEFAULT_KEY)
    parser.add_argument("--webhook-url")
    parser.add_argument("--webhook-secret", help="whsec_ and base64; made when a URL comes without one")
    parser.add_argument("--step-seconds", type=float, default=0.0, help="draw each training step out")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")

    store = Store(given.state_dir)
    faults = Faults(queue=QueuePlan(step_seconds=given.step_seconds))
    webhooks = Webhooks(store, faults)
    if given.webhook_url:
        webhooks.set_target(given.webhook_url, given.webhook_secret)
    jobs = Jobs(store, webhooks, faults)
    for work in (jobs.validate_forever, jobs.train_forever, webhooks.deliver_forever):
        threading.Thread(target=work, name=work.__name__, daemon=True).start()
    app = FaultyApp(build_app(Api(store, jobs, webhooks, faults), given.api_key), faults)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=given.port,
        http=DroppableProtocol,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
