"""Rows as OpenAI-shaped chat lines."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionUserMessageParam,
)
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from tests.fakes.versions import JPEG, image, row

from pixtune.costs.tokens import text_band
from pixtune.examples.annotation import Annotation, Part, Turn
from pixtune.examples.rows import Row, RowImage
from pixtune.providers.chat_rows import asked_turns, question_and_answer, question_messages, training_line

# The client's own types of the three roles a row may have, told apart by role.
MESSAGES: TypeAdapter[Any] = TypeAdapter(
    list[
        Annotated[
            ChatCompletionSystemMessageParam | ChatCompletionUserMessageParam | ChatCompletionAssistantMessageParam,
            Field(discriminator="role"),
        ]
    ],
    config=ConfigDict(strict=True),
)


def checked_content(message: dict[str, Any]) -> list[Any]:
    """The content as the client's types see it; they call it an iterable, so it is checked only when walked."""
    (checked,) = MESSAGES.validate_python([message])
    return [dict(part) for part in checked["content"]]


def read_image(key: str) -> bytes:
    return JPEG + key.encode()


def line(of: Row, system: str | None = None, prompt: str | None = None, detail: str = "high") -> dict[str, Any]:
    text = training_line(of, system, prompt, detail, read_image)
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_images_travel_as_data_urls_in_the_user_turn() -> None:
    example = row("e1")
    system, user, assistant = line(example, system="Count.", detail="low")["messages"]
    assert system == {"role": "system", "content": [{"type": "text", "text": "Count."}]}
    head, data = user["content"][0]["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(data) == read_image(example.images[0].image.key)
    assert user["content"][0]["image_url"]["detail"] == "low"
    assert assistant == {"role": "assistant", "content": [{"type": "text", "text": "3"}]}


def test_a_row_without_a_question_asks_the_datasets_prompt_once() -> None:
    bare = row("e1", question=None)
    assert [part.text for part in asked_turns(bare, "How many?")[0].parts] == [None, "How many?"]
    assert asked_turns(row("e2"), "How many?") == asked_turns(row("e2"), None)


def test_a_rows_own_system_text_wins_over_the_datasets() -> None:
    assert line(row("e1", system="Own."), system="Common.")["messages"][0]["content"][0]["text"] == "Own."


def test_turns_of_one_role_in_a_row_become_one_message() -> None:
    turns = (
        Turn("user", (Part(text="Look."),)),
        Turn("user", (Part(image=0),)),
        Turn("assistant", (Part(text="3"),)),
    )
    messages = line(row("e1", turns=turns))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert [part["type"] for part in messages[0]["content"]] == ["text", "image_url"]


def test_a_question_holds_the_conversation_up_to_the_last_answer() -> None:
    turns = (
        Turn("user", (Part(image=0), Part(text="Lanes?"))),
        Turn("assistant", (Part(text="3"),)),
        Turn("user", (Part(text="Wet?"),)),
        Turn("assistant", (Part(text="yes"),)),
    )
    example = row("e1", turns=turns)
    _, expected = question_and_answer(example, None)
    asked = question_messages(example, None, None, "high", read_image)
    assert expected == "yes"
    assert [message["role"] for message in asked] == ["user", "assistant", "user"]


def test_a_line_stays_one_line_whatever_the_text_holds() -> None:
    odd = "a\u2028b\x85c\ud800 \n d"
    content = training_line(row("e1", question=odd), None, None, "high", read_image)
    assert content.isascii()
    assert len(content.decode().splitlines()) == 1
    assert json.loads(content)["messages"][0]["content"][1]["text"] == odd
    assert text_band(odd).mid >= 1


def test_weight_zero_keeps_the_answers_out_of_the_loss() -> None:
    assert line(row("e1", weight=0))["messages"][-1]["weight"] == 0
    assert "weight" not in line(row("e1", weight=1))["messages"][-1]


parts = st.one_of(st.builds(Part, text=st.text(min_size=1)), st.builds(Part, image=st.integers(0, 2)))
texts = st.builds(Part, text=st.text(min_size=1))
turn_lists = st.lists(
    st.one_of(
        st.builds(Turn, st.just("user"), st.lists(parts, min_size=1).map(tuple)),
        st.builds(Turn, st.just("assistant"), st.lists(texts, min_size=1).map(tuple)),
    ),
    min_size=1,
).map(tuple)


@given(turn_lists, st.one_of(st.none(), st.text(min_size=1)), st.one_of(st.none(), st.text(min_size=1)))
def test_every_line_is_what_the_openai_client_would_send(
    turns: tuple[Turn, ...], system: str | None, prompt: str | None
) -> None:
    pictures = tuple(
        RowImage(f"lanes/{n}.jpg", "v1", image(str(n), format=f)) for n, f in enumerate(("jpeg", "png", "jpeg"))
    )
    example = Row("lanes", "e1", 1, pictures, Annotation(turns), ("s",))
    messages = line(example, system, prompt)["messages"]
    for message in messages:
        assert checked_content(message) == message["content"]
    roles = [message["role"] for message in messages if message["role"] != "system"]
    assert all(one != other for one, other in pairwise(roles))
    assert training_line(example, system, prompt, "high", read_image) == training_line(
        example, system, prompt, "high", read_image
    )


@pytest.mark.parametrize(
    "broken",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"detail": "high"}}]},
        {"role": "owner", "content": "x"},
        {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
    ],
)
def test_the_check_above_can_fail(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        checked_content(broken)
