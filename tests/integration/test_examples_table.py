"""The port of the examples table, held against the fake and against DynamoDB alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from tests.fakes.examples import MemoryExamples
from tests.fakes.facts import put_image

from pixtune.aws.examples_table import ExamplesTable
from pixtune.aws.plain_answers import read_plainly
from pixtune.aws.threads import in_threads
from pixtune.examples.items import ExampleItem, UploadItem
from pixtune.examples.join import image_after
from pixtune.examples.ports import Examples, Place, Write


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-west-1")
        client.create_table(
            TableName="examples",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        yield client


@pytest.fixture(params=["memory", "dynamodb"])
def table(request: pytest.FixtureRequest) -> Examples:
    if request.param == "memory":
        return MemoryExamples()
    return ExamplesTable(request.getfixturevalue("dynamodb"), "examples")


A, B = Place("DS#pets#00", "EXAMPLE#a"), Place("DS#pets#00", "EXAMPLE#b")


def test_an_item_is_read_back_as_it_was_written_and_counts_its_writes(table: Examples) -> None:
    assert table.read([A]) == [None]
    assert table.write(Write(A, {"text": "ü#\n", "list": [1, "two", None, True], "map": {"x": {}}}, 0))
    (item,) = table.read([A])
    assert item == {"pk": A.pk, "sk": A.sk, "v": 1, "text": "ü#\n", "list": [1, "two", None, True], "map": {"x": {}}}


def test_a_write_over_an_item_that_moved_on_is_refused(table: Examples) -> None:
    assert table.write(Write(A, {"n": 1}, 0))
    assert not table.write(Write(A, {"n": 2}, 0))
    assert table.write(Write(A, {"n": 2}, 1))
    assert not table.write(Write(A, {"n": 3}, 1))
    (item,) = table.read([A])
    assert item is not None
    assert (item["n"], item["v"]) == (2, 2)


def test_a_write_over_an_item_that_was_never_there_is_refused(table: Examples) -> None:
    assert not table.write(Write(A, {"n": 1}, 3))


def test_several_writes_are_all_done_or_none(table: Examples) -> None:
    assert table.write(Write(A, {"n": 1}, 0))
    assert not table.write(Write(B, {"n": 1}, 0), Write(A, {"n": 2}, 0))
    assert table.read([B]) == [None]
    assert table.write(Write(B, {"n": 1}, 0), Write(A, {"n": 2}, 1))
    assert [item and item["n"] for item in table.read([B, A])] == [1, 2]


def test_reading_answers_in_the_order_asked_with_repetitions_and_gaps(table: Examples) -> None:
    places = [Place(f"DS#pets#{number % 16:02d}", f"EXAMPLE#{number:03d}") for number in range(130)]
    for number, place in enumerate(places):
        if number % 3:
            assert table.write(Write(place, {"n": number}, 0))
    asked = [*reversed(places), places[1]]
    numbers = [item["n"] if item else None for item in table.read(asked)]
    assert numbers == [number if number % 3 else None for number in reversed(range(130))] + [1]


def test_a_query_finds_what_begins_with_its_prefix_in_one_partition(table: Examples) -> None:
    hints = {Place("DS#pets#00", f"REF#x#{number:02d}"): {"key": str(number)} for number in range(60)}
    table.mark(
        {**hints, Place("DS#pets#00", "REF#xy#1"): {"key": "other"}, Place("DS#pets#01", "REF#x#1"): {"key": ""}}
    )
    assert [item["key"] for item in table.query("DS#pets#00", "REF#x#")] == [str(number) for number in range(60)]
    assert table.query("DS#pets#00", "FROM#") == []


def test_a_query_goes_on_behind_a_key_and_shows_what_is_asked_for_only(table: Examples) -> None:
    places = [Place("DS#pets#00", f"EXAMPLE#{number:02d}") for number in range(5)]
    for number, place in enumerate(places):
        assert table.write(Write(place, {"state": "ready", "size": number, "list": [1.5, {"x": None}]}, 0))
    found = list(table.stream("DS#pets#00", "EXAMPLE#", ("state", "size", "none"), after=places[2].sk))
    assert found == [{"sk": place.sk, "state": "ready", "size": n} for n, place in enumerate(places)][3:]
    assert list(table.stream("DS#pets#00", "EXAMPLE#")) == table.query("DS#pets#00", "EXAMPLE#")
    assert [item["list"] for item in table.query("DS#pets#00", "EXAMPLE#")] == [[1.5, {"x": None}]] * 5


def test_items_read_past_botocores_parser_are_the_same(dynamodb: Any) -> None:
    table = ExamplesTable(dynamodb, "examples")
    values = {"text": "ü#\n", "list": [1, 2.5, "two", None, True], "map": {"x": {}}, "big": 1e21, "low": -3}
    for number in range(3):
        assert table.write(Write(Place("DS#pets#00", f"EXAMPLE#{number}"), values, 0))
    where = [Place("DS#pets#00", "EXAMPLE#1"), A]
    before = table.query("DS#pets#00", "EXAMPLE#"), table.read(where)
    read_plainly(dynamodb)
    parsed = dynamodb.query(**_asks("examples"), Limit=2)
    assert (table.query("DS#pets#00", "EXAMPLE#"), table.read(where)) == before
    assert (parsed["Count"], len(parsed["Items"]), parsed["LastEvaluatedKey"]["sk"]) == (2, 2, {"S": "EXAMPLE#1"})
    with pytest.raises(ClientError, match="ResourceNotFound"):
        dynamodb.query(**_asks("nowhere"))


def _asks(table: str) -> dict[str, Any]:
    return {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": "DS#pets#00"}},
    }


def test_a_hint_may_be_put_any_number_of_times(table: Examples) -> None:
    for _ in range(2):
        table.mark({A: {"key": "x"}})
    assert [item["key"] for item in table.query(A.pk, A.sk)] == ["x"]


def test_items_keep_every_value_through_the_table(table: Examples) -> None:
    upload = image_after(None, put_image())
    assert upload is not None
    table.write(Write(A, upload.to_json(), 0))
    table.write(Write(B, ExampleItem("pets", "ex_1").to_json(), 0))
    first, second = table.read([A, B])
    assert first is not None
    assert second is not None
    read = UploadItem.from_json(first)
    assert (read.image, read.verdict, read.generation) == (upload.image, upload.verdict, upload.generation)
    assert ExampleItem.from_json(second) == ExampleItem("pets", "ex_1", v=1)


def test_every_read_of_dynamodb_is_strongly_consistent(dynamodb: Any) -> None:
    seen: list[bool] = []
    events = dynamodb.meta.events
    events.register(
        "provide-client-params.dynamodb.BatchGetItem",
        lambda params, **_: seen.append(params["RequestItems"]["examples"]["ConsistentRead"]),
    )
    events.register("provide-client-params.dynamodb.Query", lambda params, **_: seen.append(params["ConsistentRead"]))
    table = ExamplesTable(dynamodb, "examples")
    table.read([A])
    table.query(A.pk, "EXAMPLE#")
    assert seen == [True, True]


def test_what_a_batch_call_leaves_out_is_asked_for_again(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real_get, real_put = dynamodb.batch_get_item, dynamodb.batch_write_item
    calls: list[int] = []

    def half_get(RequestItems: Any) -> Any:  # noqa: N803  boto3's name
        keys = RequestItems["examples"]["Keys"]
        calls.append(len(keys))
        kept, left = keys[: len(keys) // 2 + 1], keys[len(keys) // 2 + 1 :]
        answer = real_get(RequestItems={"examples": {"Keys": kept, "ConsistentRead": True}})
        return {**answer, "UnprocessedKeys": {"examples": {"Keys": left}} if left else {}}

    def half_put(RequestItems: Any) -> Any:  # noqa: N803
        puts = RequestItems["examples"]
        kept, left = puts[: len(puts) // 2 + 1], puts[len(puts) // 2 + 1 :]
        return {**real_put(RequestItems={"examples": kept}), "UnprocessedItems": {"examples": left} if left else {}}

    monkeypatch.setattr(dynamodb, "batch_get_item", half_get)
    monkeypatch.setattr(dynamodb, "batch_write_item", half_put)
    table = ExamplesTable(dynamodb, "examples")
    places = [Place("DS#pets#00", f"REF#{number}") for number in range(10)]
    table.mark({place: {"key": "x"} for place in places})
    assert None not in table.read(places)
    assert len(calls) > 1


def test_working_in_threads_answers_in_order() -> None:
    assert in_threads(lambda number: number * 2, range(50)) == [number * 2 for number in range(50)]
