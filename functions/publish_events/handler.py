"""Lambda edge: a batch of a table's stream in, CloudEvents on the bus and the first unreadable record out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from pixtune.aws import clients
from pixtune.aws.bus import Bus
from pixtune.aws.streams import changes
from pixtune.events.announce import announce
from pixtune.settings import Environment

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="publish_events")
environment = Environment(os.environ)


def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    said = announce(changes(event), Bus(clients.events(), environment.event_bus))
    logger.info("announced", events=said.events)
    if said.error is not None:
        logger.error("a change cannot be announced", sequence_number=said.stuck_at, exc_info=said.error)
    return {"batchItemFailures": [{"itemIdentifier": said.stuck_at}] if said.stuck_at else []}
