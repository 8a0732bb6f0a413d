"""The join: facts and items in, the items they become out. Pure; `append.py` does the reading and writing.

Every rule here is one of the exact rules: leave one out and the simulation loses, repeats or resurrects a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pixtune.events.s3 import Change, Generation
from pixtune.examples import places
from pixtune.examples.annotation import Annotation, Part, Turn
from pixtune.examples.facts import FOLDER, AnnotationFact, Fact, ImageFact, Source, SourceFact
from pixtune.examples.geometry import misfits
from pixtune.examples.identity import example_id
from pixtune.examples.items import ExampleItem, Slot, State, UploadItem
from pixtune.examples.ports import Place
from pixtune.examples.rows import Row, RowImage, canonical
from pixtune.keys import class_of, hashed, images_of_stem, split_named

_SHOWN = 300  # characters of an annotation that a conflict shows


# ---------------------------------------------------------------------------------------------- uploads


def is_newer(item: UploadItem, sequencer: str) -> bool:
    """Whether an event happened after what the item shows. Equal: it is the event that the item shows already."""
    return item.sequencer < sequencer


def image_after(item: UploadItem | None, fact: ImageFact) -> UploadItem | None:
    """The image's item after this fact; None when the fact changes nothing (a duplicate, or superseded)."""
    blank = UploadItem("image", fact.dataset, fact.key)
    if fact.change is Change.ARCHIVED:
        return _archived(item, blank, fact.sequencer)
    if not _applies(item, fact.sequencer, fact.expected):
        return None
    deleted = fact.change is Change.DELETED
    return replace(
        blank,
        version_id=fact.version_id,
        sequencer=fact.sequencer or (item.sequencer if item else ""),
        archived=item.archived if item else "",
        deleted=deleted,
        size=fact.size,
        verdict=fact.verdict,
        image=fact.image,
        annotated=fact.annotated,
        v=item.v if item else 0,
    )


def source_after(item: UploadItem | None, fact: SourceFact) -> UploadItem | None:
    """The source's item after its closing fact; None when the fact changes nothing."""
    source = fact.source
    blank = UploadItem(source.type, fact.dataset, source.key)
    if fact.change is Change.ARCHIVED:
        return _archived(item, blank, source.sequencer)
    if source.type == "file":
        applies = _applies(item, source.sequencer, source.expected)
    else:  # an image's metadata: whether they are current, the image's own item says
        applies = item is None or item.sequencer <= source.order
    if not applies:
        return None
    return replace(
        blank,
        version_id=source.version_id,
        sequencer=source.sequencer or (item.sequencer if item and source.type == "file" else source.order),
        archived=item.archived if item else "",
        deleted=fact.change is Change.DELETED,
        size=fact.size,
        verdict=fact.verdict,
        rows=fact.rows,
        reading=source.reading,
        stems=fact.stems,
        resolved=fact.resolved,
        because=fact.because,
        settings=fact.settings,
        v=item.v if item else 0,
    )


def _applies(item: UploadItem | None, sequencer: str, expected: Generation | None) -> bool:
    if sequencer:
        return item is None or is_newer(item, sequencer)
    # A reconcile minted no sequencer: it writes only over what its asker saw.
    return (item.generation if item else None) == expected


def _archived(item: UploadItem | None, blank: UploadItem, sequencer: str) -> UploadItem | None:
    item = item or blank
    return replace(item, archived=sequencer) if sequencer > max(item.archived, item.sequencer) else None


def is_overtaken(item: UploadItem | None, version_id: str, sequencer: str) -> bool:
    """Whether a reconcile found something else in the bucket than the table, which changed meanwhile, now shows."""
    return not sequencer and (item.version_id if item else "") != version_id


def must_be_read_again(sidecar: UploadItem, images: Iterable[UploadItem]) -> str | None:
    """Whether a sidecar's images are others than those its reader found; then the state to name as the cause.

    images: all items of its stem. One state asks once: the reader lists the bucket, which the table may lag behind.
    """
    known = {image.key: image for image in images}
    state = hashed(canonical(sorted((key, image.token) for key, image in known.items())), 16)
    if not sidecar.live or not sidecar.stems or sidecar.because == state:
        return None
    there = set(sidecar.resolved) | {key for key, image in known.items() if image.live}
    there -= {key for key, image in known.items() if image.deleted}
    return None if images_of_stem(sidecar.stems[0], there) == sidecar.resolved else state


# ---------------------------------------------------------------------------------------------- slots


def said_in(fact: Fact) -> AnnotationFact | None:
    """What a fact says about an example: its annotation or, for an image in a class folder, the folder's name.

    That label follows from the key alone, so the queue that may speak of the key may speak of it.
    """
    if isinstance(fact, AnnotationFact):
        return fact
    if not isinstance(fact, ImageFact) or fact.change is not Change.PUT or (label := class_of(fact.key)) is None:
        return None
    turns = (Turn("user", (Part(image=0),)), Turn("assistant", (Part(text=label),)))
    first = fact.key.split("/")[1]
    return AnnotationFact(
        fact.dataset,
        Source(FOLDER, fact.key, "", ""),
        example_id(fact.dataset, [fact.key], ""),
        (fact.key,),
        (Annotation(turns, split=split_named(first)),),
    )


def with_fact(example: ExampleItem, fact: AnnotationFact, current: UploadItem | None) -> ExampleItem:
    """The example with what the fact's source says now, unless its slot shows something newer.

    current: the item of the source (for an image's metadata: of the image).
    """
    name = places.source_id(fact.source.type, fact.source.key)
    slot = example.slots.get(name)
    source = fact.source
    if slot is not None and (source.type == FOLDER or not _replaces(slot, source, current)):
        return example
    said = Slot(
        source.type,
        source.key,
        source.version_id,
        source.order,
        source.reading,
        fact.images,
        fact.annotations,
        fact.where,
    )
    return replace(example, slots={**example.slots, name: said})


def _replaces(slot: Slot, source: Source, current: UploadItem | None) -> bool:
    if source.sequencer:
        return slot.order < source.sequencer
    if slot.order > source.order:
        return False
    # Of two reconciles with one order, the one whose asker saw what is still there is the later.
    generation = current.generation if current else None
    return generation == source.expected or (generation is not None and generation.version_id == source.version_id)


def is_live(slot: Slot, source: UploadItem | None) -> bool:
    """Whether the slot's source still says this: its generation is the source's current one."""
    if slot.type == "api":
        return True
    if source is None or not source.live:
        return False
    if slot.type == FOLDER:
        return source.image is not None
    return slot.version_id == source.version_id and (slot.type == "object" or slot.reading == source.reading)


# ---------------------------------------------------------------------------------------------- examples


def source_place(dataset: str, slot: Slot | Source) -> Place | None:
    """Whose item decides whether a slot is live; None for the API, which is its own source."""
    if slot.type == "api":
        return None
    if slot.type in ("object", FOLDER):
        return places.image(dataset, slot.key)
    return places.source(dataset, slot.type, slot.key)


def looks_at(example: ExampleItem) -> set[Place]:
    """The images and sources that decide about an example."""
    looked = {places.image(example.dataset, key) for slot in example.slots.values() for key in slot.images}
    return looked | {
        place for slot in example.slots.values() if (place := source_place(example.dataset, slot)) is not None
    }


def reconciled(example: ExampleItem, uploads: Mapping[Place, UploadItem | None]) -> ExampleItem:
    """The example as its images and sources, all in `uploads`, make it now."""

    def upload(place: Place | None) -> UploadItem | None:
        return uploads[place] if place else None

    dataset = example.dataset
    seen = {place.sk: item.token if (item := uploads[place]) else "" for place in looks_at(example)}
    live = {
        name: slot
        for name, slot in sorted(example.slots.items())
        if slot.annotations and is_live(slot, upload(source_place(dataset, slot)))
    }
    # The API's word decides, and a folder's counts only where nothing else speaks.
    spoken = {name: slot for name, slot in live.items() if slot.type != FOLDER} or live
    decided = {"api": live["api"]} if "api" in live else spoken
    example = replace(example, seen=seen, waiting_for=(), conflict=())
    if not live:
        return _left(example, State.DELETED)
    agreed = _agreed(list(decided.values()))
    if agreed is None:
        shown = tuple(_shown(slot, said) for slot in spoken.values() for said in slot.annotations)
        return replace(_left(example, State.HELD), conflict=shown)
    keys, annotation = agreed
    items = [uploads[places.image(dataset, key)] for key in keys]
    missing = tuple(
        {"key": key, "reason": _missing(item)}
        for key, item in zip(keys, items, strict=True)
        if item is None or not item.live or item.image is None
    )
    if missing:
        return replace(_left(example, State.WAITING), waiting_for=missing)
    images = tuple(RowImage(item.key, item.version_id, item.image) for item in items if item and item.image)
    if wrong := list(misfits(annotation, [shown.image for shown in images])):
        return replace(
            _left(example, State.HELD),
            conflict=tuple({**_shown(slot, annotation), "reason": "; ".join(wrong[:3])} for slot in decided.values()),
        )
    said_by = tuple(sorted({_said_by(slot) for slot in decided.values()}))
    row = Row(dataset, example.example_id, 0, images, annotation, said_by)
    return _with_row(replace(example, state=State.READY), row)


def _said_by(slot: Slot) -> str:
    return slot.key.rpartition("/")[0] + "/" if slot.type == FOLDER else slot.key


def _missing(item: UploadItem | None) -> str:
    if item is None or not item.version_id:
        return "has not arrived"
    if item.deleted:
        return "was deleted"
    verdict = item.verdict
    return f"was rejected: {verdict.code.value}: {verdict.detail}" if verdict else "has not been checked"


def _left(example: ExampleItem, state: State) -> ExampleItem:
    """The example without a row: a tombstone when it ever had one."""
    example = replace(example, state=state)
    if not example.revision:
        return example
    return _with_row(example, Row(example.dataset, example.example_id, 0, deleted=True))


def _with_row(example: ExampleItem, row: Row) -> ExampleItem:
    digest = row.digest()
    if digest == example.digest:
        return example
    revision = example.revision + 1
    return replace(example, digest=digest, revision=revision, line=row.with_revision(revision).to_line())


def _agreed(slots: list[Slot]) -> tuple[tuple[str, ...], Annotation] | None:
    """What all slots say as one, or None when they disagree.

    They must say the same about the same images; what only one of them states (a split, a field) is taken over.
    """
    if any(len(slot.annotations) != 1 or slot.images != slots[0].images for slot in slots):
        return None
    merged = slots[0].annotations[0]
    for slot in slots[1:]:
        other = slot.annotations[0]
        if merged.turns != other.turns:
            return None
        for name in ("system", "split", "group", "weight"):
            mine, theirs = getattr(merged, name), getattr(other, name)
            if mine is not None and theirs is not None and mine != theirs:
                return None
            merged = replace(merged, **{name: theirs if mine is None else mine})
        if any(merged.fields[name] != other.fields[name] for name in merged.fields.keys() & other.fields.keys()):
            return None
        merged = replace(merged, fields={**merged.fields, **other.fields})
    return slots[0].images, merged


def _answer(part: Part) -> str:
    if part.boxes is None:
        return part.text or ""
    return ", ".join(f"{box.label} at {box.left:g}, {box.top:g}" for box in part.boxes.boxes) or "no boxes"


def _shown(slot: Slot, said: Annotation) -> dict[str, str]:
    answer = " / ".join(_answer(part) for turn in said.turns if turn.role == "assistant" for part in turn.parts)
    shown = {"images": ", ".join(slot.images), "says": canonical(said.to_json())[:_SHOWN]}
    return {"key": slot.key, "where": slot.where, "reason": f"says {answer[:_SHOWN]!r}", **shown}
