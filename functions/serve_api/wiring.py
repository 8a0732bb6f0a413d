"""The API with AWS behind it: the environment in, a resolver that answers out."""

from __future__ import annotations

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
from pixtune.settings import Environment
from pixtune.training.order import Defaults
from routes import serve
from run_routes import RunRoutes


def api(environment: Environment, logger: Logger) -> APIGatewayHttpResolver:
    app, database = APIGatewayHttpResolver(), clients.dynamodb()
    examples = ExamplesTable(database, environment.examples_table)
    artifacts, limits = Artifacts(clients.s3(), environment.artifacts_bucket), environment.limits
    datasets = DatasetRoutes(app, examples, Uploads(clients.s3(), environment.uploads_bucket), artifacts)
    table = RunsTable(database, environment.runs_table)
    workflow = StepFunctions(clients.stepfunctions(), environment.state_machine_arn)
    runs = RunRoutes(
        app,
        table,
        RequestsTable(database, environment.requests_table, environment.runs_table),
        workflow,
        Defaults(environment.default_provider, limits.default_base_model),
    )
    following = FollowingRoutes(app, table, workflow, limits)
    approvals = ApprovalRoutes(app, table, workflow)
    models = ModelRoutes(app, ModelsTable(database, environment.models_table))
    reachable = [name for name, url in environment.provider_urls.items() if url]
    estimates = EstimateRoutes(app, examples, artifacts, table, limits, environment.default_provider, reachable)
    asking = [*runs.endpoints(), *following.endpoints(), *approvals.endpoints(), *estimates.endpoints()]
    serve(app, [*datasets.endpoints(), *asking, *models.endpoints()], logger)
    return app
