"""OpenAI's routes, and the admin routes under /_local: HTTP requests go in, JSON in OpenAI's shapes comes out."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pixtune_local.provider import moderation
from pixtune_local.provider.faults import Faults
from pixtune_local.provider.files import Files
from pixtune_local.provider.http import json_body, page
from pixtune_local.provider.jobs import BASE_MODEL, OWNER, Jobs
from pixtune_local.provider.model import Model, guess
from pixtune_local.provider.refusals import Refused
from pixtune_local.provider.rows import Question, Unusable, read_question
from pixtune_local.provider.store import Document, Store
from pixtune_local.provider.tokens import pieces, text_tokens
from pixtune_local.provider.webhooks import Webhooks

FINGERPRINT = "fp_pixtune_local_small_model"
_BASE_CREATED = 1_780_272_000


class BearerKey:
    """Lets a request pass only with the provider's key; /_local/health is open."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._expected = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", [])).get(b"authorization", b"")
        if scope["type"] != "http" or scope["path"] == "/_local/health" or hmac.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
            return
        refused = Refused("Incorrect API key provided.", status=401, code="invalid_api_key")
        await JSONResponse(refused.body, refused.status)(scope, receive, send)


@lru_cache(maxsize=8)
def _load(path: Path) -> Model:
    return Model.load(path)


@dataclass
class Api:
    """The routes of one provider over its store."""

    store: Store
    jobs: Jobs
    webhooks: Webhooks
    faults: Faults

    # --- fine-tuning

    def _job(self, request: Request) -> Document:
        job = self.store.get("job", request.path_params["id"])
        if job is None:
            raise Refused(
                f"Could not find fine tune: {request.path_params['id']}",
                status=404,
                param="fine_tune_id",
                code="fine_tune_not_found",
            )
        return job

    async def create_job(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.jobs.create, await json_body(request)))

    def list_jobs(self, request: Request) -> Response:
        wanted = {
            name[len("metadata[") : -1]: value
            for name, value in request.query_params.items()
            if name.startswith("metadata[") and name.endswith("]")
        }
        bare = request.query_params.get("metadata") == "null"
        jobs = [
            job
            for job in self.store.all("job", newest_first=True)
            if wanted.items() <= job["metadata"].items() and not (bare and job["metadata"])
        ]
        return page(request, jobs, 20, 100)

    def retrieve_job(self, request: Request) -> Response:
        return JSONResponse(self._job(request))

    def cancel_job(self, request: Request) -> Response:
        return JSONResponse(self.jobs.cancel(self._job(request)["id"]))

    def pause_job(self, request: Request) -> Response:
        return JSONResponse(self.jobs.pause(self._job(request)["id"]))

    def resume_job(self, request: Request) -> Response:
        return JSONResponse(self.jobs.resume(self._job(request)["id"]))

    def job_events(self, request: Request) -> Response:
        return page(request, self.store.all("event", self._job(request)["id"], newest_first=True), 20, 100)

    def job_checkpoints(self, request: Request) -> Response:
        return page(request, self.store.all("checkpoint", self._job(request)["id"], newest_first=True), 10, 100)

    # --- models

    def _model(self, name: str) -> Document:
        if name == BASE_MODEL:
            base = {"id": BASE_MODEL, "object": "model", "created": _BASE_CREATED, "owned_by": OWNER}
            return {**base, "shutdown_date": self.faults.shutdown_date}
        model = self.store.get("model", name)
        if model is None:
            raise Refused(
                f"The model `{name}` does not exist or you do not have access to it.",
                status=404,
                param="model",
                code="model_not_found",
            )
        return {**model, "shutdown_date": self.faults.shutdown_date}

    @staticmethod
    def _shown(model: Document) -> Document:
        return {name: value for name, value in model.items() if name != "weights"}

    def list_models(self, _request: Request) -> Response:
        names = [BASE_MODEL, *(model["id"] for model in self.store.all("model"))]
        return JSONResponse({"object": "list", "data": [self._shown(self._model(name)) for name in names]})

    def retrieve_model(self, request: Request) -> Response:
        return JSONResponse(self._shown(self._model(request.path_params["id"])))

    def delete_model(self, request: Request) -> Response:
        name = request.path_params["id"]
        if "weights" not in self._model(name):
            raise Refused("A base model cannot be deleted.", status=403, param="model")
        self.store.delete("model", name)
        return JSONResponse({"id": name, "object": "model", "deleted": True})

    # --- chat

    async def chat(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._complete, await json_body(request)))

    def _answer(self, name: str, question: Question) -> tuple[str, tuple[float, ...]]:
        model = self._model(name)
        if "weights" in model:
            return _load(self.store.blob(model["weights"])).answer(question)
        return guess(name, question), ()

    def _complete(self, body: dict[str, Any]) -> Document:
        name = body.get("model")
        if not isinstance(name, str):
            raise Refused("you must provide a model parameter", param="model", code="missing_required_parameter")
        if body.get("stream") or body.get("n", 1) not in (None, 1):
            raise Refused("The local provider answers once and whole: no stream, n = 1.", code="unsupported_value")
        try:
            question = read_question(body.get("messages"))
        except Unusable as error:
            raise Refused(f"Invalid messages: {error}", param="messages", code="invalid_value") from error
        text, chances = self._answer(name, question)
        spent = text_tokens(text)
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": name,
            "system_fingerprint": FINGERPRINT,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "finish_reason": "stop",
                    "logprobs": _logprobs(text, chances) if body.get("logprobs") and chances else None,
                }
            ],
            "usage": {
                "prompt_tokens": question.tokens,
                "completion_tokens": spent,
                "total_tokens": question.tokens + spent,
            },
        }

    # --- moderation

    async def moderate(self, request: Request) -> Response:
        return JSONResponse(moderation.answer(await json_body(request)))

    # --- admin

    async def set_faults(self, request: Request) -> Response:
        return JSONResponse(self.faults.plan(await json_body(request)))

    def show_faults(self, _request: Request) -> Response:
        return JSONResponse(self.faults.show())

    def requests(self, _request: Request) -> Response:
        return JSONResponse({"data": list(self.faults.requests)})

    def reset(self, _request: Request) -> Response:
        """Behave again and forget the requests; files, jobs and models stay."""
        self.faults.reset()
        return JSONResponse(self.faults.show())

    async def set_webhook(self, request: Request) -> Response:
        body = await json_body(request)
        return JSONResponse(self.webhooks.set_target(body.get("url"), body.get("secret")))

    def health(self, _request: Request) -> Response:
        waiting = len(self.store.all("delivery"))
        return JSONResponse(
            {"status": "ok", "provider": OWNER, "base_model": BASE_MODEL, "deliveries_waiting": waiting}
        )

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Callable[[Request], Response | Awaitable[Response]]]] = [
            ("POST", "/v1/fine_tuning/jobs", self.create_job),
            ("GET", "/v1/fine_tuning/jobs", self.list_jobs),
            ("GET", "/v1/fine_tuning/jobs/{id}", self.retrieve_job),
            ("POST", "/v1/fine_tuning/jobs/{id}/cancel", self.cancel_job),
            ("POST", "/v1/fine_tuning/jobs/{id}/pause", self.pause_job),
            ("POST", "/v1/fine_tuning/jobs/{id}/resume", self.resume_job),
            ("GET", "/v1/fine_tuning/jobs/{id}/events", self.job_events),
            ("GET", "/v1/fine_tuning/jobs/{id}/checkpoints", self.job_checkpoints),
            ("GET", "/v1/models", self.list_models),
            ("GET", "/v1/models/{id}", self.retrieve_model),
            ("DELETE", "/v1/models/{id}", self.delete_model),
            ("POST", "/v1/chat/completions", self.chat),
            ("POST", "/v1/moderations", self.moderate),
            ("POST", "/_local/faults", self.set_faults),
            ("GET", "/_local/faults", self.show_faults),
            ("GET", "/_local/requests", self.requests),
            ("POST", "/_local/reset", self.reset),
            ("POST", "/_local/webhook", self.set_webhook),
            ("GET", "/_local/health", self.health),
        ]
        return [Route(path, endpoint, methods=[method]) for method, path, endpoint in table]


def _logprobs(text: str, chances: tuple[float, ...]) -> Document:
    """Token probabilities under OpenAI's names; a token that had no alternative is certain."""
    import math

    words = pieces(text)
    padded = [*chances[: len(words)], *([1.0] * (len(words) - len(chances)))]
    return {
        "content": [
            {"token": word, "logprob": math.log(chance), "bytes": list(word.encode()), "top_logprobs": []}
            for word, chance in zip(words, padded, strict=True)
        ],
        "refusal": None,
    }


async def _show_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.body, error.status)


async def _show_missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = Refused(f"Invalid URL ({request.method} {request.url.path})", code="unknown_url")
    return JSONResponse(refused.body, error.status_code)


async def _show_fault(_request: Request, _error: Exception) -> Response:
    """Our own failure; the server logs it."""
    refused = Refused("The server had an error while processing your request.", status=500, kind="server_error")
    return JSONResponse(refused.body, refused.status)


def build_app(api: Api, key: str) -> Starlette:
    """The application without its faults."""
    return Starlette(
        routes=[*Files(api.store).routes(), *api.routes()],
        middleware=[Middleware(BearerKey, key=key)],
        exception_handlers={Refused: _show_refusal, HTTPException: _show_missing, Exception: _show_fault},
    )
