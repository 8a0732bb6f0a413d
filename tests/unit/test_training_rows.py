"""Reading training files as the local provider does: every problem, by line."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixtune_local.provider.rows import TrainingFile, Unusable, read_question, read_training_file


def url(mode: str = "RGB", kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> str:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def image(address: str, detail: str = "low") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address, "detail": detail}}


def example(*parts: Any, answer: Any = "3", **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "How many lanes?"}, *(parts or (image(url()),))]
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer, **more}]}


Read = Callable[..., TrainingFile]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_lines(*lines: Any, fill: int = 0) -> TrainingFile:
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        path = tmp_path / "rows.jsonl"
        path.write_bytes(b"\n".join([*texts, *[json.dumps(example()).encode()] * fill]))
        return read_training_file(path)

    return read_lines


def test_a_good_file_becomes_questions_with_answers(read: Read) -> None:
    file = read(fill=10)
    assert file.problems == ()
    (question, answer) = file.rows[0].turns[0]
    assert (question.prompt, answer) == ("how many lanes?", "3")
    assert question.pictures[0].pixels.shape == (120, 160, 3)
    assert file.rows[0].tokens == 3 + 4 + 85 + 3 + 1


def test_nine_examples_are_too_few(read: Read) -> None:
    file = read(fill=9)
    assert file.code == "invalid_n_examples"
    assert "9 example(s)" in file.problems[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{oops", "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        ([1], "not a JSON object"),
        ({"messages": []}, "messages is missing or empty"),
        ({**example(), "label": "x"}, "unexpected key 'label'"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "role 'narrator'"),
        ({"messages": example()["messages"][:1]}, "no assistant message"),
        ({"messages": example()["messages"][::-1]}, "last message must be from the assistant"),
        (example(weight=0), "no assistant message to learn from"),
        (example(weight=2), "weight 2"),
        (example(answer=[image(url())]), "image in a message of role assistant"),
        (example(answer=None), "content is missing"),
        (example({"type": "audio"}), "content part of type 'audio'"),
        (example(image("https://example.org/a.jpg")), "no base64 data URL"),
        (example(image("data:image/png;base64,a=b")), "not base64"),
        (example(image("data:image/png;base64,AAAA")), "cannot be decoded"),
        (example(image(url("RGB", "GIF"))), "image format GIF"),
        (example(image(url("P"))), "image mode P"),
        (example(image(url("CMYK", "JPEG"))), "image mode CMYK"),
        (example(image(url(), "original")), "detail is 'original'"),
        (example(*[image(url())] * 11), "11 images, at most 10"),
        (example({"type": "image_url"}), "needs image_url.url"),
    ],
)
def test_a_bad_line_is_named_with_its_problem(read: Read, line: Any, says: str) -> None:
    file = read(line, fill=10)
    assert file.code == "invalid_training_file"
    assert len(file.problems) >= 1
    assert file.problems[0].startswith("line 1: ")
    assert says in "; ".join(file.problems)


def test_an_image_of_more_than_ten_megabytes_is_too_large(read: Read) -> None:
    padded = base64.b64decode(url().split(",")[1]) + bytes(10_000_000)
    file = read(example(image("data:image/png;base64," + base64.b64encode(padded).decode())), fill=10)
    assert "image too large: 10,0" in file.problems[0]


def test_a_cut_off_image_is_found(read: Read) -> None:
    whole = base64.b64decode(url("RGB", "JPEG", (300, 300)).split(",")[1])
    file = read(example(image("data:image/jpeg;base64," + base64.b64encode(whole[:-200]).decode())), fill=10)
    assert "cannot be decoded" in file.problems[0]


def test_all_problems_are_told_at_once(read: Read) -> None:
    file = read(b"{", example(), example(image("x"), image("y")), fill=10)
    assert [problem.split(":")[0] for problem in file.problems] == ["line 1", "line 3", "line 3"]


def test_blank_lines_are_passed_over_but_counted_as_lines(read: Read) -> None:
    file = read(b"", b"{", fill=10)
    assert file.problems[0].startswith("line 2")


def test_a_row_that_the_hosted_service_would_cut_is_warned_about(read: Read) -> None:
    file = read(example({"type": "text", "text": "word " * 66_000}), fill=10)
    assert file.problems == ()
    assert "cut at 65,536" in file.warnings[0]


def test_each_weighted_answer_of_a_conversation_is_learned(read: Read) -> None:
    first, second = example(), example(image(url()), answer="dusk")
    system = {"role": "system", "content": "Be brief."}
    file = read({"messages": [system, *first["messages"], *second["messages"]]}, fill=10)
    (lanes, light) = file.rows[0].turns
    assert (lanes[0].prompt, lanes[1], light[1]) == ("be brief. how many lanes?", "3", "dusk")
    assert (len(lanes[0].pictures), len(light[0].pictures)) == (1, 2)


def test_a_question_may_show_what_training_refuses() -> None:
    question = read_question(example(image(url("P")))["messages"][:1])
    assert question.pictures[0].pixels.shape == (120, 160, 3)


def test_a_question_names_all_that_is_wrong_with_it() -> None:
    with pytest.raises(Unusable, match=r"narrator.*messages\[1\]"):
        read_question([{"role": "narrator", "content": "x"}, {"role": "user", "content": [image("nowhere")]}])
