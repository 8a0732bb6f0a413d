"""What can go wrong on the command line, and the exit code each kind ends with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Scripts rely on these; they are documented in the README and never change meaning."""

    OK = 0
    BUG = 1
    USAGE = 2  # also: input that does not pass
    RUN_FAILED = 3
    CANCELLED = 4
    TIMEOUT = 5
    AUTH = 6
    PROVIDER = 7
    QUOTA = 8


@dataclass(eq=False)
class Failure(Exception):
    """Shown as three lines. what: happened; why: as far as known; remedy: a command or a step to try."""

    what: str
    why: str = ""
    remedy: str = ""
    exit: Exit = Exit.USAGE


_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId",
     "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "403"}
)  # fmt: skip


def denied(code: str) -> bool:
    """Whether an AWS error code says that the caller may not, rather than that something is wrong."""
    return code in _DENIED


def of_aws(error: Exception) -> Failure | None:
    """What botocore raised, as a failure; None when it did not come from there."""
    if not type(error).__module__.startswith("botocore"):
        return None
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        refused = denied(error.response["Error"]["Code"])
        remedy = "aws sts get-caller-identity" if refused else "pixtune status"
        return Failure("AWS refused a request.", str(error), remedy, Exit.AUTH if refused else Exit.USAGE)
    if isinstance(error, ConnectionError | HTTPClientError):
        return Failure("A service does not answer.", str(error), "pixtune status")
    return Failure("AWS cannot be asked.", str(error), "aws configure", Exit.AUTH)
