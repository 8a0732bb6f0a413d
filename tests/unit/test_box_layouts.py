"""Layouts that say boxes or conversations, as their tools write them, and what their rows and problems come to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pixtune.annotations.layouts import read_file
from pixtune.annotations.reading import FoundRow, Reading
from pixtune.examples.annotation import Annotation, Box, Boxes
from pixtune.verdicts import Code


def read(name: str, body: Any) -> Reading:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return read_file(f"pets/{name}", text if isinstance(text, bytes) else text.encode(), "uploads")


def only(reading: Reading) -> FoundRow:
    assert reading.refusal is None
    assert reading.problems == ()
    (row,) = reading.rows
    return row


def boxes(row: FoundRow) -> Boxes:
    (found,) = row.annotation.boxes()
    assert Annotation.from_json(json.loads(json.dumps(row.annotation.to_json()))) == row.annotation
    return found


def spoken(row: FoundRow) -> list[tuple[str, list[str | int | None]]]:
    return [
        (turn.role, [part.text if part.image is None else part.image for part in turn.parts])
        for turn in row.annotation.turns
    ]


def told(reading: Reading) -> list[tuple[str, Code, str]]:
    return [(one.where, one.code, one.detail) for one in reading.problems]


# ------------------------------------------------------------------------------ COCO

PLANET: dict[str, Any] = {
    "info": {"description": "planets"},
    "licenses": [],
    "images": [{"width": 800, "height": 501, "id": 0, "file_name": "a.jpg"}],
    "categories": [{"id": 0, "name": "Planet"}],
    "annotations": [
        {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [], "bbox": [299, 6, 377, 260], "iscrowd": 0}
    ],
}


@pytest.mark.parametrize("name", ["train/_annotations.coco.json", "train/instances.json"])
def test_coco_boxes_are_kept_in_pixels_of_the_picture(name: str) -> None:
    reading = read(name, PLANET)
    row = only(reading)
    assert (reading.layout, row.images, row.annotation.split) == ("COCO boxes", ("pets/train/a.jpg",), "train")
    assert boxes(row) == Boxes((Box("Planet", 299, 6, 676, 266),), size=(800, 501))
    assert spoken(row) == [("user", [0]), ("assistant", [None])]


def test_coco_ids_may_count_from_one_or_be_text_and_sizes_may_be_missing() -> None:
    values = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": "2", "file_name": "b.jpg", "width": 0, "height": 0}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5]},
            {"image_id": 2, "category_id": 1, "bbox": [1.5, 0, 5, 5]},
        ],
    }
    first, second = read("x.json", values).rows
    assert boxes(first) == Boxes((Box("dog", 0, 0, 5, 5),))
    assert boxes(second) == Boxes((Box("cat", 1.5, 0, 6.5, 5),))


def test_a_listed_image_without_annotations_has_nothing_on_it() -> None:
    assert boxes(only(read("x.json", PLANET | {"annotations": []}))).boxes == ()


def captioned(*captions: dict[str, Any]) -> dict[str, Any]:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}, {"id": 3, "file_name": "c.jpg"}]
    return {"images": images, "annotations": list(captions)}


def test_coco_captions_are_answers_and_several_of_one_image_are_examples_of_their_own() -> None:
    values = captioned(
        {"id": 7, "image_id": 1, "caption": "A cat."},
        {"id": 8, "image_id": 2, "caption": "A dog."},
        {"id": 9, "image_id": 2, "caption": "Some dog on a lawn."},
    )
    reading = read("captions.json", values)
    assert (reading.layout, reading.problems) == ("COCO captions", ())
    assert [(row.images, row.stated_id, spoken(row)[-1][1]) for row in reading.rows] == [
        (("pets/a.jpg",), None, ["A cat."]),
        (("pets/b.jpg",), "pets/b.jpg caption 8", ["A dog."]),
        (("pets/b.jpg",), "pets/b.jpg caption 9", ["Some dog on a lawn."]),
    ]  # c.jpg has no caption: nobody labelled it


def test_a_blank_coco_caption_is_told_where_it_stands() -> None:
    reading = read("captions.json", captioned({"image_id": 1, "caption": " "}, {"image_id": 2, "caption": "A dog."}))
    assert told(reading) == [("images[0] (a.jpg)", Code.EMPTY_ANSWER, "'caption' is blank.")]
    assert len(reading.rows) == 1


def outlined(**annotation: Any) -> dict[str, Any]:
    return {**PLANET, "annotations": [{"image_id": 0, "category_id": 0, **annotation}]}


def test_the_box_of_a_coco_outline_is_the_smallest_around_all_its_parts_unless_a_bbox_says_it() -> None:
    parts = [[10, 20, 30.5, 25, 12, 60], [300, 40, 310, 40, 310, 44, 300, 44]]
    assert boxes(only(read("x.json", outlined(segmentation=parts)))).boxes == (Box("Planet", 10, 20, 310, 60),)
    stated = outlined(segmentation=parts, bbox=[1, 2, 3, 4])
    assert boxes(only(read("x.json", stated))).boxes == (Box("Planet", 1, 2, 4, 6),)


@pytest.mark.parametrize(
    ("segmentation", "code", "detail"),
    [
        ({"counts": "abc", "size": [1, 2]}, Code.MASK_ENCODED, "run-length encoded"),
        ([[1, 2, 3, 4]], Code.BAD_BOX, "annotations[0].segmentation[0] has 4 numbers"),
        ([[1, 2, 3, 4, 5, "x"]], Code.BAD_BOX, "is not 6 numbers"),
        ("abc", Code.BAD_BOX, "expected outlines"),
    ],
)
def test_a_coco_outline_that_gives_no_box_is_told(segmentation: Any, code: Code, detail: str) -> None:
    ((_, found, said),) = told(read("x.json", outlined(segmentation=segmentation)))
    assert found is code
    assert detail in said


def test_every_problem_of_a_coco_file_is_told_at_its_place_and_good_images_stay() -> None:
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 50} for n in range(5)] + [{"id": 9}]
    annotations = [
        {"image_id": 0, "category_id": 0, "bbox": [1, 1, 5, 5]},
        {"image_id": 1, "category_id": 7, "bbox": [1, 1, 5, 5]},
        {"image_id": 2, "category_id": 0, "bbox": [1, 1, 0, 5]},
        {"image_id": 3, "category_id": 0, "bbox": [90, 1, 20, 5]},
        {"image_id": 4, "category_id": 0, "bbox": [1, 1, "5", 5]},
        {"image_id": 77, "category_id": 0, "bbox": [1, 1, 5, 5]},
        {"image_id": 0, "category_id": 0, "bbox": [1, 1, 9, 9], "iscrowd": 1},
    ]
    reading = read("x.json", {"images": images, "categories": [{"id": 0, "name": "c"}], "annotations": annotations})
    assert [row.images for row in reading.rows] == [("pets/0.jpg",)]
    assert [(where, code, detail[:40]) for where, code, detail in told(reading)] == [
        ("annotations[5]", Code.BAD_BOX, "It belongs to no image of the file."),
        ("images[1] (1.jpg)", Code.BAD_BOX, "annotations[1] has the category 7, not o"),
        ("images[2] (2.jpg)", Code.BAD_BOX, "annotations[2] (c) has the edges 1, 1, 1"),
        ("images[3] (3.jpg)", Code.BAD_BOX, "annotations[3] (c) with the edges 90, 1,"),
        ("images[4] (4.jpg)", Code.BAD_BOX, "annotations[4].bbox is not 4 numbers."),
        ("images[5]", Code.BAD_PATH, "It has no file_name."),
    ]
    assert [note.code for note in reading.notes] == [Code.FIELD_IGNORED]


# ------------------------------------------------------------------------------ Hugging Face's objects


def test_objects_of_a_metadata_row_are_boxes_whose_classes_are_named_or_numbered() -> None:
    row = {"file_name": "0001.png", "objects": {"bbox": [[302.0, 109.0, 73.0, 52.0]], "categories": [0]}}
    reading = read("train/metadata.jsonl", row)
    assert (reading.layout, reading.notes) == ("image folder metadata with boxes", ())
    assert boxes(only(reading)) == Boxes((Box("0", 302, 109, 375, 161),), names_from="pets/train")
    named = row | {"objects": {"bbox": [[1, 1, 2, 2]], "categories": ["cat"]}, "question": "where?", "license": "CC0"}
    found = only(read("metadata.jsonl", named))
    assert boxes(found) == Boxes((Box("cat", 1, 1, 3, 3),))
    assert (found.annotation.question(), found.annotation.fields) == ("where?", {"license": "CC0"})
    empty = row | {"objects": {"bbox": [], "categories": []}}
    assert boxes(only(read("metadata.jsonl", empty))).boxes == ()


@pytest.mark.parametrize(
    "objects",
    [
        {"bbox": [[1, 1, 2, 2]]},
        {"bbox": [[1, 1, 2, 2]], "categories": []},
        {"bbox": [[1, 1, 2]], "categories": ["cat"]},
        {"bbox": [[1, 1, 2, 2], [1, 1, 2, 2]], "categories": ["cat", 0]},
    ],
)
def test_objects_that_are_no_boxes_are_refused_as_such(objects: Any) -> None:
    assert told(read("a.jsonl", {"file_name": "a.jpg", "objects": objects}))[0][1] is Code.BAD_BOX


# ------------------------------------------------------------------------------ Pascal VOC

CARDS = """<annotation><folder>test</folder><filename>IMG_1.JPG</filename><path>C:\\cards\\IMG_1.JPG</path>
<size><width>800</width><height>501</height><depth>3</depth></size><segmented>0</segmented>
<object><name>ace</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>299</xmin><ymin>6</ymin><xmax>676</xmax><ymax>266</ymax></bndbox></object></annotation>"""


def test_voc_corners_are_the_box_that_coco_says_with_sides() -> None:
    reading = read("test/IMG_1.xml", CARDS)
    row = only(reading)
    assert (reading.layout, row.images, reading.stem) == ("Pascal VOC boxes", ("pets/test/IMG_1.JPG",), "")
    assert boxes(row) == Boxes((Box("ace", 299, 6, 676, 266),), size=(800, 501))
    assert row.annotation.split == "test"


@pytest.mark.parametrize(
    ("folder", "images"), [("Annotations", "JPEGImages"), ("annotations", "images"), ("xml", "xml")]
)
def test_voc_images_lie_beside_the_file_or_in_the_folder_beside_its_own(folder: str, images: str) -> None:
    assert only(read(f"{folder}/1.xml", CARDS)).images == (f"pets/{images}/IMG_1.JPG",)
    nameless = read(f"{folder}/1.xml", CARDS.replace("IMG_1.JPG</filename>", "IMG_1</filename>"))
    assert nameless.stem == f"pets/{images}/1"


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE a [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://example.com/a.dtd">',
    ],
)
def test_a_document_type_is_refused_before_anything_it_declares_is_looked_at(declared: str) -> None:
    refusal = read("a.xml", f"{declared}<annotation>&b;</annotation>").refusal
    assert refusal
    assert refusal.code is Code.XML_DOCTYPE


def test_a_voc_box_that_cannot_be_read_rejects_its_file_by_name() -> None:
    reading = read("a.xml", CARDS.replace("<xmax>676</xmax>", "<xmax>wide</xmax>"))
    assert told(reading) == [("the file", Code.BAD_BOX, "object 1's bndbox has no number for xmax.")]
    assert told(read("a.xml", CARDS.replace("676", "nan")))[0][1] is Code.BAD_BOX


# ------------------------------------------------------------------------------ YOLO


def test_yolo_boxes_are_shares_whose_classes_are_named_elsewhere() -> None:
    reading = read("train/labels/a.txt", "0 0.5 0.5 0.2 0.4\n1 .1 .1 .2 .2 0.93\n")
    row = only(reading)
    assert (reading.layout, reading.stem, row.annotation.split) == ("YOLO boxes", "pets/train/images/a", "train")
    assert boxes(row) == Boxes(
        (Box("0", 0.4, 0.3, 0.6, 0.7), Box("1", 0, 0, 0.2, 0.2)), shares=True, names_from="pets/train/labels"
    )


@pytest.mark.parametrize(
    ("label", "stem"),
    [("labels/train/a.txt", "images/train/a"), ("a.txt", "a"), ("labels/labels/a.txt", "labels/images/a")],
)
def test_a_label_file_speaks_for_the_image_in_the_images_folder_beside_it(label: str, stem: str) -> None:
    assert read(label, "0 0.5 0.5 0.2 0.4").stem == f"pets/{stem}"


def test_an_empty_label_file_says_that_nothing_is_there_and_an_empty_caption_is_refused() -> None:
    assert boxes(only(read("labels/a.txt", " \n"))).boxes == ()
    refusal = read("a.txt", "").refusal
    assert refusal
    assert refusal.code is Code.EMPTY_FILE


def test_all_wrong_lines_of_a_label_file_are_told_and_none_of_its_boxes_is_used() -> None:
    text = "0 0.5 0.5 0.2 0.4\n0 0.5 0.5 0.2\n0 0.1 0.1 0.2 0.1 0.2 0.3 0.4\n1 1.5 0.5 0.2 0.2\ncat 0 0 1 1\n"
    reading = read("labels/a.txt", text)
    assert reading.rows == ()
    assert [(where, code) for where, code, _ in told(reading)] == [
        (f"line {number}", Code.BAD_BOX) for number in (2, 3, 4, 5)
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels/classes.txt", "cat\ndog\n"),
        ("data.yaml", "train: ../train/images\nnc: 2\nnames: ['cat', 'dog']\n"),
        ("data.yml", "names:\n  0: cat\n  1: dog\n"),
        ("data.yaml", "names:\n- cat\n- dog\n"),
    ],
)
def test_class_names_are_read_as_yolo_projects_state_them(name: str, text: str) -> None:
    reading = read(name, text)
    assert (reading.layout, reading.settings) == ("YOLO class names", {"names": ["cat", "dog"]})


# ------------------------------------------------------------------------------ Label Studio


def result(kind: str, name: str = "tag", **value: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "type": kind,
        "from_name": name,
        "to_name": "img",
        "original_width": 600,
        "original_height": 400,
        "value": value,
    }


MOON = result("rectanglelabels", x=50, y=5, width=12.5, height=10, rotation=0, rectanglelabels=["Moonwalker"])


def task(*annotations: Any, image: str = "1.jpg") -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": list(annotations), "predictions": []}


def test_label_studio_percents_become_shares_of_the_upright_picture() -> None:
    reading = read("export.json", [task({"was_cancelled": False, "result": [MOON]})])
    assert reading.layout == "a Label Studio export"
    assert boxes(only(reading)) == Boxes((Box("Moonwalker", 0.5, 0.05, 0.625, 0.15),), shares=True)


def test_a_turned_box_becomes_the_upright_box_around_it() -> None:
    turned = json.loads(json.dumps(MOON))
    turned["value"] |= {"x": 50, "y": 50, "width": 20, "height": 30, "rotation": 90}
    found = boxes(only(read("export.json", [task({"result": [turned]})]))).boxes[0]
    # 120 x 120 pixels turned about the upper left corner at 300, 200: from 180 to 300 and from 200 to 320.
    assert (found.left, found.top, found.right, found.bottom) == pytest.approx((0.3, 0.5, 0.5, 0.8))


def test_choices_and_text_areas_are_answers_in_words() -> None:
    choices = result("choices", choices=["cat", "tabby"])
    assert spoken(only(read("e.json", [task({"result": [choices]})])))[1] == ("assistant", ["cat, tabby"])
    text = result("textarea", text=["one", "two"])
    assert spoken(only(read("e.json", [task({"result": [text]})])))[1] == ("assistant", ["one\ntwo"])


def test_a_task_with_two_controls_is_two_examples_asked_by_the_controls_name() -> None:
    reading = read("e.json", [task({"result": [MOON, result("choices", "weather", choices=["sunny"])]})])
    assert [row.annotation.question() for row in reading.rows] == ["tag", "weather"]


def test_cancelled_annotations_say_nothing_and_a_ground_truth_outdoes_the_others() -> None:
    cancelled = {"was_cancelled": True, "result": [result("choices", choices=["no"])]}
    other = {"result": [result("choices", choices=["dog"])]}
    truth = {"ground_truth": True, "result": [result("choices", choices=["cat"])]}
    assert spoken(only(read("e.json", [task(cancelled, other, truth)])))[1] == ("assistant", ["cat"])
    assert len(read("e.json", [task(cancelled, other, other | {"result": [MOON]})]).rows) == 2
    assert read("e.json", [task(cancelled)]).rows == ()


@pytest.mark.parametrize(
    ("image", "key"),
    [
        ("s3://uploads/pets/x/1.jpg", "pets/x/1.jpg"),
        ("/data/upload/3/0a1b2c3d-cat.jpg", "pets/cat.jpg"),
        ("/data/local-files/?d=photos/cat.jpg", "pets/photos/cat.jpg"),
    ],
)
def test_label_studios_own_places_become_paths(image: str, key: str) -> None:
    assert only(read("e.json", [task({"result": [MOON]}, image=image)])).images == (key,)


def test_the_short_export_and_a_single_task_are_read_too() -> None:
    short = {"image": "1.jpg", "id": 1, "tag": [MOON["value"]], "annotator": 1, "annotation_id": 4, "lead_time": 2.5}
    assert boxes(only(read("e.json", [short]))).boxes[0].label == "Moonwalker"
    choice = {"image": "1.jpg", "id": 1, "choice": "cat", "annotator": 1, "annotation_id": 4, "created_at": "2026"}
    assert spoken(only(read("e.json", [choice])))[1] == ("assistant", ["cat"])
    assert boxes(only(read("e.json", task({"result": [MOON]})))).boxes[0].label == "Moonwalker"


def test_a_task_that_cannot_be_used_is_told_with_its_number() -> None:
    polygon = result("polygonlabels", points=[[1, 2]], polygonlabels=["x"])
    far = task({"result": [MOON]}, image="https://example.com/1.jpg")
    reading = read("e.json", [task({"result": [polygon]}), far, task({"result": [MOON]})])
    assert [(where, code) for where, code, _ in told(reading)] == [
        ("item 1", Code.ROW_REJECTED),
        ("item 2", Code.BAD_PATH),
    ]
    assert len(reading.rows) == 1


# ------------------------------------------------------------------------------ PaliGemma, ShareGPT


def test_roboflow_rows_are_questions_and_answers() -> None:
    line = {"image": "image1.jpg", "prefix": "extract data in JSON format", "suffix": '{"route": "J414-YG-624"}'}
    row = only(read("train/annotations.jsonl", line))
    assert row.images == ("pets/train/image1.jpg",)
    assert spoken(row) == [("user", [0, line["prefix"]]), ("assistant", [line["suffix"]])]


def test_paligemma_locations_become_boxes() -> None:
    suffix = "<loc0256><loc0512><loc0768><loc1023> cat ; <loc0000><loc0000><loc0512><loc0256> big dog"
    row = only(read("train/_annotations.jsonl", {"image": "a.jpg", "prefix": "detect cat ; dog", "suffix": suffix}))
    assert boxes(row) == Boxes(
        (Box("cat", 0.5, 0.25, 1023 / 1024, 0.75), Box("big dog", 0, 0, 0.25, 0.5)), shares=True
    )
    assert row.annotation.question() == "detect cat ; dog"


@pytest.mark.parametrize(
    "suffix",
    [
        "<loc0001> cat",
        "the cat <loc0001><loc0002><loc0003><loc0004>",
        "<loc0500><loc0002><loc0003><loc0004> cat",
        "<loc0001><loc0002><loc0030><loc0040><seg001> cat",
    ],
)
def test_location_tokens_that_are_no_boxes_are_never_passed_through(suffix: str) -> None:
    assert told(read("a.jsonl", {"image": "a.jpg", "suffix": suffix}))[0][1] is Code.LOCATION_TOKEN


LLAVA = {
    "id": "000000033471",
    "image": "coco/000000033471.jpg",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus?"},
        {"from": "gpt", "value": "White and red."},
        {"from": "human", "value": "Where is it?"},
        {"from": "gpt", "value": "On the street."},
    ],
}


@pytest.mark.parametrize("name", ["llava.json", "llava.jsonl", "one.json"])
def test_a_conversation_becomes_turns_with_its_image_where_it_stood(name: str) -> None:
    reading = read(name, [LLAVA] if name == "llava.json" else LLAVA)
    row = only(reading)
    assert reading.layout == "ShareGPT / LLaVA conversations"
    assert (row.images, row.stated_id) == (("pets/coco/000000033471.jpg",), "000000033471")
    assert spoken(row)[:2] == [("user", [0, "What are the colors of the bus?"]), ("assistant", ["White and red."])]
    assert len(row.annotation.turns) == 4


def test_a_conversation_may_show_several_images_and_begin_with_a_system_text() -> None:
    said = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Compare <image> with <image>."},
        {"from": "gpt", "value": "Same."},
    ]
    row = only(read("a.jsonl", {"images": ["a.jpg", "b.jpg"], "conversations": said}))
    assert row.annotation.system == "Be brief."
    assert spoken(row)[0] == ("user", ["Compare", 0, "with", 1, "."])


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([("human", "hi"), ("tool", "x"), ("gpt", "y")], Code.ROLE_NOT_ALLOWED),
        ([("gpt", "y"), ("human", "hi")], Code.ROLE_NOT_ALLOWED),
        ([("human", "hi"), ("system", "x"), ("gpt", "y")], Code.ROLE_NOT_ALLOWED),
        ([("human", "hi"), ("gpt", " ")], Code.EMPTY_ANSWER),
        ([("human", "<image><image>"), ("gpt", "y")], Code.ROW_REJECTED),
        ([("human", "hi"), ("gpt", "<|im_start|>system")], Code.RESERVED_TOKEN),
    ],
)
def test_a_conversation_that_cannot_be_used_has_the_code_of_its_fault(
    said: list[tuple[str, str]], code: Code
) -> None:
    row = {"image": "a.jpg", "conversations": [{"from": role, "value": value} for role, value in said]}
    assert [code for _, code, _ in told(read("a.jsonl", row))] == [code]


# ------------------------------------------------------------------------------ what no text may hold


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("  ", Code.EMPTY_ANSWER),
        ("x" * 70_000, Code.TEXT_TOO_LONG),
        ("a\x00b", Code.CONTROL_CHARACTER),
        ("a\x85b", Code.CONTROL_CHARACTER),
        ("a\u202eb", Code.BIDI_CHARACTER),
        ("a\u2066b", Code.BIDI_CHARACTER),
        ("a\ud800b", Code.LONE_SURROGATE),
        ("a<|im_end|>b", Code.RESERVED_TOKEN),
        ("a<|eot_id|>b", Code.RESERVED_TOKEN),
        ("a<start_of_turn>b", Code.RESERVED_TOKEN),
        ("[INST]", Code.RESERVED_TOKEN),
    ],
)
@pytest.mark.parametrize("layout", ["metadata", "chat"])
def test_each_kind_of_bad_text_has_a_code_of_its_own_in_every_layout(text: str, code: Code, layout: str) -> None:
    shown = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}]}
    row = (
        {"file_name": "a.jpg", "answer": text}
        if layout == "metadata"
        else {"messages": [shown, {"role": "assistant", "content": text}]}
    )
    assert [code for _, code, _ in told(read("a.jsonl", row))] == [code]


@pytest.mark.parametrize("text", ["a\tb\nc", "שלום \u200fabc", "<s>|x|</s>", "a < b | c > d", "👩‍👩‍👧"])
def test_honest_text_is_left_alone(text: str) -> None:
    assert spoken(only(read("a.jsonl", {"file_name": "a.jpg", "answer": text})))[1] == ("assistant", [text])


@pytest.mark.parametrize("role", ["tool", "developer", "function"])
def test_a_chat_may_not_speak_in_other_roles(role: str) -> None:
    shown = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}]}
    row = {"messages": [shown, {"role": role, "content": "x"}, {"role": "assistant", "content": "y"}]}
    assert [code for _, code, _ in told(read("a.jsonl", row))] == [Code.ROLE_NOT_ALLOWED]
