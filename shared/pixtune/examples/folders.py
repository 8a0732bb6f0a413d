"""Which examples count that only their image's folder labels: a dataset's examples in, those that count out. Pure.

The join cannot tell: it depends on the other examples of the image and on the other folders. People are shown, and a
version holds, what counts here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pixtune.examples.facts import FOLDER
from pixtune.examples.items import ExampleItem, State


def folder_label(example: ExampleItem) -> str | None:
    """The class that the folder of the example's image is, where nothing else says the row; else None."""
    folder = next((slot for slot in example.slots.values() if slot.type == FOLDER), None)
    if folder is None or example.state is not State.READY:
        return None
    if len(example.slots) > 1 and not all(by.endswith("/") for by in json.loads(example.line)["sources"]):
        return None
    return folder.annotations[0].turns[-1].parts[0].text


def that_count(examples: Sequence[ExampleItem], wanted: bool = True) -> list[ExampleItem]:
    """The examples without labels of folders that do not count: for an image that another example speaks for, in a
    dataset with one such class only (a folder that merely holds its images), and where they are not wanted.

    Examples about which nothing was ever said (`is_nothing`) are left out too.
    """
    labels = {example.example_id: folder_label(example) for example in examples}
    spoken = {
        key
        for example in examples
        if labels[example.example_id] is None and example.state is not State.DELETED
        for slot in example.slots.values()
        if slot.type != FOLDER
        for key in slot.images
    }

    def free(example: ExampleItem) -> bool:
        return labels[example.example_id] is not None and _images(example).isdisjoint(spoken)

    classes = {labels[example.example_id] for example in examples if free(example)}
    counts = wanted and len(classes) > 1
    return [
        example
        for example in examples
        if (labels[example.example_id] is None and not is_nothing(example)) or (counts and free(example))
    ]


def _images(example: ExampleItem) -> set[str]:
    return {key for slot in example.slots.values() for key in slot.images}


def is_nothing(example: ExampleItem) -> bool:
    """Whether it never was more than a folder's label for an image that is not there, or an image's tags that say
    nothing."""
    silent = all(slot.type == FOLDER or not slot.annotations for slot in example.slots.values())
    return silent and example.state is State.DELETED and not example.revision
