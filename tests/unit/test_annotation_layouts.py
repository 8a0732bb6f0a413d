"""What each kind of annotation file is taken for, and what its rows and problems come to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pixtune.annotations.layouts import read_file
from pixtune.annotations.reading import FoundRow, Reading
from pixtune.datasets.version import DatasetSettings
from pixtune.evaluation.retention import RetentionPolicy
from pixtune.verdicts import Code


def read(name: str, body: str | bytes) -> Reading:
    return read_file(f"pets/{name}", body.encode() if isinstance(body, str) else body, "uploads")


def jsonl(*rows: Any) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def only(reading: Reading) -> FoundRow:
    assert reading.refusal is None
    assert reading.problems == ()
    (row,) = reading.rows
    return row


def spoken(row: FoundRow) -> list[tuple[str, list[str | int | None]]]:
    return [
        (turn.role, [part.text if part.image is None else part.image for part in turn.parts])
        for turn in row.annotation.turns
    ]


def problem(reading: Reading) -> str:
    (one,) = reading.problems
    return f"{one.where}: {one.detail} {one.fix}"


# ------------------------------------------------------------------------------ image folders


def test_a_csv_with_file_names_is_an_image_folder() -> None:
    reading = read("train/metadata.csv", "file_name,text\n0001.png,A golden retriever\n")
    row = only(reading)
    assert reading.layout == "image folder metadata (CSV)"
    assert row.images == ("pets/train/0001.png",)
    assert spoken(row) == [("user", [0]), ("assistant", ["A golden retriever"])]
    assert (row.annotation.split, row.where) == ("train", "line 2")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_may_use_any_common_delimiter_and_a_byte_order_mark(delimiter: str) -> None:
    text = "\ufefffile_name,question,answer\r\na.jpg,what?,cat\r\n".replace(",", delimiter)
    assert spoken(only(read("metadata.csv", text))) == [("user", [0, "what?"]), ("assistant", ["cat"])]


@pytest.mark.parametrize("prompt", ["prompt", "question", "prefix"])
@pytest.mark.parametrize("answer", ["answer", "completion", "suffix", "label", "caption", "text"])
def test_people_name_question_and_answer_in_many_ways(prompt: str, answer: str) -> None:
    row = only(read("metadata.jsonl", jsonl({"file_name": "a.jpg", prompt: "what?", answer: "cat"})))
    assert spoken(row) == [("user", [0, "what?"]), ("assistant", ["cat"])]


def test_a_row_may_show_several_images_by_columns_or_lists() -> None:
    lists = jsonl({"frames_file_names": ["0001_t0.png", "0001_t1.png"], "label": "moving_up"})
    assert only(read("metadata.jsonl", lists)).images == ("pets/0001_t0.png", "pets/0001_t1.png")
    columns = "before_file_name,after_file_name,answer\na.png,b.png,cut\n"
    assert only(read("metadata.csv", columns)).images == ("pets/a.png", "pets/b.png")


def test_other_scalars_are_kept_as_fields_and_own_names_as_what_they_are() -> None:
    given = {"file_name": "a.jpg", "label": 3, "id": 7, "group": "trip", "weight": 0.5, "license": "CC0", "ok": True}
    row = only(read("metadata.jsonl", jsonl(given)))
    assert spoken(row)[1] == ("assistant", ["3"])
    assert (row.stated_id, row.annotation.group, row.annotation.weight) == ("7", "trip", 0.5)
    assert row.annotation.fields == {"license": "CC0", "ok": True}


def test_a_field_that_is_no_scalar_is_left_out_and_said_so() -> None:
    reading = read("metadata.jsonl", jsonl({"file_name": "a.jpg", "text": "x", "objects": {"bbox": [[1, 2, 3, 4]]}}))
    assert only(reading).annotation.fields == {}
    assert [(note.code, note.detail) for note in reading.notes] == [
        (Code.FIELD_IGNORED, "line 1 and on: 'objects' is neither text nor a number.")
    ]


@pytest.mark.parametrize(
    ("image", "file", "split"),
    [
        ("training/a.jpg", "metadata.csv", "train"),
        ("val/a.jpg", "metadata.csv", "validation"),
        ("x/Dev/y/a.jpg", "metadata.csv", "validation"),
        ("a.jpg", "eval/metadata.csv", "test"),
        ("a.jpg", "valid.jsonl", "validation"),
        ("test/a.jpg", "train.jsonl", "test"),
        ("testimony/a.jpg", "metadata.csv", None),
        ("test.jpg", "metadata.csv", None),
    ],
)
def test_a_split_is_stated_by_a_folder_or_by_the_files_name(image: str, file: str, split: str | None) -> None:
    row = jsonl({"file_name": image, "text": "x"})
    text = row if file.endswith("jsonl") else f"file_name,text\n{image},x\n"
    assert only(read(file, text)).annotation.split == split


def test_a_rows_own_split_wins_over_its_folder() -> None:
    assert (
        only(
            read("train/metadata.jsonl", jsonl({"file_name": "a.jpg", "text": "x", "split": "dev"}))
        ).annotation.split
        == "validation"
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"file_name": "../a.jpg", "text": "x"}, "leaves the annotation file's folder"),
        ({"file_name": "/a.jpg", "text": "x"}, "absolute path"),
        ({"file_name": "C:\\a.jpg", "text": "x"}, "C: address"),
        ({"file_name": "b\\a.jpg", "text": "x"}, "backslash"),
        ({"file_name": "https://example.com/a.jpg", "text": "x"}, "https: address"),
        ({"file_name": "data:image/png,AAAA", "text": "x"}, "data: URL without"),
        ({"file_name": "s3://other/pets/a.jpg", "text": "x"}, "s3: address"),
        ({"file_name": "s3://uploads/birds/a.jpg", "text": "x"}, "another dataset"),
        ({"file_name": "folder/", "text": "x"}, "names no file"),
        ({"file_name": 5, "text": "x"}, "expected a path"),
        ({"file_name": "a.jpg"}, "no answer; found file_name"),
        ({"file_name": "a.jpg", "text": "  "}, "'text' is blank"),
        ({"file_name": "a.jpg", "text": ["x"]}, "'text' is list"),
        ({"file_name": "a.jpg", "text": "x\x00"}, "control character U+0000"),
        ({"file_name": "a.jpg", "text": "\ud800"}, "surrogate"),
        ({"file_name": "a.jpg", "text": "x" * 70_000}, "70,"),
        ({"file_name": "a.jpg", "text": "x", "split": "trainig"}, "split is 'trainig'"),
        ({"file_name": "a.jpg", "text": "x", "weight": -1}, "weight is -1"),
        ({"file_names": ["a.jpg", "a.jpg"], "text": "x"}, "same image twice"),
        ({"text": "x"}, "neither messages nor file_name"),
        ({"schemaVersion": "bedrock-conversation-2024"}, "Bedrock"),
    ],
)
def test_a_row_that_cannot_be_used_says_what_is_wrong_and_what_to_do(row: dict[str, Any], said: str) -> None:
    reading = read("metadata.jsonl", jsonl({"file_name": "good.jpg", "text": "x"}, row))
    assert said in problem(reading)
    assert problem(reading).startswith("line 2: ")
    assert len(reading.rows) == 1  # a bad row never loses the good ones


def test_a_path_into_this_bucket_and_dataset_may_be_absolute() -> None:
    row = only(read("x/metadata.jsonl", jsonl({"file_name": "s3://uploads/pets/a b+ü#%41.jpg", "text": "x"})))
    assert row.images == ("pets/a b+ü#%41.jpg",)


def test_a_csv_row_with_too_many_fields_or_an_open_quote_says_so() -> None:
    assert "more fields than the header" in problem(read("metadata.csv", "file_name,text\na.jpg,one, two\n"))
    reading = read("metadata.csv", 'file_name,text\na.jpg,"one\n')
    assert reading.refusal
    assert reading.refusal.code is Code.BAD_SYNTAX


def test_a_csv_without_a_file_name_is_of_no_known_layout() -> None:
    reading = read("table.csv", "name,value\na,b\n")
    assert reading.refusal
    assert reading.refusal.code is Code.UNKNOWN_LAYOUT
    assert "name, value" in reading.refusal.detail


# ------------------------------------------------------------------------------ JSON


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"frames_file_names": ["a.png"], label: "up"}', "the key 'label' at column 34 is not in double quotes"),
        ("{'file_name': 'a.png'}", "the key 'file_name' at column 2 is not in double quotes"),
        ('{"file_name": "a.png" "text": "x"}', "Expecting ',' delimiter at column 23"),
        ('{"file_name": NaN}', "NaN is not JSON"),
        ("[1, 2]", "is a list, expected an object"),
        ("9" * 5000, "not JSON that can be read"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_json_says_where(line: str, said: str) -> None:
    reading = read("metadata.jsonl", jsonl({"file_name": "a.jpg", "text": "x"}) + "\n" + line)
    assert said in problem(reading)


def test_all_problems_of_a_file_are_listed_at_once_with_their_lines() -> None:
    reading = read("rows.jsonl", "nope\n\n" + jsonl({"file_name": "a.jpg", "text": "x"}, {"file_name": "b.jpg"}))
    assert [one.where for one in reading.problems] == ["line 1", "line 4"]


@pytest.mark.parametrize(
    ("name", "body", "code", "said"),
    [
        ("a.json", b"", Code.EMPTY_FILE, "no content"),
        ("a.json", b"\xff\xfe{\x00}\x00", Code.BAD_ENCODING, "UTF-16"),
        ("a.csv", "file_name,text\na.jpg,\u00fc".encode("latin-1"), Code.BAD_ENCODING, "(0xfc) is not UTF-8"),
        ("a.xml", b"<html/>", Code.UNKNOWN_LAYOUT, "root is <html>"),
        ("a.xml", b"<annotation>", Code.BAD_SYNTAX, "no element found: line 1"),
        ("a.parquet", b"PAR1", Code.PARQUET, "Parquet"),
        ("a.yaml", b"names: [a]", Code.UNKNOWN_LAYOUT, "another name"),
        ("data.yaml", b"train: images", Code.BAD_SYNTAX, "does not name every class"),
        ("data.yaml", b"a: &a [x]\nnames: [*a, *a]", Code.BAD_SYNTAX, "does not name every class"),
        ("classes.txt", b"cat\n\ndog\n", Code.BAD_SYNTAX, "does not name every class"),
        ("a.json", b'{"file_name": "a"}\n{"file_name": "b"}', Code.BAD_SYNTAX, "Extra data"),
        ("a.json", b'{"shape": 3}', Code.UNKNOWN_LAYOUT, "the keys shape"),
        ("a.jsonl", b'{"x": 1}', Code.UNKNOWN_LAYOUT, "line 1"),
        ("a.jsonl", b"{", Code.BAD_SYNTAX, "line 1"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(name: str, body: bytes, code: Code, said: str) -> None:
    refusal = read(name, body).refusal
    assert refusal
    assert (refusal.code, said in refusal.detail) == (code, True), refusal.detail
    assert refusal.fix


# ------------------------------------------------------------------------------ chat rows

CHEESE = {
    "messages": [
        {"role": "system", "content": "You identify uncommon cheeses."},
        {"role": "user", "content": "What is this cheese?"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "images/0001.jpg", "detail": "low"}}],
        },
        {"role": "assistant", "content": "Danbo"},
    ]
}


def test_a_chat_row_keeps_its_system_text_and_its_turns_alternate() -> None:
    reading = read("train.jsonl", jsonl(CHEESE))
    row = only(reading)
    assert reading.layout == "chat rows"
    assert row.images == ("pets/images/0001.jpg",)
    assert row.annotation.system == "You identify uncommon cheeses."
    assert spoken(row) == [("user", ["What is this cheese?", 0]), ("assistant", ["Danbo"])]
    assert row.annotation.split == "train"


def chat(*messages: Any) -> str:
    return jsonl({"messages": list(messages)})


IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}]}
ANSWER = {"role": "assistant", "content": "cat"}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([ANSWER, IMAGE], "go assistant, user"),
        ([IMAGE, {"role": "assistant", "content": IMAGE["content"]}], "shows an image as assistant"),
        ([IMAGE, {"role": "system", "content": "x"}, ANSWER], "a system message after others"),
        ([{"role": "user", "content": "what?"}, ANSWER], "shows no image"),
        ([IMAGE, {"role": "tool", "content": "x"}, ANSWER], "messages[1].role: input should be"),
        ([IMAGE, {"role": "assistant"}], "messages[1].content: field required"),
        ([IMAGE, {**ANSWER, "tool_calls": []}], "messages[1].tool_calls: extra inputs"),
        ([{"role": "user", "content": [{"type": "image", "base64": "a"}]}, ANSWER], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}, ANSWER], "content[0].image_url"),
        ([IMAGE, {"role": "assistant", "content": " "}], "messages[1] has no text"),
        ([IMAGE, IMAGE, ANSWER], "'a.jpg' twice"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/a.jpg"}}]}, ANSWER],
            "http: address",
        ),
    ],
)
def test_a_chat_row_that_cannot_be_trained_on_says_where(messages: list[Any], said: str) -> None:
    reading = read("rows.jsonl", jsonl(CHEESE) + "\n" + chat(*messages))
    assert said in problem(reading)


@pytest.mark.parametrize("name", ["path", "url"])
def test_an_image_part_may_name_its_path_directly(name: str) -> None:
    shown = {"role": "user", "content": [{"type": "image", name: "x/a.jpg"}, {"type": "text", "text": "what?"}]}
    row = only(read("rows.jsonl", chat(shown, ANSWER)))
    assert (row.images, spoken(row)[0]) == (("pets/x/a.jpg",), ("user", [0, "what?"]))


# ------------------------------------------------------------------------------ sidecars and settings


def test_a_text_beside_an_image_is_its_answer() -> None:
    reading = read("dir/a.txt", "  A cat\nsleeping \n")
    assert reading.stem == "pets/dir/a"
    assert spoken(only(reading)) == [("user", [0]), ("assistant", ["A cat\nsleeping"])]


def test_a_sidecar_that_repeats_the_images_whole_name_means_that_image() -> None:
    reading = read("a.jpg.json", json.dumps({"prompt": "Count", "answer": 3, "split": "test", "license": "CC0"}))
    row = only(reading)
    assert (reading.stem, row.images) == ("", ("pets/a.jpg",))
    assert (row.annotation.split, row.annotation.fields) == ("test", {"license": "CC0"})


def test_a_sidecar_may_name_several_images_itself() -> None:
    reading = read("pair.json", json.dumps({"answer": "same", "images": ["a.jpg", "b.jpg"]}))
    assert (reading.stem, only(reading).images) == ("", ("pets/a.jpg", "pets/b.jpg"))


def test_a_sidecar_may_hold_a_whole_chat_about_its_image() -> None:
    reading = read("a.json", json.dumps({"messages": [{"role": "user", "content": "what?"}, ANSWER]}))
    assert reading.stem == "pets/a"
    assert spoken(only(reading)) == [("user", [0, "what?"]), ("assistant", ["cat"])]
    named = read("a.json", json.dumps(CHEESE))
    assert (named.stem, only(named).images) == ("", ("pets/images/0001.jpg",))


def test_settings_are_read_and_only_what_is_stated_is_kept() -> None:
    reading = read("dataset.toml", 'system = "Be brief."\ndetail = "low"\ntest_share = 0.2\n')
    assert reading.settings == {"system": "Be brief.", "detail": "low", "test_share": 0.2}
    assert DatasetSettings.from_json(reading.settings).test_share == 0.2


def test_every_setting_has_a_place_in_the_file() -> None:
    reading = read("dataset.toml", "sistem = 'x'")
    assert reading.refusal
    for name in DatasetSettings().to_json():
        assert name in reading.refusal.fix


def test_a_compliance_policy_is_read_and_every_setting_of_it_has_a_place_in_the_file() -> None:
    text = '[compliance]\nlicence = "refuse"\nallowed_licences = ["CC0-1.0"]\nnational_ids = ["es"]\n'
    settings = DatasetSettings.from_json(read("dataset.toml", text).settings or {})
    policy = settings.compliance
    assert (policy.licence, policy.allowed_licences, policy.privacy) == ("refuse", ("CC0-1.0",), "warn")
    whole = "\n".join(f"{name} = {json.dumps(value)}" for name, value in policy.to_json().items())
    again = read("dataset.toml", f"[compliance]\n{whole}\n")
    assert again.refusal is None
    assert DatasetSettings.from_json(again.settings or {}) == settings
    assert DatasetSettings.from_json(read("dataset.toml", "[compliance]").settings or {}) == DatasetSettings()


def test_a_policy_for_checkpoints_is_read_and_every_setting_of_it_has_a_place_in_the_file() -> None:
    text = "[checkpoints]\nkeep_least = 2\nmin_gain = 0.05\n"
    settings = DatasetSettings.from_json(read("dataset.toml", text).settings or {})
    assert settings.checkpoints == RetentionPolicy(2, 5, 0.05)
    whole = "\n".join(f"{name} = {value}" for name, value in settings.checkpoints.to_json().items())
    again = read("dataset.toml", f"[checkpoints]\n{whole}\n")
    assert DatasetSettings.from_json(again.settings or {}) == settings
    refused = read("dataset.toml", "[checkpoints]\nkeep_least = 4\nkeep_most = 3\n").refusal
    assert refused is not None
    assert "keep_least is 4, more than keep_most" in refused.detail


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("dataset.toml", "[compliance]\nprivacy = 'maybe'\ncontents = 'off'", "compliance.privacy"),
        ("dataset.toml", "[compliance]\nnational_ids = ['xx']", "compliance.national_ids.0"),
        ("dataset.toml", "prompt = ", "not TOML"),
        ("dataset.toml", "detail = 'medium'\nvalidation_share = 2", "validation_share"),
        ("dataset.toml", "reject = ['too_blurry', 'too_ugly']", "too_blurry|"),
        ("sub/dataset.toml", "detail = 'low'", "not in the dataset's own folder"),
    ],
)
def test_wrong_settings_are_refused_with_every_problem(name: str, text: str, said: str) -> None:
    refusal = read(name, text).refusal
    assert refusal
    assert refusal.code is Code.BAD_SETTINGS
    assert said in refusal.detail
