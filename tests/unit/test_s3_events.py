"""Reading what S3 says through EventBridge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pixtune.errors import EventWithoutVersion
from pixtune.events.s3 import Change, Generation, padded, parse, reconcile_message


def event(kind: str, reason: str, key: str = "cards/a.jpg", **item: Any) -> dict[str, Any]:
    """An event as S3 sends it (AmazonS3 user guide, "EventBridge event message structure")."""
    detail: dict[str, Any] = {
        "version": "0",
        "bucket": {"name": "uploads"},
        "object": {"key": key, "version-id": "v1", "sequencer": "00617F08299329D189", **item},
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": "123456789012",
        "source-ip-address": "1.2.3.4",
        "reason": reason,
    }
    if kind == "Object Deleted":
        detail["deletion-type"] = item.pop("deletion", "Delete Marker Created")
        detail["object"].pop("deletion", None)
    return {"version": "0", "id": "x", "detail-type": kind, "source": "aws.s3", "detail": detail}


def test_a_put_is_read_with_its_version_size_and_padded_sequencer() -> None:
    found = parse(json.dumps(event("Object Created", "PutObject", size=5, etag="e")))
    assert (found.change, found.key, found.version_id, found.size) == (Change.PUT, "cards/a.jpg", "v1", 5)
    assert found.sequencer == padded("00617F08299329D189")


def test_keys_are_taken_as_they_are_because_these_events_do_not_encode_them() -> None:
    key = "cards/a b+ü#%41.jpg"
    assert parse(event("Object Created", "PutObject", key, size=1)).key == key


def test_a_delete_marker_somebody_made_is_a_deletion_and_one_a_lifecycle_rule_made_is_an_archive() -> None:
    assert parse(event("Object Deleted", "DeleteObject")).change is Change.DELETED
    assert parse(event("Object Deleted", "Lifecycle Expiration")).change is Change.ARCHIVED


def test_a_permanent_deletion_says_nothing_about_what_is_current() -> None:
    found = parse(event("Object Deleted", "DeleteObject", deletion="Permanently Deleted"))
    assert (found.change, found.version_id, found.sequencer) == (Change.RECHECK, "", "")


@pytest.mark.parametrize("version", [None, "", "null"])
def test_an_event_without_a_version_is_refused_because_there_is_no_latest(version: str | None) -> None:
    broken = event("Object Created", "PutObject", size=1)
    broken["detail"]["object"]["version-id"] = version
    with pytest.raises(EventWithoutVersion, match=r"uploads/cards/a\.jpg"):
        parse(broken)


def test_an_event_of_another_kind_is_our_failure() -> None:
    with pytest.raises(ValueError, match="Object Restored"):
        parse(event("Object Restored", "x"))


@pytest.mark.parametrize(("older", "newer"), [("0A", "0b"), ("9", "A"), ("00617F", "00617F01"), ("0", "00617f08")])
def test_sequencers_compare_as_hex_of_one_width(older: str, newer: str) -> None:
    assert padded(older) < padded(newer)


def test_trailing_zeros_do_not_make_a_sequencer_newer() -> None:
    assert padded("0055AED6") == padded("0055AED600")


@pytest.mark.parametrize("expected", [None, Generation("v7", padded("0A"))])
def test_a_reconcile_is_read_back_as_it_was_asked_for(expected: Generation | None) -> None:
    found = parse(reconcile_message("uploads", "cards/a.jpg", expected, {"version": 2}))
    assert (found.change, found.expected, found.recipe) == (Change.RECONCILE, expected, {"version": 2})
    assert (found.version_id, found.sequencer) == ("", "")
