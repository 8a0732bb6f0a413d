"""`/v1/models`: model versions, and the aliases that move between them, never unseen (If-Match)."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler.api_gateway import Response

from pixtune.errors import (
    AliasConflict,
    AliasRefused,
    ModelDeploying,
    ProviderRefused,
    ProviderUnavailable,
    UnknownModel,
)
from pixtune.registry.aliases import promote, roll_back
from pixtune.registry.keeping import register_kept
from problems import Problem, invalid, not_found
from reading import body_of, caller, dataset_named, expected_version, optional_body_of, rfc3339, stale
from run_routes import run_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

    from endpoints import Endpoint
    from pixtune.aws.buckets import Artifacts
    from pixtune.aws.runs_table import RunsTable
    from pixtune.registry.deploying import Deployments
    from pixtune.registry.models import AliasMove, ModelVersion
    from pixtune.registry.ports import Models


class ModelRoutes:
    """What `/v1/models` answers, from the models table; a run's checkpoint may become a model there."""

    def __init__(
        self,
        app: APIGatewayHttpResolver,
        models: Models,
        runs: RunsTable,
        artifacts: Artifacts,
        deployments: Deployments,
    ) -> None:
        self._app, self._models, self._runs, self._artifacts = app, models, runs, artifacts
        self._deployments = deployments

    def endpoints(self) -> list[Endpoint]:
        return [
            ("GET", "/v1/models/<dataset>", "list_models", self.list_models),
            ("GET", "/v1/models/<dataset>/<alias>", "get_alias", self.get_alias),
            ("GET", "/v1/models/<dataset>/<alias>/history", "list_alias_history", self.list_history),
            ("POST", "/v1/models/<dataset>/<alias>/promote", "promote_model", self.promote_model),
            ("POST", "/v1/models/<dataset>/<alias>/rollback", "roll_back_alias", self.roll_back_alias),
        ]

    def list_models(self, dataset: str) -> dict[str, Any]:
        """Model versions, newest first, and where each alias stands."""
        aliases = self._models.aliases(dataset_named(dataset))
        items = [
            model.to_json()
            | {
                "created_at": rfc3339(model.created_at),
                "aliases": [move.alias for move in aliases if move.model_version == model.number],
            }
            for model in reversed(self._models.models(dataset))
        ]
        return {"items": items, "aliases": [_moved(move) for move in aliases]}

    def get_alias(self, dataset: str, alias: str) -> Response[str]:
        """The model that an alias names now, with all that is needed to use it; 304 when the caller has that one."""
        move = self._models.alias(dataset_named(dataset), alias)
        model = self._models.model(dataset, move.model_version) if move else None
        if move is None or model is None:
            raise not_found("alias_unknown", f"{dataset} has no alias {alias}. GET /v1/models/{dataset} lists them.")
        if self._app.current_event.headers.get("if-none-match") == _etag(move):
            return Response(HTTPStatus.NOT_MODIFIED.value, headers={"ETag": _etag(move)})
        return _answer(move, model)

    def list_history(self, dataset: str, alias: str) -> dict[str, Any]:
        """Every move of an alias, newest first."""
        return {"items": [_moved(move) for move in reversed(self._models.history(dataset_named(dataset), alias))]}

    def promote_model(self, dataset: str, alias: str) -> Response[str]:
        from bodies import PromoteBody

        event = self._app.current_event
        expected, body, now = expected_version(event), body_of(event, PromoteBody), time.time()

        def move() -> AliasMove:
            number = body.model_version or self._registered(dataset, body.run_id or "", body.step or 0, now)
            who = caller(event)
            return promote(
                *(self._models, dataset_named(dataset), alias, number),
                expected=expected,
                by=who,
                reason=body.reason,
                at=now,
                ready=self._deployments.ensure,
            )

        return self._move(dataset, move)

    def _registered(self, dataset: str, run_id: str, step: int, now: float) -> int:
        """The number of a kept checkpoint's model version."""
        run = run_named(self._runs, run_id)
        if run.dataset != dataset:
            raise invalid("run_of_another_dataset", f"{run_id} trained {run.dataset}, not {dataset}.")
        return register_kept(
            run_id, step, now=now, runs=self._runs, models=self._models, artifacts=self._artifacts
        ).number

    def roll_back_alias(self, dataset: str, alias: str) -> Response[str]:
        from bodies import MoveBody

        event = self._app.current_event
        expected, body = expected_version(event), optional_body_of(event, MoveBody)
        return self._move(
            dataset,
            lambda: roll_back(
                self._models,
                dataset_named(dataset),
                alias,
                expected=expected,
                by=caller(event),
                reason=body.reason,
                at=time.time(),
                ready=self._deployments.ensure,
            ),
        )

    def _move(self, dataset: str, move: Callable[[], AliasMove]) -> Response[str]:
        try:
            moved = move()
        except AliasConflict as conflict:
            raise stale(str(conflict)) from None
        except UnknownModel as unknown:
            raise invalid("model_unknown", str(unknown)) from None
        except AliasRefused as refused:
            raise invalid("alias_refused", str(refused)) from None
        except ModelDeploying as deploying:
            raise Problem(
                HTTPStatus.CONFLICT,
                "model_deploying",
                str(deploying),
                headers={"Retry-After": str(deploying.wait_seconds)},
            ) from None
        except (ProviderRefused, ProviderUnavailable) as fault:
            raise Problem(
                HTTPStatus.BAD_GATEWAY, "provider_failed", f"The alias stays where it was. {fault}"
            ) from None
        model = self._models.model(dataset, moved.model_version)
        assert model is not None  # a move to a model that is not there is refused
        return _answer(moved, model, self._released(moved))

    def _released(self, moved: AliasMove) -> str:
        """Why the model that the alias named before is still deployed; empty when it is not."""
        try:
            self._deployments.release_unnamed(moved.dataset, moved.previous)
        except (ProviderRefused, ProviderUnavailable) as fault:
            return f"Model version {moved.previous} may still be deployed, and bill: {fault}"
        return ""


def _etag(move: AliasMove) -> str:
    return f'"{move.alias_version}"'


def _moved(move: AliasMove) -> dict[str, Any]:
    action = "promoted" if move.returns_to is None else "rolled_back"
    return move.to_json() | {"action": action, "moved_at": rfc3339(move.moved_at), "etag": _etag(move)}


def _answer(move: AliasMove, model: ModelVersion, warning: str = "") -> Response[str]:
    body = _moved(move) | {"model": model.to_json() | {"created_at": rfc3339(model.created_at)}}
    body |= {"warning": warning} if warning else {}
    headers = {"ETag": _etag(move), "Cache-Control": "no-cache"}
    return Response(HTTPStatus.OK.value, "application/json", json.dumps(body), headers)
