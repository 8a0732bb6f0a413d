"""What goes wrong on the way to Bedrock and S3: botocore's exceptions in, the port's faults out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError
from botocore.parsers import ResponseParserError

from pixtune.errors import ProviderRefused, ProviderUnavailable, UploadGone

# Codes that pass with time, whatever status they come with; every 408, 409, 429 and 5xx does too.
_PASSING = frozenset(
    (
        "ConflictException",
        "InternalServerException",
        "ModelErrorException",
        "ModelNotReadyException",
        "ModelTimeoutException",
        "ServiceUnavailableException",
        "ThrottlingException",
    )
)

_FIXES = {
    "AccessDenied": "Check that the function may write training/ in the artifacts bucket (TrainOnBedrock=true).",
    "AccessDeniedException": (
        "Check that this account may use the model in this region (Bedrock console, Model access) and that the "
        "deployment was made with TrainOnBedrock=true."
    ),
    "ResourceNotFoundException": "Check that the model or job still exists, in the region of this deployment.",
    "ServiceQuotaExceededException": (
        "Ask for a higher Bedrock quota in Service Quotas, or delete custom models or deployments that are not "
        "needed; then resume the run."
    ),
    "ValidationException": "Mend what Bedrock names, then ask for the training again.",
}


@contextmanager
def faults(doing: str) -> Iterator[None]:
    """Turn AWS's refusals into ProviderRefused (for good) or ProviderUnavailable (for now). doing: for the message.

    A call with wrong parameters, or without credentials, is a fault of ours and passes as it is.
    """
    try:
        yield
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        told = f"bedrock, {doing}: HTTP {status} {code}: {message}"
        if code in _PASSING or status in (408, 409, 429) or status >= 500:
            raise ProviderUnavailable(told) from error
        if code == "NoSuchUpload":
            raise UploadGone(told, "Begin another upload.") from error
        raise ProviderRefused(told, _FIXES.get(code, "")) from error
    except (ConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError) as error:
        raise ProviderUnavailable(f"bedrock, {doing}: {type(error).__name__}: {error}") from error
