"""`/v1/datasets` and `/v1/verdicts`: where to put a file, what became of it, and what a dataset holds."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pixtune.keys import NO_DATASET
from problems import bad_parameter, not_found
from reading import after_of, body_of, cursor_for, dataset_named, limit_of, parameter, rfc3339

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver

    from endpoints import Endpoint
    from pixtune.aws.buckets import Artifacts, Uploads
    from pixtune.aws.examples_table import ExamplesTable

_CURSOR = re.compile(r"[0-9]{2}(EXAMPLE|IMAGE|SOURCE)#.+", re.DOTALL)  # as examples.listing makes them
FORM_SECONDS = 900
"""How long an upload form may be used."""
LINK_SECONDS = 900
"""How long the link to a dataset card may be used."""


class DatasetRoutes:
    """What `/v1/datasets` answers, from the examples table and the buckets."""

    def __init__(
        self, app: APIGatewayHttpResolver, examples: ExamplesTable, uploads: Uploads, artifacts: Artifacts
    ) -> None:
        self._app, self._examples, self._uploads, self._artifacts = app, examples, uploads, artifacts

    def endpoints(self) -> list[Endpoint]:
        return [
            ("POST", "/v1/datasets/<dataset>/uploads", "create_upload", self.create_upload),
            ("GET", "/v1/datasets/<dataset>/uploads", "get_upload", self.get_upload),
            ("GET", "/v1/datasets/<dataset>/examples", "list_examples", self.list_examples),
            ("GET", "/v1/datasets/<dataset>/versions", "list_versions", self.list_versions),
            ("GET", "/v1/datasets/<dataset>/versions/<version>", "get_version", self.get_version),
            ("GET", "/v1/datasets/<dataset>/versions/<version>/compliance", "get_compliance", self.get_compliance),
            ("GET", "/v1/datasets/<dataset>/verdicts", "list_verdicts", self.list_verdicts),
            ("GET", "/v1/verdicts", "list_stray_verdicts", self.list_stray_verdicts),
            ("GET", "/v1/datasets/<dataset>", "get_dataset", self.get_dataset),
        ]

    def create_upload(self, dataset: str) -> dict[str, Any]:
        """A form that uploads exactly this key, with exactly these fields, for 15 minutes."""
        from bodies import MAX_UPLOAD_BYTES, UploadBody

        body = body_of(self._app.current_event, UploadBody)
        key = f"{dataset_named(dataset)}/{body.filename}"
        fields = body.metadata.fields()
        if body.content_type:
            fields["Content-Type"] = body.content_type
        form = self._uploads.post_form(key, fields, body.size or MAX_UPLOAD_BYTES, FORM_SECONDS)
        return {
            "key": key,
            "url": form["url"],
            "fields": form["fields"],
            "max_bytes": body.size or MAX_UPLOAD_BYTES,
            "expires_at": rfc3339(int(time.time()) + FORM_SECONDS),
            "status": f"/v1/datasets/{dataset}/uploads?key={quote(key, safe='')}",
        }

    def get_upload(self, dataset: str) -> dict[str, Any]:
        """What happened to a file: its verdict, and the examples that use it."""
        key = parameter(self._app.current_event, "key")
        if key is None or not key.startswith(f"{dataset_named(dataset)}/"):
            raise bad_parameter(
                "key", "key_invalid", f"Name the upload's whole key: ?key={dataset}/path/to/file.jpg."
            )
        upload = self._examples.upload(dataset, key)
        if upload is None:
            raise not_found(
                "upload_unknown",
                f"Nothing is known of {key}. A file dropped seconds ago may not have been looked at yet; otherwise "
                "compare the key with the bucket, letter for letter.",
            )
        return upload

    def get_dataset(self, dataset: str) -> dict[str, Any]:
        """Counts of uploads by verdict and of examples by state, and the latest version."""
        summary = self._examples.summary(dataset_named(dataset))
        if latest := summary["latest_version"]:
            summary["latest_version"] = latest | {"created_at": rfc3339(latest["created_at"])}
        return summary

    def list_examples(self, dataset: str) -> dict[str, Any]:
        event = self._app.current_event
        state = parameter(event, "state")
        if state not in (None, "waiting", "ready", "held", "deleted"):
            raise bad_parameter(
                "state", "state_invalid", f"{state!r} is no state; use waiting, ready, held, deleted."
            )
        items, after = self._examples.examples_page(
            dataset_named(dataset),
            state=state,
            limit=limit_of(event),
            after=_known(after_of(event, "examples", dataset, state)),
        )
        return {"items": items, "next_cursor": cursor_for(after, "examples", dataset, state)}

    def list_versions(self, dataset: str) -> dict[str, Any]:
        """Every version, newest first."""
        found = self._examples.versions(dataset_named(dataset))
        return {"items": [version | {"created_at": rfc3339(version["created_at"])} for version in found]}

    def get_version(self, dataset: str, version: str) -> dict[str, Any]:
        """One version with a link to its card for 15 minutes: the one of its latest judgement, where it was judged.
        Null where the version has none."""
        found = self._version(dataset, version)
        key = found["card_key"] and self._artifacts.newest(found["card_key"].removesuffix(".html"), ".html")
        link = self._artifacts.link(key, LINK_SECONDS) if key else None
        return {"dataset": dataset, **found, "card_url": link}

    def get_compliance(self, dataset: str, version: str) -> dict[str, Any]:
        """The latest report on a version, and a page of its findings by example, refused ones first."""
        from pixtune.compliance.listing import findings_page
        from pixtune.compliance.report import Report

        event, found = self._app.current_event, self._version(dataset, version)
        key = self._artifacts.newest(found["manifest_key"].removesuffix("manifest.json") + "compliance", ".json")
        stored = self._artifacts.get(key) if key else None
        if stored is None:
            raise not_found(
                "not_judged",
                f"Version {version} of {dataset} has not been judged: that is done when a run asks for it.",
            )
        report = Report.from_json(json.loads(stored))
        after = after_of(event, "compliance", key)
        items, following = findings_page(report, limit_of(event), _number(after))
        return {
            "dataset": dataset,
            "version": report.version,
            "report": key,
            "policy": report.policy.to_json(),
            "asked": report.asked,
            "summary": report.summary,
            "notes": report.notes,
            "items": items,
            "next_cursor": cursor_for(following, "compliance", key),
        }

    def list_verdicts(self, dataset: str) -> dict[str, Any]:
        """The verdicts of a dataset's uploads, or of one kind of them."""
        return self._verdicts(dataset_named(dataset))

    def list_stray_verdicts(self) -> dict[str, Any]:
        """The verdicts of uploads outside any dataset."""
        return self._verdicts(NO_DATASET)

    def _verdicts(self, dataset: str) -> dict[str, Any]:
        event = self._app.current_event
        outcome = parameter(event, "verdict")
        if outcome not in (None, "accepted", "fixed", "rejected"):
            raise bad_parameter(
                "verdict", "verdict_invalid", f"{outcome!r} is no verdict; use accepted, fixed, rejected."
            )
        after = _known(after_of(event, "verdicts", dataset, outcome))
        items, after = self._examples.uploads_page(dataset, outcome=outcome, limit=limit_of(event), after=after)
        return {"items": items, "next_cursor": cursor_for(after, "verdicts", dataset, outcome)}

    def _version(self, dataset: str, version: str) -> dict[str, Any]:
        for found in self.list_versions(dataset)["items"]:
            if str(found["version"]) == version:
                known: dict[str, Any] = found
                return known
        raise not_found(
            "version_unknown", f"{dataset} has no version {version}. GET /v1/datasets/{dataset}/versions lists them."
        )


def _number(after: str | None) -> int:
    if after is not None and not re.fullmatch("[0-9]{1,9}", after):
        raise bad_parameter("cursor", "cursor_invalid", "The cursor is not one this list gave; start without one.")
    return int(after or 0)


def _known(after: str | None) -> str | None:
    if after is not None and not _CURSOR.fullmatch(after):
        raise bad_parameter("cursor", "cursor_invalid", "The cursor is not one this list gave; start without one.")
    return after
