"""`/v1/estimates`: what a training would cost, and its model in use, before anybody asks for it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pixtune.aws.threads import in_threads
from pixtune.errors import DatasetEmpty, DatasetNotReady, ProviderRefused
from problems import Problem, invalid
from reading import body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

    from endpoints import Endpoint
    from pixtune.aws.buckets import Artifacts
    from pixtune.aws.examples_table import ExamplesTable
    from pixtune.providers.limits import Limits
    from pixtune.training.ports import Bills


class EstimateRoutes:
    """What `/v1/estimates` answers; it stores nothing, so it takes no Idempotency-Key. limits: read when needed."""

    def __init__(
        self,
        app: APIGatewayHttpResolver,
        examples: ExamplesTable,
        artifacts: Artifacts,
        bills: Bills,
        limits: Callable[[], Limits],
        default_provider: str,
        reachable: Sequence[str],
    ) -> None:
        self._app, self._examples, self._artifacts, self._bills = app, examples, artifacts, bills
        self._limits, self._default_provider, self._reachable = limits, default_provider, reachable

    def endpoints(self) -> list[Endpoint]:
        return [("POST", "/v1/estimates", "estimate", self.estimate)]

    def estimate(self) -> dict[str, Any]:
        """Of a published version, or of the dataset as it is now."""
        from bodies import EstimateBody
        from pixtune.datasets.preview import as_it_is_now
        from pixtune.datasets.reading import published_version, read_split
        from pixtune.training.quote import Asked, quote

        body = body_of(self._app.current_event, EstimateBody)
        asked = Asked(body.provider, body.base_model, body.n_epochs, body.detail, body.requests_per_day)
        try:
            if body.version is None:
                settings, splits = as_it_is_now(body.dataset, self._examples, in_threads)
            else:
                manifest = published_version(body.dataset, body.version, self._examples, self._artifacts)
                settings = manifest.settings
                splits = {split: read_split(self._artifacts, manifest, split) for split in manifest.counts}
            found = quote(
                splits,
                settings,
                asked,
                default_provider=self._default_provider,
                reachable=self._reachable,
                limits=self._limits(),
                bills=self._bills,
            )
        except DatasetEmpty as empty:
            raise Problem(HTTPStatus.CONFLICT, empty.code, str(empty)) from None
        except (DatasetNotReady, ProviderRefused) as refusal:
            raise invalid(refusal.code, str(refusal)) from None
        return {"dataset": body.dataset, "version": body.version, **found.to_json()}
