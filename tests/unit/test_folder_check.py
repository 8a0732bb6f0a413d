"""The offline check of a folder says which layouts it found and what they come to."""

from __future__ import annotations

import json
import tarfile
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from pixtune_cli.checking import FolderCheck


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((200 + number, 150)).save(path)


def summary(folder: Path) -> dict[str, Any]:
    check = FolderCheck(folder)
    assert len(list(check.run())) > 0
    return check.summary()


def test_every_layout_of_a_folder_is_named(tmp_path: Path) -> None:
    for number, name in enumerate(("coco/a.jpg", "yolo/images/b.jpg", "voc/c.jpg", "d.jpg")):
        picture(tmp_path / name, number)
    (tmp_path / "coco/_annotations.coco.json").write_text(
        json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []})
    )
    (tmp_path / "yolo/labels").mkdir()
    (tmp_path / "yolo/labels/b.txt").touch()
    (tmp_path / "yolo/data.yaml").write_text("names: [cat]\n")
    (tmp_path / "voc/c.xml").write_text("<annotation><filename>c.jpg</filename></annotation>")
    (tmp_path / "d.txt").write_text("a gradient")
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    found = summary(tmp_path)
    assert found["layouts"] == {
        "COCO boxes": 1,
        "a sidecar": 1,
        "not recognised": 1,
        "Pascal VOC boxes": 1,
        "YOLO class names": 1,
        "YOLO boxes": 1,
    }
    assert found["examples"] == {"ready": 4, "waiting": 0, "held": 0}
    assert found["unlabelled"] == 0


def test_class_folders_are_counted_where_nothing_else_labels_their_images(tmp_path: Path) -> None:
    for number, name in enumerate(("train/apple/1.jpg", "test/pear/2.jpg", "pear/3.jpg", "4.jpg")):
        picture(tmp_path / name, number)
    (tmp_path / "pear/3.txt").write_text("a green pear")
    found = summary(tmp_path)
    assert found["layouts"] == {"a sidecar": 1, "class folders": 2}
    assert (found["examples"], found["unlabelled"]) == ({"ready": 3, "waiting": 0, "held": 0}, 1)


def test_one_folder_of_images_is_no_class(tmp_path: Path) -> None:
    for number in range(2):
        picture(tmp_path / f"batch/{number}.jpg", number)
    found = summary(tmp_path)
    assert found["layouts"] == {}
    assert (found["examples"], found["unlabelled"]) == ({"ready": 0, "waiting": 0, "held": 0}, 2)


def test_an_image_that_is_not_there_is_named_with_the_path_tried(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "metadata.csv").write_text("file_name,text\nx/b.jpg,cat\n")
    notes = [note.detail for one in FolderCheck(tmp_path).run() for note in one.verdict.warnings]
    assert notes == [
        "No image has arrived; looked for dataset/images/a.* only.",
        "line 2: x/b.jpg is not in the folder; looked there only.",
    ]


# ------------------------------------------------------------------------------ as the service does it


def notes(found: dict[str, Any]) -> dict[str, str]:
    return {note["code"]: note["detail"] for note in found["version"]["notes"]}


def test_each_annotation_file_says_what_it_was_taken_for(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 1)
    (tmp_path / "metadata.csv").write_text("file_name,text\na.jpg,cat\n")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "dataset.toml").write_text('prompt = "What is it?"')
    told = {one.file: one.to_json().get("layout") for one in FolderCheck(tmp_path).run()}
    assert told == {
        "a.jpg": None,
        "broken.json": "not recognised",
        "dataset.toml": "dataset settings",
        "metadata.csv": "image folder metadata (CSV)",
    }


def test_pictures_are_prepared_by_the_folders_own_steps_and_boxes_cropped_away_are_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 0)
    (tmp_path / "a.txt").write_text("0 0.1 0.1 0.1 0.1\n0 0.5 0.5 0.2 0.2")
    (tmp_path / "classes.txt").write_text("gradient\n")
    crop = '{ name = "crop", share_x = 0.5, share_y = 0.5 }'
    (tmp_path / "dataset.toml").write_text(f'steps = ["flatten", {crop}, "resize", "encode"]')
    check = FolderCheck(tmp_path)
    checked = {one.file: one for one in check.run()}
    image = checked["a.jpg"].image
    assert image
    assert (image.width, image.height) == (100, 75)
    assert "1 boxes in 1 examples" in notes(check.summary())["boxes_cut_off"]


def test_what_the_reject_setting_leaves_out_is_told(tmp_path: Path) -> None:
    for name, number in (("a", 0), ("b", 1)):
        picture(tmp_path / f"{name}.jpg", number)
        (tmp_path / f"{name}.txt").write_text("a gradient")
    Image.new("L", (200, 200)).save(tmp_path / "a.jpg")
    (tmp_path / "dataset.toml").write_text('reject = ["too_dark"]')
    found = summary(tmp_path)
    assert (found["examples"]["ready"], found["version"]["examples"]) == (2, 1)
    assert "too_dark 1" in notes(found)["left_out"]


def test_class_numbers_that_nothing_names_are_told(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.jpg", 0)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("3 0.5 0.5 0.1 0.1")
    assert "labels/classes.txt" in notes(summary(tmp_path))["class_names_missing"]


def test_class_folders_can_be_turned_off(tmp_path: Path) -> None:
    for number, name in enumerate(("apple/1.jpg", "pear/2.jpg")):
        picture(tmp_path / name, number)
    (tmp_path / "dataset.toml").write_text("class_folders = false")
    found = summary(tmp_path)
    assert (found["version"]["examples"], found["unlabelled"]) == (0, 2)
    assert "class folders" not in found["layouts"]


def test_sources_that_disagree_hold_their_example_and_boxes_of_another_picture_too(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "b.jpg")):
        picture(tmp_path / name, number)
    (tmp_path / "metadata.csv").write_text("file_name,text\na.jpg,cat\n")
    (tmp_path / "a.txt").write_text("dog")
    (tmp_path / "b.xml").write_text(
        "<annotation><filename>b.jpg</filename><size><width>9</width><height>900</height></size></annotation>"
    )
    assert summary(tmp_path)["examples"] == {"ready": 0, "waiting": 0, "held": 2}


def test_pictures_inside_files_get_their_verdicts_too(tmp_path: Path) -> None:
    picture(tmp_path / "seen.jpg", 3)
    photo = (tmp_path / "seen.jpg").read_bytes()
    rows = [{"file_name": f"data:;base64,{b64encode(body).decode()}", "text": "x"} for body in (photo, b"no picture")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for name, body in {
            "7.jpg": photo,
            "7.json": b'{"prompt": "What?", "answer": "x"}',
            "8.jpg": b"unlabelled",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, BytesIO(body))
    check = FolderCheck(tmp_path)
    told = {one.file: one.verdict.code.value for one in check.run()}
    assert sorted(told.values()) == ["not_an_image", "ok", "ok", "ok", "ok"]
    (bad,) = check.rejected
    assert bad.startswith("inline/")
    found = check.summary()
    assert found["files"] == 3
    assert found["inline"] == {"accepted": 1, "fixed": 0, "rejected": 1}
    assert found["examples"] == {"ready": 2, "waiting": 1, "held": 0}


def test_more_examples_of_one_image_than_one_message_takes_are_all_counted(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 0)
    rows = [json.dumps({"file_name": "a.jpg", "question": f"{number}?", "answer": "x"}) for number in range(250)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    found = summary(tmp_path)
    assert (found["examples"]["ready"], found["version"]["examples"]) == (250, 250)
