"""The offline check of a folder says which layouts it found and what they come to."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from pixtune_cli.checking import FolderCheck


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((200 + number, 150)).save(path)


def summary(folder: Path) -> dict[str, object]:
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
    assert found["examples"] == {"ready": 4, "waiting": 0}
    assert found["unlabelled"] == 0


def test_class_folders_are_counted_where_nothing_else_labels_their_images(tmp_path: Path) -> None:
    for number, name in enumerate(("train/apple/1.jpg", "test/pear/2.jpg", "pear/3.jpg", "4.jpg")):
        picture(tmp_path / name, number)
    (tmp_path / "pear/3.txt").write_text("a green pear")
    found = summary(tmp_path)
    assert found["layouts"] == {"a sidecar": 1, "class folders": 2}
    assert (found["examples"], found["unlabelled"]) == ({"ready": 3, "waiting": 0}, 1)


def test_one_folder_of_images_is_no_class(tmp_path: Path) -> None:
    for number in range(2):
        picture(tmp_path / f"batch/{number}.jpg", number)
    found = summary(tmp_path)
    assert found["layouts"] == {}
    assert (found["examples"], found["unlabelled"]) == ({"ready": 0, "waiting": 0}, 2)


def test_an_image_that_is_not_there_is_named_with_the_path_tried(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "metadata.csv").write_text("file_name,text\nx/b.jpg,cat\n")
    notes = [note.detail for one in FolderCheck(tmp_path).run() for note in one.verdict.warnings]
    assert notes == [
        "No image has arrived; looked for dataset/images/a.* only.",
        "line 2: x/b.jpg is not in the folder; looked there only.",
    ]
