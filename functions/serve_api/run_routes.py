"""`/v1/runs`: ask for a training run, look at one, take one up again."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler.api_gateway import Response
from ulid import ULID

from pixtune.errors import RequestConflict, RunNotResumable
from pixtune.examples.rows import canonical
from pixtune.keys import hashed
from pixtune.training.order import Refusal, order_for
from pixtune.training.request import request_training
from pixtune.training.resume import resume
from polled import polled
from problems import Problem, invalid, not_found
from reading import after_of, body_of, cursor_for, dataset_named, idempotency_key, limit_of, parameter, rfc3339

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

    from endpoints import Endpoint
    from pixtune.aws.requests_table import RequestsTable
    from pixtune.aws.runs_table import RunsTable
    from pixtune.aws.workflow import StepFunctions
    from pixtune.training.order import Defaults
    from pixtune.training.run import Run

# What only the machinery needs; a token would let its holder steer the execution.
_INTERNAL = frozenset(
    {"request_key", "fence", "intent_at", "turn", "task_token", "observed_at", "heard_at", "untidy"}
    | {"approval_token", "reserved_attempt"}
)
_TIMES = ("requested_at", "deadline_at", "ended_at", "waiting_since", "stuck_at")


def shown(run: Run) -> dict[str, Any]:
    """A run as callers see it."""
    values = {name: value for name, value in run.to_json().items() if name not in _INTERNAL}
    return values | {name: rfc3339(values[name]) for name in _TIMES}


def run_named(runs: RunsTable, run_id: str) -> Run:
    """The run, or a problem that says there is none."""
    try:
        return runs.get(run_id)
    except KeyError:
        raise not_found(
            "run_unknown", f"There is no run {run_id}. GET /v1/runs?dataset= lists a dataset's."
        ) from None


class RunRoutes:
    """What `/v1/runs` answers, from the runs and requests tables; new runs start the state machine."""

    def __init__(
        self,
        app: APIGatewayHttpResolver,
        runs: RunsTable,
        requests: RequestsTable,
        workflow: StepFunctions,
        defaults: Defaults,
    ) -> None:
        self._app, self._runs, self._requests, self._workflow = app, runs, requests, workflow
        self._defaults = defaults

    def endpoints(self) -> list[Endpoint]:
        return [
            ("POST", "/v1/runs", "request_run", self.request_run),
            ("GET", "/v1/runs", "list_runs", self.list_runs),
            ("GET", "/v1/runs/<run_id>", "get_run", self.get_run),
            ("POST", "/v1/runs/<run_id>/resume", "resume_run", self.resume_run),
        ]

    def request_run(self) -> Response[str]:
        """202 with the run that serves the request: a new one, or one that has not cut its data yet."""
        from bodies import RunBody

        event = self._app.current_event
        key, body = idempotency_key(event), body_of(event, RunBody)
        asked = hashed(canonical(body.model_dump()), 64)
        order = order_for(body.wish(), "api", key, asked, self._defaults)
        if isinstance(order, Refusal):
            raise invalid(order.code, "; ".join(order.problems))
        try:
            requested = request_training(
                order,
                now=time.time(),
                new_run_id=lambda: f"run_{ULID()}",
                runs=self._runs,
                requests=self._requests,
                workflow=self._workflow,
            )
        except RequestConflict:
            raise invalid(
                "idempotency_key_reused",
                "This Idempotency-Key was used before with another body; use a new key for a new request.",
            ) from None
        path = f"/v1/runs/{requested.run_id}"
        answer = {"run_id": requested.run_id, "dataset": body.dataset, "shared": requested.shared, "run": path}
        headers = {"Location": path} | ({"Idempotent-Replayed": "true"} if requested.replayed else {})
        return Response(HTTPStatus.ACCEPTED.value, "application/json", json.dumps(answer), headers)

    def list_runs(self) -> dict[str, Any]:
        """A dataset's runs, newest first; without a dataset, all that are live."""
        event = self._app.current_event
        dataset = parameter(event, "dataset")
        if dataset is None:
            live = sorted(self._runs.live(), key=lambda run: run.run_id, reverse=True)
            return {"items": [shown(run) for run in live], "next_cursor": None}
        limit = limit_of(event)
        page = self._runs.of_dataset(dataset_named(dataset), limit=limit, before=after_of(event, "runs", dataset))
        last = page[-1].run_id if len(page) == limit else None
        return {"items": [shown(run) for run in page], "next_cursor": cursor_for(last, "runs", dataset)}

    def get_run(self, run_id: str) -> Response[str]:
        return polled(self._app.current_event, shown(run_named(self._runs, run_id)))

    def resume_run(self, run_id: str) -> Response[str]:
        """202 with the run in its next attempt; a run that is live already is answered as it is."""
        run_named(self._runs, run_id)
        try:
            run = resume(run_id, now=time.time(), runs=self._runs, workflow=self._workflow)
        except RunNotResumable as refusal:
            raise Problem(HTTPStatus.CONFLICT, "run_not_resumable", str(refusal)) from None
        headers = {"Location": f"/v1/runs/{run_id}"}
        return Response(HTTPStatus.ACCEPTED.value, "application/json", json.dumps(shown(run)), headers)
