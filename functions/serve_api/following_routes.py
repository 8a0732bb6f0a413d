"""`/v1/runs/{run_id}/...`: what a run has said so far, and holding it up, letting it go on or calling it off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler.api_gateway import Response

from pixtune.errors import FenceLost, ProviderRefused, RunNotPausable
from pixtune.training.pausing import PAUSE, UNPAUSE, ask, cancel
from polled import polled
from problems import Problem, bad_parameter
from reading import parameter, rfc3339
from run_routes import run_named, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

    from endpoints import Endpoint
    from pixtune.aws.runs_table import RunsTable
    from pixtune.aws.workflow import StepFunctions
    from pixtune.providers.limits import Limits
    from pixtune.training.run import Run


class FollowingRoutes:
    """What is known of a run while it trains, from the runs table; wishes about it go onto the run."""

    def __init__(
        self, app: APIGatewayHttpResolver, runs: RunsTable, workflow: StepFunctions, limits: Callable[[], Limits]
    ) -> None:
        self._app, self._runs, self._workflow, self._limits = app, runs, workflow, limits

    def endpoints(self) -> list[Endpoint]:
        return [
            ("GET", "/v1/runs/<run_id>/events", "list_run_events", self.list_events),
            ("GET", "/v1/runs/<run_id>/checkpoints", "list_run_checkpoints", self.list_checkpoints),
            ("GET", "/v1/runs/<run_id>/metrics", "list_run_metrics", self.list_metrics),
            ("POST", "/v1/runs/<run_id>/pause", "pause_run", self.pause_run),
            ("POST", "/v1/runs/<run_id>/unpause", "unpause_run", self.unpause_run),
            ("POST", "/v1/runs/<run_id>/cancel", "cancel_run", self.cancel_run),
        ]

    def list_events(self, run_id: str) -> Response[str]:
        """What happened when, the provider's own messages among it."""
        run_named(self._runs, run_id)
        events = [
            {"at": rfc3339(event.at), "level": event.level, "name": event.name, "text": event.text}
            for event in self._runs.events(run_id)
        ]
        return polled(self._app.current_event, {"items": events})

    def list_checkpoints(self, run_id: str) -> Response[str]:
        run_named(self._runs, run_id)
        items = [checkpoint.to_json() for checkpoint in self._runs.checkpoints(run_id)]
        return polled(self._app.current_event, {"items": items})

    def list_metrics(self, run_id: str) -> Response[str]:
        """The loss curve so far; with `after`, only the points of later steps. The newest point may still gain
        figures, so ask after the last but one."""
        run_named(self._runs, run_id)
        points = [dict(point) for point in self._runs.metrics(run_id, self._after())]
        return polled(self._app.current_event, {"items": points})

    def _after(self) -> int:
        text = parameter(self._app.current_event, "after")
        if text is None:
            return -1
        if not (text.isascii() and text.isdigit() and len(text) < 9):
            raise bad_parameter("after", "after_invalid", f"after is {text[:20]!r}; use the number of a step.")
        return int(text)

    def pause_run(self, run_id: str) -> Response[str]:
        """202 with the run: its provider is asked within seconds, and the run's events say how it went."""
        return self._ask(run_id, PAUSE)

    def unpause_run(self, run_id: str) -> Response[str]:
        return self._ask(run_id, UNPAUSE)

    def _ask(self, run_id: str, wish: str) -> Response[str]:
        settings = run_named(self._runs, run_id).settings
        try:
            can_pause = self._limits().spec(settings.provider, settings.base_model).pauses
            run = ask(
                *(run_id, wish),
                now=time.time(),
                can_pause=can_pause,
                runs=self._runs,
                workflow=self._workflow,
            )
        except (RunNotPausable, ProviderRefused) as refusal:
            raise Problem(HTTPStatus.CONFLICT, "run_not_pausable", str(refusal)) from None
        except FenceLost:
            raise Problem(HTTPStatus.CONFLICT, "run_not_pausable", f"{run_id} has just ended.") from None
        return _accepted(run)

    def cancel_run(self, run_id: str) -> Response[str]:
        """202 with the run: its execution is stopped, its provider job cancelled within seconds. A run that has
        ended is answered as it is."""
        run_named(self._runs, run_id)
        return _accepted(cancel(run_id, runs=self._runs, workflow=self._workflow))


def _accepted(run: Run) -> Response[str]:
    headers = {"Location": f"/v1/runs/{run.run_id}"}
    body: dict[str, Any] = shown(run)
    return Response(HTTPStatus.ACCEPTED.value, "application/json", json.dumps(body), headers)
