"""Rows for Amazon Nova: references instead of pixels, roles in turn, and nothing Nova would refuse."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.versions import JPEG, image, row

from pixtune.errors import ProviderRefused
from pixtune.examples.annotation import Part, Turn
from pixtune.examples.rows import Row
from pixtune.providers.converse_rows import question, read_with, stored_in, training_line

STORED = stored_in("artifacts-bucket", "123456789012")


def line(one: Row, system: str | None = None, prompt: str | None = None) -> Any:
    return json.loads(training_line(one, system, prompt, STORED))


def test_a_line_names_its_images_by_their_place_in_the_bucket_of_the_training_file() -> None:
    assert line(row("a", "3"), "You count lanes.") == {
        "schemaVersion": "bedrock-conversation-2024",
        "system": [{"text": "You count lanes."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "image": {
                            "format": "jpeg",
                            "source": {
                                "s3Location": {
                                    "uri": f"s3://artifacts-bucket/images/{image('a').sha256}.jpg",
                                    "bucketOwner": "123456789012",
                                }
                            },
                        }
                    },
                    {"text": "How many lanes?"},
                ],
            },
            {"role": "assistant", "content": [{"text": "3"}]},
        ],
    }


def test_without_system_text_there_is_no_system() -> None:
    assert "system" not in line(row("a"))


def test_a_rows_own_system_text_comes_before_the_datasets() -> None:
    assert line(row("a", system="Mine."), "Theirs.")["system"] == [{"text": "Mine."}]


def test_the_datasets_prompt_is_asked_where_the_row_asks_nothing() -> None:
    (asked, _) = line(row("a", question=None), prompt="What is it?")["messages"]
    assert asked["content"][-1] == {"text": "What is it?"}


def test_an_empty_text_is_left_out_because_converse_refuses_it() -> None:
    turns = (Turn("user", (Part(image=0), Part(text=" "))), Turn("assistant", (Part(text="3"),)))
    assert [list(part) for part in line(row("a", turns=turns))["messages"][0]["content"]] == [["image"]]


def test_a_png_is_called_png() -> None:
    (asked, _) = line(row("a", images=[image("a", format="png")]))["messages"]
    assert asked["content"][0]["image"]["format"] == "png"


def test_a_weight_of_one_is_the_rule_and_is_not_written() -> None:
    assert training_line(row("a", weight=1.0), None, None, STORED) == training_line(row("a"), None, None, STORED)


def test_a_row_to_learn_nothing_from_is_refused_and_not_learnt_from() -> None:
    with pytest.raises(ProviderRefused, match="weight 0") as refused:
        training_line(row("a", weight=0.0), None, None, STORED)
    assert "Delete the example" in refused.value.fix


def test_a_bucket_whose_name_cannot_stand_in_a_uri_is_refused() -> None:
    with pytest.raises(ProviderRefused, match="cannot be named"):
        training_line(row("a"), None, None, stored_in("b%20", "1"))


def test_a_question_carries_the_pixels_and_not_the_answer() -> None:
    asked = question(row("a", "3"), "Count.", None, read_with(lambda _key: JPEG))
    assert asked["system"] == [{"text": "Count."}]
    (message,) = asked["messages"]
    assert message["content"][0] == {"image": {"format": "jpeg", "source": {"bytes": JPEG}}}


ROLES = st.lists(st.sampled_from(["user", "assistant"]), min_size=1, max_size=8)


@given(ROLES, st.text(max_size=20))
def test_roles_alternate_whoever_spoke_and_a_line_is_one_line_of_ascii(roles: list[str], text: str) -> None:
    turns = tuple(Turn(role, (Part(text=f"{text}{number}"),)) for number, role in enumerate(roles))
    rendered = training_line(row("a", turns=turns), None, None, STORED)
    said = [message["role"] for message in json.loads(rendered)["messages"]]
    assert all(one != other for one, other in pairwise(said))
    assert rendered.isascii()
    assert rendered.count(b"\n") == 1
    assert rendered.endswith(b"\n")
