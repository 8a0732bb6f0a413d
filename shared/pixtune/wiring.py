"""Where the two sides meet: the provider factory with AWS's clients in its hands, for functions and tools to call.

Providers know nothing of boto3, and `pixtune.aws` nothing of providers; only this module imports both.
"""

from __future__ import annotations

from functools import partial

from pixtune.aws import clients
from pixtune.aws.bedrock import faults
from pixtune.aws.buckets import Artifacts
from pixtune.providers import factory
from pixtune.providers.bedrock import AwsSide


def _aws_side(bucket: str) -> AwsSide:
    return AwsSide(
        control=clients.bedrock(),
        creating=clients.bedrock_once(),
        runtime=clients.bedrock_runtime(),
        files=Artifacts(clients.s3(), bucket),
        faults=faults,
    )


provider_for = partial(factory.provider_for, aws=_aws_side)
