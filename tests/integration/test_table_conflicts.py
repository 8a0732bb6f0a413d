"""A write that only met another transaction is made again; one whose condition does not hold is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from pixtune.aws import runs_table
from pixtune.aws.requests_table import RequestsTable
from pixtune.aws.runs_table import RunsTable
from pixtune.training.run import Request


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Stubber]]:
    monkeypatch.setattr(runs_table, "_CONFLICT_PAUSES", (0.0, 0.0))
    client = boto3.client(
        "dynamodb", region_name="eu-central-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    with Stubber(client) as stubber:
        yield client, stubber


def cancelled(stubber: Stubber, *codes: str) -> None:
    stubber.add_client_error(
        "transact_write_items",
        "TransactionCanceledException",
        modeled_fields={"CancellationReasons": [{"Code": code} for code in codes]},
    )


REQUEST = Request("api", "key", "run_1", "hash", True)


def test_a_transaction_that_met_another_is_made_again(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    cancelled(stubber, "None", "TransactionConflict")
    stubber.add_response("transact_write_items", {})
    assert RequestsTable(client, "requests", "runs").share(REQUEST, 1.0)
    stubber.assert_no_pending_responses()


def test_a_transaction_whose_condition_does_not_hold_is_an_answer(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    cancelled(stubber, "TransactionConflict", "ConditionalCheckFailed")
    assert not RequestsTable(client, "requests", "runs").share(REQUEST, 1.0)
    stubber.assert_no_pending_responses()


def test_a_conflict_that_does_not_end_is_a_fault(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    for _ in range(3):
        cancelled(stubber, "TransactionConflict", "None")
    with pytest.raises(ClientError):
        RequestsTable(client, "requests", "runs").share(REQUEST, 1.0)


def test_a_single_write_that_met_a_transaction_is_made_again(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    stubber.add_client_error("update_item", "TransactionConflictException")
    stubber.add_response("update_item", {})
    RunsTable(client, "runs").update("run_1", {"trained_tokens": 3})
    stubber.assert_no_pending_responses()


def test_metric_points_that_were_not_taken_are_sent_again(stubbed: tuple[Any, Stubber]) -> None:
    client, stubber = stubbed
    item = {"pk": {"S": "RUN#run_1"}, "sk": {"S": "METRIC#00000001"}}
    stubber.add_response("batch_write_item", {"UnprocessedItems": {"runs": [{"PutRequest": {"Item": item}}]}})
    stubber.add_response(
        "batch_write_item", {"UnprocessedItems": {}}, {"RequestItems": {"runs": [{"PutRequest": {"Item": item}}]}}
    )
    RunsTable(client, "runs").put_metrics("run_1", [{"step": 1, "train_loss": 0.5}])
    stubber.assert_no_pending_responses()
