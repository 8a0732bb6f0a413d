"""What a request says: an HTTP API v2 event in; a checked body, parameter, header or caller out, or a Problem.

pydantic and the models of bodies are imported only by requests that have a body: most only look.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from pixtune.keys import DATASET
from problems import FieldError, Problem, bad_parameter, of_validation

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
    from pydantic import BaseModel

MAX_BODY_BYTES = 64 * 1024  # bodies name things and never carry pictures; API Gateway itself stops at 10 MB
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{8,64}")

Body = TypeVar("Body", bound="BaseModel")


def body_of(event: APIGatewayProxyEventV2, model: type[Body]) -> Body:
    """The JSON body, checked. Problems: 413, 415, 400 (not JSON), 422 (each field that is wrong)."""
    from pydantic import ValidationError

    raw = _raw_body(event)
    media_type = event.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            f"The body is {media_type or 'of no stated type'}; send JSON with Content-Type: application/json.",
        )
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "bad_json", f"The body is not JSON: {error}.") from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise of_validation(error) from None


def optional_body_of(event: APIGatewayProxyEventV2, model: type[Body]) -> Body:
    """As `body_of`; no body at all means all defaults."""
    return body_of(event, model) if event.body else model()


def _raw_body(event: APIGatewayProxyEventV2) -> bytes:
    text = event.body or ""
    try:
        raw = base64.b64decode(text, validate=True) if event.is_base64_encoded else text.encode()
    except binascii.Error:
        raise Problem(HTTPStatus.BAD_REQUEST, "bad_json", "The body is not valid base64.") from None
    if len(raw) > MAX_BODY_BYTES:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "body_too_large",
            f"The body has {len(raw)} bytes, at most {MAX_BODY_BYTES} are read. Pictures go to the bucket: "
            "POST /v1/datasets/{dataset}/uploads answers with a form that takes them.",
        )
    return raw


def dataset_named(name: str) -> str:
    if not DATASET.fullmatch(name):
        raise bad_parameter("dataset", "dataset_name_invalid", f"{name!r} is no dataset name; use {DATASET.pattern}.")
    return name


def parameter(event: APIGatewayProxyEventV2, name: str) -> str | None:
    return event.query_string_parameters.get(name)


def limit_of(event: APIGatewayProxyEventV2, default: int = 50) -> int:
    """How many items a page may have: 1 to 100."""
    text = parameter(event, "limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 100):
        raise bad_parameter("limit", "limit_invalid", f"limit is {text[:20]!r}; use a whole number from 1 to 100.")
    return int(text)


def cursor_for(after: str | None, *of: str | None) -> str | None:
    """An opaque cursor: where the next page starts, and which list (`of`) it belongs to."""
    if after is None:
        return None
    return base64.urlsafe_b64encode(json.dumps([after, *of]).encode()).decode().rstrip("=")


def after_of(event: APIGatewayProxyEventV2, *of: str | None) -> str | None:
    """Where the page asked for starts. A cursor of another list, or a made-up one, is a Problem."""
    cursor = parameter(event, "cursor")
    if cursor is None:
        return None
    try:
        after, *its = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        its, after = [object()], None
    if its != list(of) or not isinstance(after, str):
        raise bad_parameter("cursor", "cursor_invalid", "The cursor is not one this list gave; start without one.")
    return after


def idempotency_key(event: APIGatewayProxyEventV2) -> str:
    """The key the caller chose for this request, made unique among callers."""
    key = event.headers.get("idempotency-key")
    if key is None:
        raise bad_parameter(
            "Idempotency-Key",
            "idempotency_key_missing",
            "Send an Idempotency-Key header (8 to 64 visible characters, a UUID will do): with it the request can "
            "be repeated safely.",
        )
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise bad_parameter(
            "Idempotency-Key", "idempotency_key_invalid", "An Idempotency-Key has 8 to 64 visible ASCII characters."
        )
    return f"{caller(event)}/{key}"


def caller(event: APIGatewayProxyEventV2) -> str:
    """Who asks: the IAM user or role (whatever its session), the token's subject, or the account."""
    authorizer = event.raw_event["requestContext"].get("authorizer") or {}
    if user := (authorizer.get("iam") or {}).get("userId"):
        return str(user).partition(":")[0]
    claims = (authorizer.get("jwt") or {}).get("claims") or {}
    return str(claims.get("sub") or event.request_context.account_id)


def expected_version(event: APIGatewayProxyEventV2) -> int:
    """The alias version the caller has seen, from If-Match; 0 from `If-None-Match: *` (there must be none yet)."""
    if event.headers.get("if-none-match") == "*":
        return 0
    tag = event.headers.get("if-match")
    if tag is None:
        raise Problem(
            HTTPStatus.PRECONDITION_REQUIRED,
            "if_match_required",
            "Send If-Match with the ETag that GET /v1/models/{dataset}/{alias} answered, or If-None-Match: * where "
            "there is no such alias yet; so no one's change is overwritten unseen.",
            (FieldError("If-Match", "missing", "The header is missing."),),
        )
    found = re.fullmatch(r'"([1-9][0-9]{0,17})"', tag.strip())
    if found is None:
        raise stale(f"{tag[:40]} is no ETag of an alias.")
    return int(found[1])


def stale(detail: str) -> Problem:
    return Problem(
        HTTPStatus.PRECONDITION_FAILED,
        "etag_stale",
        f"{detail} GET the alias again, look at what changed, and repeat with its ETag.",
    )


def rfc3339(at: float | None) -> str | None:
    """Unix seconds as UTC text; None and 0 (not known yet) as None."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None
