"""Which examples count that only their image's folder labels: claims in, those that count out. Pure.

The join cannot tell: it depends on the other examples of the image and on the other folders. People are shown, and a
version holds, what counts here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pixtune.examples.facts import FOLDER
from pixtune.examples.items import ExampleItem, State


@dataclass(frozen=True, slots=True)
class Claim:
    """What decides whether an example counts. label: see `folder_label`. images: that it shows, by upload key.
    spoken: those of them that something else than their folder speaks about. nothing: it never was more than a
    folder's label for an image that is not there, or an image's tags that say nothing."""

    example_id: str
    state: State
    label: str | None
    images: tuple[str, ...]
    spoken: tuple[str, ...]
    nothing: bool


def claim_of(example: ExampleItem) -> Claim:
    slots = example.slots.values()
    said = [slot for slot in slots if slot.type != FOLDER]
    label = folder_label(example)
    return Claim(
        example.example_id,
        example.state,
        label,
        tuple(dict.fromkeys(key for slot in slots for key in slot.images)),
        tuple(key for slot in said for key in slot.images)
        if label is None and example.state is not State.DELETED
        else (),
        not any(slot.annotations for slot in said) and example.state is State.DELETED and not example.revision,
    )


def folder_label(example: ExampleItem) -> str | None:
    """The class that the folder of the example's image is, where nothing else says the row; else None."""
    folder = next((slot for slot in example.slots.values() if slot.type == FOLDER), None)
    if folder is None or example.state is not State.READY:
        return None
    if len(example.slots) > 1 and not all(by.endswith("/") for by in json.loads(example.line)["sources"]):
        return None
    return folder.annotations[0].turns[-1].parts[0].text


def that_count(claims: Sequence[Claim], wanted: bool = True) -> list[Claim]:
    """The claims without labels of folders that do not count: for an image that another example speaks for, in a
    dataset with one such class only (a folder that merely holds its images), and where they are not wanted."""
    spoken = {key for claim in claims for key in claim.spoken}

    def free(claim: Claim) -> bool:
        return claim.label is not None and spoken.isdisjoint(claim.images)

    classes = {claim.label for claim in claims if free(claim)}
    counts = wanted and len(classes) > 1
    return [claim for claim in claims if (claim.label is None and not claim.nothing) or (counts and free(claim))]
