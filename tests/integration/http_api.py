"""Requests as API Gateway's HTTP API sends them (payload format 2.0), and answers as it reads them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Answer:
    """body: parsed JSON; None when there is no body. headers: with lower-case names."""

    status: int
    body: Any
    headers: Mapping[str, str]


def request(
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    *,
    raw_body: str | None = None,
    base64_body: bytes | None = None,
) -> dict[str, Any]:
    """A request signed by a role's session. body: sent as JSON; raw_body, base64_body: sent as they are."""
    sent = {"host": "abc.execute-api.eu-west-1.amazonaws.com"}
    if body is not None:
        sent["content-type"] = "application/json"
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "ANY /v1/{proxy+}",
        "rawPath": path,
        "rawQueryString": urlencode(query or {}),
        "headers": sent,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc",
            "authorizer": {
                "iam": {
                    "accessKey": "ASIA",
                    "accountId": "123456789012",
                    "callerId": "AROAEXAMPLE:session-1",
                    "cognitoIdentity": None,
                    "principalOrgId": "aws:PrincipalOrgID",
                    "userArn": "arn:aws:sts::123456789012:assumed-role/service/session-1",
                    "userId": "AROAEXAMPLE:session-1",
                }
            },
            "domainName": "abc.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "abc",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "tests",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "ANY /v1/{proxy+}",
            "stage": "$default",
            "time": "22/Nov/2026:23:00:00 +0000",
            "timeEpoch": 1795388400000,
        },
        "pathParameters": {"proxy": path.removeprefix("/v1/")},
        "isBase64Encoded": False,
    }
    if query:
        event["queryStringParameters"] = dict(query)
    if raw_body is not None or body is not None:
        event["body"] = raw_body if raw_body is not None else json.dumps(body)
    if base64_body is not None:
        event["body"], event["isBase64Encoded"] = base64.b64encode(base64_body).decode(), True
    return event


def answer_of(response: Mapping[str, Any]) -> Answer:
    body = response.get("body")
    headers = {name.lower(): value for name, value in response.get("headers", {}).items()}
    return Answer(response["statusCode"], json.loads(body) if body else None, headers)
