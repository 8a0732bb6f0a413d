"""The files and uploads routes: bytes go in, whole or in parts; files by id come out."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pixtune_local.provider.http import json_body, page
from pixtune_local.provider.refusals import Refused
from pixtune_local.provider.store import Document, Store

MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_UPLOAD_BYTES = 8 * 1024**3
MAX_PART_BYTES = 64 * 1024 * 1024
_UPLOAD_SECONDS = 3600
_FORM_BYTES = 10_000


def _expired(file: Document, now: float) -> bool:
    return file["expires_at"] is not None and bool(file["expires_at"] < now)


def _check(filename: object, purpose: object) -> None:
    if purpose != "fine-tune":
        raise Refused(f"'{purpose}' is not one of ['fine-tune'] - 'purpose'", param="purpose")
    if not str(filename).endswith(".jsonl"):
        raise Refused(f"Invalid file format for Fine-Tuning API: {filename}. Must be .jsonl")


def file_document(filename: str, size: int, purpose: str, lifetime: int | None = None) -> Document:
    """A new file as OpenAI shows it; `lifetime` in seconds, None keeps it until it is deleted."""
    now = int(time.time())
    return {
        "id": f"file-{secrets.token_hex(12)}",
        "object": "file",
        "bytes": size,
        "created_at": now,
        "expires_at": None if lifetime is None else now + lifetime,
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
    }


def _lifetime(seconds: object) -> int | None:
    if seconds in (None, ""):
        return None
    if not str(seconds).isdecimal() or not 3600 <= int(str(seconds)) <= 2_592_000:
        raise Refused("expires_after.seconds is a number from 3600 to 2592000.", param="expires_after")
    return int(str(seconds))


def _check_length(request: Request, most: int) -> None:
    """Refuse by the announced size, before a byte is read."""
    if int(request.headers.get("content-length", 0)) > most + _FORM_BYTES:
        raise Refused(f"The file is too large: at most {most:,} bytes.", status=413, param="file")


@dataclass
class Files:
    """The files of one provider."""

    store: Store

    def _file(self, request: Request) -> Document:
        key: str = request.path_params["id"]
        file = self.store.get("file", key)
        if file is None or _expired(file, time.time()):
            raise Refused(f"No such File object: {key}", status=404, param="id")
        return file

    async def create(self, request: Request) -> Response:
        _check_length(request, MAX_FILE_BYTES)
        async with request.form() as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise Refused("'file' is a required property", param="file")
            _check(upload.filename, form.get("purpose"))
            lifetime = _lifetime(form.get("expires_after[seconds]"))
            file = file_document(str(upload.filename), upload.size or 0, "fine-tune", lifetime)
            if file["bytes"] > MAX_FILE_BYTES:
                raise Refused(f"The file is too large: at most {MAX_FILE_BYTES:,} bytes.", status=413, param="file")
            await run_in_threadpool(self.store.write_blob, file["id"], upload.file)
        self.store.put("file", file)
        return JSONResponse(file)

    def list_files(self, request: Request) -> Response:
        purpose = request.query_params.get("purpose")
        newest_first = request.query_params.get("order", "desc") == "desc"
        now = time.time()
        found = self.store.all("file", newest_first=newest_first)
        files = [file for file in found if purpose in (None, file["purpose"]) and not _expired(file, now)]
        return page(request, files, 10_000, 10_000)

    def retrieve(self, request: Request) -> Response:
        return JSONResponse(self._file(request))

    def content(self, request: Request) -> Response:
        return FileResponse(self.store.blob(self._file(request)["id"]), media_type="application/octet-stream")

    def delete(self, request: Request) -> Response:
        file = self._file(request)
        self.store.delete("file", file["id"])
        self.store.drop_blob(file["id"])
        return JSONResponse({"id": file["id"], "object": "file", "deleted": True})

    # --- uploads: one file in parts

    def _pending(self, request: Request) -> Document:
        upload = self.store.get("upload", request.path_params["id"])
        if upload is None:
            raise Refused(f"No such Upload object: {request.path_params['id']}", status=404, param="id")
        if upload["status"] != "pending" or _expired(upload, time.time()):
            state = upload["status"] if upload["status"] != "pending" else "expired"
            raise Refused(f"Upload {upload['id']} is {state}, not pending.", param="id")
        return upload

    async def create_upload(self, request: Request) -> Response:
        body = await json_body(request)
        _check(body.get("filename"), body.get("purpose"))
        size = body.get("bytes")
        if not isinstance(size, int) or not 0 < size <= MAX_UPLOAD_BYTES:
            raise Refused(f"bytes is a number from 1 to {MAX_UPLOAD_BYTES:,}.", param="bytes")
        now = int(time.time())
        upload = {
            "id": f"upload_{secrets.token_hex(12)}",
            "object": "upload",
            "bytes": size,
            "created_at": now,
            "expires_at": now + _UPLOAD_SECONDS,
            "filename": body["filename"],
            "purpose": body["purpose"],
            "status": "pending",
            "lifetime": _lifetime((body.get("expires_after") or {}).get("seconds")),
        }
        self.store.put("upload", upload)
        return JSONResponse(_shown(upload))

    async def add_part(self, request: Request) -> Response:
        upload = self._pending(request)
        _check_length(request, MAX_PART_BYTES)
        async with request.form() as form:
            data = form.get("data")
            if not isinstance(data, UploadFile):
                raise Refused("'data' is a required property", param="data")
            part = {
                "id": f"part_{secrets.token_hex(12)}",
                "object": "upload.part",
                "created_at": int(time.time()),
                "upload_id": upload["id"],
            }
            await run_in_threadpool(self.store.write_blob, part["id"], data.file)
        self.store.put("part", part, parent=upload["id"])
        return JSONResponse(part)

    async def complete_upload(self, request: Request) -> Response:
        body = await json_body(request)
        return JSONResponse(await run_in_threadpool(self._complete, self._pending(request), body))

    def _complete(self, upload: Document, body: dict[str, Any]) -> Document:
        """Join the named parts, in their order; size and checksum must be as announced."""
        known = {part["id"] for part in self.store.all("part", upload["id"])}
        wanted = body.get("part_ids")
        if not isinstance(wanted, list) or not wanted or not set(wanted) <= known:
            raise Refused("part_ids must list parts of this upload.", param="part_ids")
        file = file_document(upload["filename"], upload["bytes"], upload["purpose"], upload["lifetime"])
        size = self.store.join_blobs(file["id"], wanted)
        problem = None
        if size != upload["bytes"]:
            problem = f"The parts have {size} bytes, announced were {upload['bytes']}."
        elif body.get("md5"):
            with self.store.blob(file["id"]).open("rb") as joined:
                found = hashlib.file_digest(joined, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            problem = f"The md5 is {found}, expected {body['md5']}." if found != body["md5"] else None
        if problem:
            self.store.drop_blob(file["id"])
            raise Refused(problem, param="part_ids")
        with self.store.transaction():
            if not self.store.change("upload", upload["id"], {"pending"}, status="completed", file=file):
                raise Refused(f"Upload {upload['id']} is not pending any more.", param="id")
            self.store.put("file", file)
        self._drop_parts(upload["id"])
        return _shown({**upload, "status": "completed", "file": file})

    def cancel_upload(self, request: Request) -> Response:
        upload = self._pending(request)
        self.store.change("upload", upload["id"], {"pending"}, status="cancelled")
        self._drop_parts(upload["id"])
        return JSONResponse(_shown({**upload, "status": "cancelled"}))

    def _drop_parts(self, upload_id: str) -> None:
        for part in self.store.all("part", upload_id):
            self.store.delete("part", part["id"])
            self.store.drop_blob(part["id"])

    def routes(self) -> list[Route]:
        table = (
            ("POST", "/v1/files", self.create),
            ("GET", "/v1/files", self.list_files),
            ("GET", "/v1/files/{id}", self.retrieve),
            ("DELETE", "/v1/files/{id}", self.delete),
            ("GET", "/v1/files/{id}/content", self.content),
            ("POST", "/v1/uploads", self.create_upload),
            ("POST", "/v1/uploads/{id}/parts", self.add_part),
            ("POST", "/v1/uploads/{id}/complete", self.complete_upload),
            ("POST", "/v1/uploads/{id}/cancel", self.cancel_upload),
        )
        return [Route(path, endpoint, methods=[method]) for method, path, endpoint in table]


def _shown(upload: Document) -> Document:
    return {name: value for name, value in upload.items() if name != "lifetime"}
