"""The API with AWS behind it: the environment in, a resolver that answers out."""

from __future__ import annotations

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

from dataset_routes import DatasetRoutes
from model_routes import ModelRoutes
from pixtune.aws import clients
from pixtune.aws.buckets import Uploads
from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.models_table import ModelsTable
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.aws.workflow import StepFunctions
from pixtune.datasets.settings import read_settings
from pixtune.datasets.version import DatasetSettings
from pixtune.providers.limits import default_base_model
from pixtune.settings import Environment
from pixtune.training.order import Defaults
from routes import serve
from run_routes import RunRoutes


def api(environment: Environment, logger: Logger) -> APIGatewayHttpResolver:
    app, database = APIGatewayHttpResolver(), clients.dynamodb()
    examples = ExamplesTable(database, environment.examples_table)

    deployment = Defaults(environment.default_provider, default_base_model)

    def defaults_of(dataset: str) -> Defaults:
        return dataset_defaults(read_settings(examples, dataset), deployment)

    datasets = DatasetRoutes(app, examples, Uploads(clients.s3(), environment.uploads_bucket))
    runs = RunRoutes(
        app,
        RunsTable(database, environment.runs_table),
        RequestsTable(database, environment.requests_table, environment.runs_table),
        StepFunctions(clients.stepfunctions(), environment.state_machine_arn),
        defaults_of,
    )
    models = ModelRoutes(app, ModelsTable(database, environment.models_table))
    serve(app, [*datasets.endpoints(), *runs.endpoints(), *models.endpoints()], logger)
    return app


def dataset_defaults(own: DatasetSettings, deployment: Defaults) -> Defaults:
    """What a request leaves open: the dataset's own provider and base model, else the deployment's. A base model
    counts for the provider it was chosen for only."""
    provider = own.provider or deployment.provider

    def base_model(chosen: str) -> str:
        return own.base_model if own.base_model and chosen == provider else deployment.base_model(chosen)

    return Defaults(provider, base_model)
