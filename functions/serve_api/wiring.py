"""The API with AWS behind it: the environment in, a resolver that answers out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

from approval_routes import ApprovalRoutes
from dataset_routes import DatasetRoutes
from estimate_routes import EstimateRoutes
from following_routes import FollowingRoutes
from model_routes import ModelRoutes
from pixtune.aws import clients
from pixtune.aws.buckets import Artifacts, Uploads
from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.models_table import ModelsTable
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.workflow import StepFunctions
from pixtune.registry.deploying import Deployments
from pixtune.settings import Environment
from pixtune.training.order import Defaults
from provider_routes import ProviderRoutes, limits_of
from routes import serve
from run_routes import RunRoutes

if TYPE_CHECKING:
    from endpoints import Routes
    from pixtune.providers.port import TrainingProvider


def api(environment: Environment, logger: Logger) -> APIGatewayHttpResolver:
    app, database = APIGatewayHttpResolver(), clients.dynamodb()
    examples = ExamplesTable(database, environment.examples_table)
    artifacts = Artifacts(clients.s3(), environment.artifacts_bucket)
    limits = partial(limits_of, environment)  # asked when needed: reading them takes pydantic, as few requests do
    datasets = DatasetRoutes(app, examples, Uploads(clients.s3(), environment.uploads_bucket), artifacts)
    table = RunsTable(database, environment.runs_table)
    workflow = StepFunctions(clients.stepfunctions(), environment.state_machine_arn)
    runs = RunRoutes(
        app,
        table,
        RequestsTable(database, environment.requests_table, environment.runs_table),
        workflow,
        Defaults(environment.default_provider, lambda name: limits().default_base_model(name)),
    )
    following = FollowingRoutes(app, table, workflow, limits)
    approvals = ApprovalRoutes(app, table, workflow)
    provider, registry = partial(_provider, environment), ModelsTable(database, environment.models_table)
    deployments = Deployments(registry, lambda name, base_model: limits().spec(name, base_model).deploys, provider)
    models = ModelRoutes(app, registry, table, artifacts, deployments)
    providers = ProviderRoutes(app, environment, provider, examples, artifacts)
    reachable = [name for name, url in environment.provider_urls.items() if url]
    estimates = EstimateRoutes(app, examples, artifacts, table, limits, environment.default_provider, reachable)
    nouns: list[Routes] = [datasets, runs, following, approvals, estimates, models, providers]
    serve(app, [endpoint for noun in nouns for endpoint in noun.endpoints()], logger)
    return app


def _provider(environment: Environment, name: str, base_model: str) -> TrainingProvider:
    from pixtune.wiring import Providers

    return Providers(environment).named(name, base_model)
