"""`/v1/runs/{run}/approve` and `/deny`: a person's answer to what a training may cost."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from pixtune.errors import ApprovalNotAwaited
from pixtune.training.approval import decide
from problems import Problem, not_found
from reading import caller, optional_body_of
from run_routes import shown

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

    from endpoints import Endpoint
    from pixtune.aws.runs_table import RunsTable
    from pixtune.aws.workflow import StepFunctions


class ApprovalRoutes:
    """Answers waiting runs; the same answer twice is one answer."""

    def __init__(self, app: APIGatewayHttpResolver, runs: RunsTable, workflow: StepFunctions) -> None:
        self._app, self._runs, self._workflow = app, runs, workflow

    def endpoints(self) -> list[Endpoint]:
        return [
            ("POST", "/v1/runs/<run_id>/approve", "approve_run", self.approve_run),
            ("POST", "/v1/runs/<run_id>/deny", "deny_run", self.deny_run),
        ]

    def approve_run(self, run_id: str) -> dict[str, Any]:
        """The run goes on, for what its estimate says now; 409 unless it waits for approval."""
        return self._decide(run_id, "approved")

    def deny_run(self, run_id: str) -> dict[str, Any]:
        """The run fails as `approval_denied`, and costs nothing."""
        return self._decide(run_id, "denied")

    def _decide(self, run_id: str, decision: Literal["approved", "denied"]) -> dict[str, Any]:
        from bodies import DecisionBody

        event = self._app.current_event
        body = optional_body_of(event, DecisionBody)
        try:
            run = decide(
                run_id,
                decision,
                by=caller(event),
                why=body.why,
                now=time.time(),
                runs=self._runs,
                workflow=self._workflow,
            )
        except KeyError:
            raise not_found("run_unknown", f"There is no run {run_id}.") from None
        except ApprovalNotAwaited as refusal:
            raise Problem(HTTPStatus.CONFLICT, "approval_not_awaited", str(refusal)) from None
        return shown(run)
