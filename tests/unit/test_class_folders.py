"""An image's folder is its class where nothing else speaks for it; and YOLO's class numbers find their names."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from tests.fakes.examples import MemoryArtifacts, MemoryQueue, MemoryUploads
from tests.fakes.facts import DATASET, NOW, Table, closing, deleted_image, put_image, row_fact, source

from pixtune.annotations.read import ReadAnnotations
from pixtune.datasets.publish import publish
from pixtune.datasets.reading import read_split
from pixtune.datasets.settle import Ingest
from pixtune.datasets.version import Manifest
from pixtune.errors import DatasetEmpty
from pixtune.events.s3 import Change
from pixtune.examples.facts import Fact, read_facts
from pixtune.examples.items import State
from pixtune.examples.listing import examples_page
from pixtune.examples.overview import summary, upload
from pixtune.examples.ports import one_by_one
from pixtune.examples.rows import Row
from pixtune.keys import class_of


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("ds/apple/1.jpg", "apple"),
        ("ds/train/golden retriever/1.png", "golden retriever"),
        ("ds/Valid/apple/1.jpg", "apple"),
        ("ds/1.jpg", None),
        ("ds/train/1.jpg", None),
        ("ds/train/test/1.jpg", None),
        ("ds/train/images/1.jpg", None),
        ("ds/JPEGImages/1.jpg", None),
        ("ds/fruit/apple/1.jpg", None),
        ("ds/train/fruit/apple/1.jpg", None),
        ("ds/apple/1.json", None),
        ("ds/.thumbs/1.jpg", None),
        ("ds/a\u202eb/1.jpg", None),
    ],
)
def test_a_class_is_the_only_folder_below_the_dataset_or_its_split(key: str, label: str | None) -> None:
    assert class_of(key) == label


def cut(table: Table) -> Manifest:
    return publish(DATASET, table.table, table.artifacts, NOW, "p", one_by_one, lambda _: None)[0]


def answers(table: Table, manifest: Manifest) -> dict[str, str]:
    """Image -> answer, of the version's rows as providers get them."""
    found = {}
    for split in manifest.files:
        for row in read_split(table.artifacts, manifest, split):
            assert row.annotation
            found[row.images[0].upload] = row.annotation.turns[-1].parts[0].text or ""
    return found


FRUIT = [put_image("train/apple/1.jpg", number=1), put_image("test/pear/2.jpg", number=2)]


def test_class_folders_label_images_and_the_version_says_so() -> None:
    table = Table()
    table.each(*FRUIT)
    manifest = cut(table)
    assert answers(table, manifest) == {"pets/train/apple/1.jpg": "apple", "pets/test/pear/2.jpg": "pear"}
    assert [entry.split for entry in manifest.examples if entry] == [
        row.annotation.split for row in sorted(table.folded().values(), key=by_id) if row.annotation
    ]
    assert [dict(note) for note in manifest.notes] == [
        {"code": "class_folders", "detail": "2 examples are labelled by their folder: apple, pear."}
    ]
    assert next(iter(table.folded().values())).sources[0].endswith("/")


def by_id(row: Row) -> str:
    return row.example_id


SPOKEN: list[Fact] = [
    put_image("train/apple/1.jpg", at=1),
    row_fact("a red one", images=("train/apple/1.jpg",)),
    closing(1),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("question", ["", "which?"])
def test_an_annotation_outdoes_the_folder_in_whatever_order_they_arrive(
    order: tuple[int, ...], question: str
) -> None:
    table = Table()
    table.each(*FRUIT[1:], put_image("pear/3.jpg", number=3), put_image("plum/4.jpg", number=4))
    facts = [SPOKEN[0], row_fact("a red one", question, images=("train/apple/1.jpg",)), SPOKEN[2]]
    table.each(*(facts[number] for number in order))
    found = answers(table, cut(table))
    assert found["pets/train/apple/1.jpg"] == "a red one"
    assert len(found) == 4


def test_a_folder_speaks_again_when_the_annotation_is_gone() -> None:
    table = Table()
    table.each(*FRUIT, *SPOKEN, closing(0, by=source(at=2), change=Change.DELETED))
    assert answers(table, cut(table))["pets/train/apple/1.jpg"] == "apple"


def test_an_image_in_conflict_is_not_labelled_by_its_folder_instead() -> None:
    table = Table()
    other = source("other.csv")
    table.each(*FRUIT, put_image("plum/4.jpg", number=4), row_fact("x", "q", images=("train/apple/1.jpg",)))
    table.each(closing(1), row_fact("y", "q", images=("train/apple/1.jpg",), by=other), closing(1, by=other))
    assert answers(table, cut(table)) == {"pets/test/pear/2.jpg": "pear", "pets/plum/4.jpg": "plum"}


def test_a_deleted_or_rejected_image_leaves_no_example_behind() -> None:
    table = Table()
    table.each(*FRUIT, deleted_image("train/apple/1.jpg"), put_image("test/pear/3.jpg", bad=True))
    states = sorted(example.state for example in table.examples())
    assert states == [State.DELETED, State.DELETED, State.READY]


def test_one_folder_is_where_images_lie_and_not_what_they_show() -> None:
    table = Table()
    table.each(put_image("batch/1.jpg", number=1), put_image("batch/2.jpg", number=2))
    with pytest.raises(DatasetEmpty, match="2 images lie in folders that are no classes"):
        cut(table)


def test_the_settings_may_say_that_folders_are_no_classes() -> None:
    table = Table()
    table.each(*FRUIT, *SPOKEN, closing(0, by=source("dataset.toml"), settings={"class_folders": False}))
    assert list(answers(table, cut(table))) == ["pets/train/apple/1.jpg"]


def test_people_are_shown_only_the_labels_of_folders_that_count() -> None:
    table = Table()
    scenes = [put_image(f"scenes/{n}.jpg", number=n + 1) for n in range(3)]
    said = [row_fact(str(n), "how many?", images=(f"scenes/{n}.jpg",)) for n in range(3)]
    table.each(*scenes, *said, closing(3), put_image("odd/9.jpg", number=9), put_image("odd/8.jpg", bad=True))
    shown = summary(table.table, DATASET)
    assert shown["examples"] == {"ready": 3, "waiting": 0, "held": 0, "deleted": 0}
    assert shown["unlabelled"] == 1
    every, _ = examples_page(table.table, DATASET, state="ready", limit=10, after=None)
    assert len(every) == len(cut(table).examples) == 3
    scene = upload(table.table, DATASET, "pets/scenes/0.jpg")
    assert scene is not None
    assert [example["annotation"]["turns"][-1]["parts"] for example in scene["examples"]] == [[{"text": "0"}]]


def test_a_redelivered_image_changes_nothing() -> None:
    table = Table()
    table.each(*FRUIT, *FRUIT)
    assert {row.revision for row in table.log()} == {1}


def test_settling_waits_for_the_label_of_a_folder() -> None:
    """An image that was taken in before its folder's label was joined is asked for again."""
    table = Table()
    uploads = MemoryUploads()
    uploads.put("pets/apple/1.jpg", b"x")
    ingest = Ingest(uploads, table.table, table.images, table.annotations)
    table.each(put_image("apple/1.jpg", at=1))
    assert ingest.outstanding(DATASET, NOW.timestamp()) == []
    for place in [place for place in table.table.items if place.sk.startswith("EXAMPLE#")]:
        del table.table.items[place]
    (missing,) = ingest.outstanding(DATASET, NOW.timestamp())
    assert (missing.key, missing.reason) == ("pets/apple/1.jpg", "the label that its folder is has not been joined")


# ------------------------------------------------------------------------------ boxes, from a file to a version


class Dropped(Table):
    """Files and images as they arrive, through the reader and the join."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads, self.queue = MemoryUploads(), MemoryQueue()
        self.reader = ReadAnnotations(self.uploads, self.queue, MemoryArtifacts(), MemoryQueue())
        self.count = 0

    def drop(self, name: str, body: str | None = None) -> None:
        self.count += 1
        if body is None:
            fact = put_image(name, at=self.count, number=self.count)
            self.uploads.put(fact.key, b"x")
            self.each(fact)
        else:
            version = self.uploads.put(f"{DATASET}/{name}", body.encode())
            item = {"key": version.key, "version-id": version.version_id, "sequencer": f"{self.count:04x}", "size": 1}
            self.read({"detail-type": "Object Created", "detail": {"bucket": {"name": "uploads"}, "object": item}})
        while self.annotations.sent:  # sidecars that must be read again
            self.read(json.loads(self.annotations.sent.pop()))

    def read(self, event: Any) -> None:
        self.queue.sent.clear()
        assert self.reader.take([{"messageId": "1", "body": json.dumps(event)}]) == {}
        for body in list(self.queue.sent):
            self.each(*read_facts("annotation", body))


YOLO: list[tuple[str, str | None]] = [
    ("train/images/a.jpg", None),
    ("train/images/b.jpg", None),
    ("train/labels/a.txt", "1 0.5 0.5 0.5 0.5\n"),
    ("train/labels/b.txt", ""),
    ("data.yaml", "names: [cat, dog]\n"),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(5))))
def test_a_yolo_project_is_the_same_version_in_whatever_order_it_arrives(order: tuple[int, ...]) -> None:
    table = Dropped()
    for number in order:
        table.drop(*YOLO[number])
    manifest = cut(table)
    assert answers(table, manifest) == {
        "pets/train/images/a.jpg": '[{"label": "dog", "box": [160, 120, 480, 360]}]',
        "pets/train/images/b.jpg": "[]",
    }
    assert manifest.counts["train"] == 2


def test_class_numbers_that_nothing_names_are_left_out_and_said_so() -> None:
    table = Dropped()
    for name, body in YOLO[:4]:
        table.drop(name, body)
    manifest = cut(table)
    assert list(answers(table, manifest)) == ["pets/train/images/b.jpg"]
    (note,) = manifest.notes
    assert note["code"] == "class_names_missing"
    assert "pets/train/labels/classes.txt" in note["detail"]


def test_the_nearest_names_count_and_other_names_or_another_template_are_another_version() -> None:
    table = Dropped()
    for name, body in YOLO:
        table.drop(name, body)
    digests = [cut(table).digest]
    table.drop("train/labels/classes.txt", "apple\npear\n")
    manifest = cut(table)
    assert '"pear"' in answers(table, manifest)["pets/train/images/a.jpg"]
    digests.append(manifest.digest)
    for settings in ('boxes = "count-1"', 'boxes = "count-1"\nclasses = ["pear"]'):
        table.drop("dataset.toml", settings)
        digests.append(cut(table).digest)
    assert len(set(digests)) == 4


def test_boxes_drawn_on_another_picture_hold_the_example_and_say_why() -> None:
    table = Dropped()
    table.drop("a.jpg")
    entry = {"id": 1, "file_name": "a.jpg", "width": 500, "height": 500}
    coco = {"images": [entry], "categories": [], "annotations": []}
    table.drop("_annotations.coco.json", json.dumps(coco))
    example = table.only_example()
    assert example.state is State.HELD
    assert example.conflict[0]["reason"].startswith("its boxes were drawn on 500 x 500 pixels, but the picture has")


def test_the_same_boxes_in_two_layouts_agree() -> None:
    table = Dropped()
    table.drop("a.jpg")
    entry = {"id": 1, "file_name": "a.jpg", "width": 4000, "height": 3000}
    box = {"image_id": 1, "category_id": 1, "bbox": [299, 6, 377, 260]}
    coco = {"images": [entry], "categories": [{"id": 1, "name": "cat"}], "annotations": [box]}
    table.drop("_annotations.coco.json", json.dumps(coco))
    table.drop(
        "a.xml",
        "<annotation><filename>a.jpg</filename><size><width>4000</width><height>3000</height></size><object>"
        "<name>cat</name><bndbox><xmin>299</xmin><ymin>6</ymin><xmax>676</xmax><ymax>266</ymax></bndbox></object>"
        "</annotation>",
    )
    assert table.only_example().state is State.READY
    assert len(table.folded()) == 1
