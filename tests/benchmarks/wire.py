"""A table and a bucket behind HTTP that cost next to nothing: calls of one writer in, what AWS answers to them out.

They stand in for DynamoDB and S3 where a function of ours is measured, not they: the shipped adapters and botocore
talk to them as they would to AWS, and a page has at most the megabyte that DynamoDB reads for it. Conditions of
writes are taken as met, since nobody else writes.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_PAGE = 1_000_000  # bytes that DynamoDB reads for one page of a query

Attributes = dict[str, Any]  # Any: DynamoDB's typed attributes


@dataclass
class Cloud:
    """items: by partition and sort key, as text. objects: by key of the only bucket."""

    items: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    objects: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)

    def put(self, item: Attributes) -> None:
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        if sk not in self.items[pk]:
            self.keys.pop(pk, None)
        self.items[pk][sk] = json.dumps(item)

    def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "Query":
            return self._query(asked)
        if operation == "BatchGetItem":
            ((table, wanted),) = asked["RequestItems"].items()
            found = (self.items[key["pk"]["S"]].get(key["sk"]["S"]) for key in wanted["Keys"])
            return {"Responses": {table: [json.loads(text) for text in found if text]}}
        for put in [asked] if operation == "PutItem" else [one["Put"] for one in asked["TransactItems"]]:
            self.put(put["Item"])
        return {}

    def _query(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        values, names = asked["ExpressionAttributeValues"], asked.get("ExpressionAttributeNames", {})
        pk, prefix = values[":pk"]["S"], values[":sk"]["S"]
        wanted = [names[name] for name in asked.get("ProjectionExpression", "").split(", ") if name]
        keys = self.keys.setdefault(pk, sorted(self.items[pk]))
        after = asked.get("ExclusiveStartKey")
        first = bisect_right(keys, after["sk"]["S"]) if after else bisect_left(keys, prefix)
        found: list[Attributes] = []
        size, last = 0, ""
        for sk in keys[first:]:
            if not sk.startswith(prefix):
                break
            if size > _PAGE:
                behind = {"pk": {"S": pk}, "sk": {"S": last}}
                return {"Items": found, "Count": len(found), "LastEvaluatedKey": behind}
            text = self.items[pk][sk]
            item = json.loads(text)
            found.append({name: item[name] for name in wanted if name in item} if wanted else item)
            size, last = size + len(text), sk
        return {"Items": found, "Count": len(found)}

    def listing(self, prefix: str) -> str:
        keys = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in sorted(self.objects)
                       if key.startswith(prefix))  # fmt: skip
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>"


@contextmanager
def served(cloud: Cloud) -> Iterator[str]:
    """Its address, while it is served from threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            operation = self.headers["x-amz-target"].partition(".")[2]
            self._answer(200, json.dumps(cloud.answer(operation, json.loads(body))).encode())

        def do_PUT(self) -> None:
            if self.headers.get("expect"):
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = self.rfile.read(int(self.headers["content-length"]))
            key = unquote(urlsplit(self.path).path).split("/", 2)[2]
            cloud.objects[key] = body
            self._answer(200)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            _, _, key = unquote(url.path).lstrip("/").partition("/")
            if not key:
                self._answer(200, cloud.listing(parse_qs(url.query).get("prefix", [""])[0]).encode())
            elif key in cloud.objects:
                self._answer(200, cloud.objects[key])
            else:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def handle_expect_100(self) -> bool:
            return True

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
