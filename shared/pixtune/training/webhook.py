"""A provider calls: a signed webhook in, an early wake-up of the run that waits for its job out.

The signature scheme is Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
The body is a hint. It says which job to look at, never what state the job is in.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from pixtune.training.ports import Requests, TrainingRuns, Workflow
from pixtune.training.waking import wake

TOLERANCE_SECONDS = 300  # between the sender's clock and ours, both ways
MAX_BYTES = 256 * 1024
MAX_ID = 256  # characters of a webhook's or a job's id


@dataclass(frozen=True, slots=True)
class Receipt:
    """What to answer: an HTTP status, a stable code, and for people a detail."""

    status: int
    code: str
    detail: str = ""

    def to_http(self) -> dict[str, Any]:
        """As API Gateway takes it; a refusal as an RFC 9457 problem. Any: JSON."""
        answer: dict[str, Any] = {"code": self.code}
        if self.status >= 400:
            answer |= {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
            answer["detail"] = self.detail
        kind = "application/problem+json" if self.status >= 400 else "application/json"
        return {"statusCode": self.status, "headers": {"content-type": kind}, "body": json.dumps(answer)}


def refusal(body: bytes, headers: Mapping[str, str], secrets: str, now: float) -> Receipt | None:
    """Why these bytes are not a webhook of the provider's; None when they are. headers: names in lower case.
    secrets: one or more `whsec_...`, separated by spaces while one replaces the other."""
    if len(body) > MAX_BYTES:
        return Receipt(413, "body_too_large", f"At most {MAX_BYTES} bytes are read.")
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    missing = [name for name in names if not headers.get(name)]
    if missing:
        return Receipt(400, "missing_header", f"Missing: {', '.join(missing)}.")
    message_id, timestamp, signatures = (headers[name] for name in names)
    if not (message_id.isascii() and message_id.isprintable() and len(message_id) <= MAX_ID):
        return Receipt(400, "bad_id", f"webhook-id must be at most {MAX_ID} visible ASCII characters.")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        return Receipt(400, "bad_timestamp", "webhook-timestamp must be whole Unix seconds.")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return Receipt(401, "stale_timestamp", f"webhook-timestamp is more than {TOLERANCE_SECONDS} s off.")
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = [
        hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, sha256) for secret in secrets.split()
    ]
    given = [
        value.encode("utf-8", "surrogatepass")
        for version, _, value in (part.partition(",") for part in signatures.split())
        if version == "v1"
    ]
    # Every pair is compared, in constant time each.
    matches = [hmac.compare_digest(base64.b64encode(digest), value) for digest in expected for value in given]
    return None if any(matches) else Receipt(401, "bad_signature", "The signature does not match.")


def body_of(event: Mapping[str, Any]) -> bytes:
    """The raw body of an HTTP API event, as it was signed; what is no base64 though it should be is no body."""
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""


def receive(
    provider: str,
    body: bytes,
    headers: Mapping[str, str],
    secrets: str,
    *,
    now: float,
    runs: TrainingRuns,
    requests: Requests,
    workflow: Workflow,
) -> Receipt:
    """Wake the run that waits for the job named in a webhook; a forged, repeated or unknown one changes nothing."""
    refused = refusal(body, headers, secrets, now)
    if refused is not None:
        return refused
    job_id = _job_id(body)
    if job_id is None:
        return Receipt(400, "bad_body", 'Expected JSON with {"data": {"id": ...}}.')
    if not requests.first_time(f"webhook:{provider}", headers["webhook-id"], now):
        return Receipt(200, "repeated")
    return Receipt(200, wake(provider, job_id, runs=runs, workflow=workflow))


def _job_id(body: bytes) -> str | None:
    try:
        job_id = json.loads(body)["data"]["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    plain = isinstance(job_id, str) and job_id.isascii() and 0 < len(job_id) <= MAX_ID
    return str(job_id) if plain else None
