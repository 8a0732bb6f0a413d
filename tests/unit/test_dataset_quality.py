"""What a version's rows hide: duplicates, near-duplicates, contradictions, one-sided and unseen answers."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.versions import image, row

from pixtune.datasets.near import NEAR, near_links
from pixtune.datasets.quality import Groups, Quality, quality
from pixtune.datasets.splits import components
from pixtune.datasets.together import Together
from pixtune.examples.annotation import Part, Turn
from pixtune.examples.facts import ImageData
from pixtune.examples.rows import Row, RowImage

DOG, CAT = 0x0F0F_0F0F_0F0F_0F0F, 0xF0F0_F0F0_F0F0_F0F0
NEAR_DOG = DOG ^ 0b111


def looks(name: str, dhash: int, **more: object) -> ImageData:
    return image(name, dhash=f"{dhash:016x}", **more)


def found(rows: Sequence[Row], **splits: str) -> Quality:
    return quality(rows, {one.example_id: splits.get(one.example_id, "train") for one in rows}, "What is it?")


def ids(groups: Groups) -> list[list[str]]:
    return [[one.example_id for one in group] for group in groups.shown]


def uploaded(example: str, key: str, picture: ImageData) -> Row:
    made = row(example, images=[picture])
    return Row(made.dataset, example, 1, (RowImage(key, "v1", picture),), made.annotation, made.sources)


def test_one_picture_under_two_keys_is_a_duplicate_and_two_questions_about_one_upload_are_not() -> None:
    same = looks("same", DOG)
    twice = found([uploaded("a", "lanes/1.jpg", same), uploaded("b", "lanes/2.jpg", same)])
    assert ids(twice.duplicates) == [["a", "b"]]
    assert twice.near.groups == 0
    asked_twice = found([uploaded("a", "lanes/1.jpg", same), uploaded("b", "lanes/1.jpg", same)])
    assert asked_twice.duplicates.groups == 0


def test_pictures_that_look_alike_are_one_group_and_others_are_not() -> None:
    assert 0 < (DOG ^ NEAR_DOG).bit_count() <= NEAR
    rows = [row("a", images=[looks("1", DOG)]), row("b", images=[looks("2", NEAR_DOG)]),
            row("c", images=[looks("3", CAT)]), row("d", images=[looks("4", DOG)])]  # fmt: skip
    assert ids(found(rows).near) == [["a", "b", "d"]]
    assert found(rows).near.examples == 3


def test_different_labels_for_pictures_that_look_alike_contradict_each_other() -> None:
    pictures = [looks("1", DOG), looks("2", NEAR_DOG), looks("3", CAT)]
    rows = [
        row(name, answer, images=[p]) for name, answer, p in zip("abc", ("dog", "cat", "cow"), pictures, strict=True)
    ]
    assert ids(found(rows).contradictions) == [["a", "b"]]


def test_the_same_label_otherwise_written_another_question_and_long_descriptions_do_not_contradict() -> None:
    one, other = looks("1", DOG), looks("2", NEAR_DOG)
    for first, second in (
        (row("a", "Dog.", images=[one]), row("b", "dog", images=[other])),
        (row("a", "dog", images=[one]), row("b", "brown", "Which colour?", images=[other])),
        (row("a", "dog " * 30, images=[one]), row("b", "hound " * 30, images=[other])),
    ):
        assert found([first, second]).contradictions.groups == 0


def test_two_answers_for_one_picture_under_two_keys_contradict_each_other() -> None:
    same = looks("same", DOG)
    assert ids(found([row("a", "1", images=[same]), row("b", "2", images=[same])]).contradictions) == [["a", "b"]]


def test_examples_of_several_pictures_contradict_only_with_all_of_them_alike() -> None:
    one, other, cat = looks("1", DOG), looks("2", NEAR_DOG), looks("3", CAT)
    assert found([row("a", "1", images=[one, cat]), row("b", "2", images=[other, cat])]).contradictions.groups == 0
    assert found([row("a", "1", images=[one, cat]), row("b", "2", images=[one, cat])]).contradictions.groups == 1


def test_answers_are_counted_by_question_and_split_and_the_prompt_stands_for_a_question_not_asked() -> None:
    rows = [row(str(n), "yes" if n < 9 else "no", None, images=[looks(str(n), n << 20)]) for n in range(12)]
    (balance,) = found(rows, **{"0": "test"}).balance
    assert (balance.question, balance.examples, balance.distinct) == ("What is it?", 12, 2)
    assert balance.answers["yes"] == {"train": 8, "validation": 0, "test": 1}
    assert 0.8 < balance.evenness < 0.82


def test_one_sided_and_unseen_answers_are_noted() -> None:
    rows = [row(str(n), "yes" if n else "no") for n in range(12)]
    notes = {note["code"]: note["detail"] for note in found(rows, **{"0": "test"}).notes}
    assert notes.keys() == {"one_sided", "unseen_answers"}
    assert "'no'" in notes["unseen_answers"]
    assert found(rows[:2]).notes == ()


def test_each_split_is_described_by_its_distinct_pictures_and_the_lengths_of_its_texts() -> None:
    shared = looks("1", DOG, brightness=0.25, sharpness=30.0)
    rows = [row("a", "yes", "Is it?", images=[shared]), row("b", "certainly", "Is it really?", images=[shared])]
    facts = found(rows, b="test").splits
    assert (facts["train"].examples, facts["train"].pictures, facts["train"].sharpness) == (1, 1, 30.0)
    assert (facts["test"].questions.low, facts["test"].answers.high) == (13, 9)
    assert (facts["validation"].examples, facts["validation"].brightness) == (0, None)


def test_an_image_from_before_the_measures_is_described_by_what_is_known() -> None:
    facts = found([row("a"), row("b", images=[looks("x", DOG, sharpness=12.0)])]).splits["train"]
    assert (facts.sharpness, facts.brightness) == (12.0, 0.5)


def test_what_an_answer_says_is_told_turn_by_turn() -> None:
    turns = tuple(Turn(role, (Part(text),)) for role, text in
                  (("user", "a?"), ("assistant", "b"), ("user", "c?"), ("assistant", "d")))  # fmt: skip
    (balance,) = found([row("a", turns=turns)]).balance
    assert (balance.question, list(balance.answers)) == ("a?\nc?", ["b\nd"])


@given(st.lists(st.integers(0, 2**10 - 1).map(lambda bits: bits << 30), min_size=2, max_size=12, unique=True))
def test_whatever_looks_alike_stays_in_one_split(hashes: list[int]) -> None:
    rows = [row(f"{n:02}", images=[looks(str(n), dhash)]) for n, dhash in enumerate(hashes)]
    together = [component for component in components(rows) if len(component) > 1]
    assert sorted(ids(found(rows).near)) == sorted(together)


def _hung_together(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    together = Together(count)
    for one, other in pairs:
        together.join(one, other)
    return together.groups()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 220), st.integers(0, 12), st.sampled_from((None, 1, 2, 3)))
def test_the_pairs_named_hang_together_what_all_pairs_would(
    seed: int, count: int, noise: int, kinds: int | None
) -> None:
    """Pictures around a few originals, so that bands are shared by many and have to be divided again."""
    chosen = random.Random(seed)
    originals = [chosen.getrandbits(64) for _ in range(chosen.randrange(1, 5))]
    hashes = [chosen.choice(originals) for _ in range(count)]
    for number in range(count):
        for _ in range(chosen.randrange(noise + 1)):
            hashes[number] ^= 1 << chosen.randrange(64)
    said = [chosen.randrange(kinds) for _ in hashes] if kinds else None
    every = [
        (one, other)
        for one in range(count)
        for other in range(one)
        if (hashes[one] ^ hashes[other]).bit_count() <= NEAR and (said is None or said[one] != said[other])
    ]
    named = list(near_links(hashes, said))
    assert set(named) <= {*every, *((other, one) for one, other in every)}
    assert _hung_together(count, named) == _hung_together(count, every)


def test_many_frames_of_one_camera_and_many_white_backgrounds_are_grouped_in_seconds() -> None:
    """Thousands that all look alike, and thousands that do not and share a third of their bits."""
    chosen = random.Random(3)
    frames = {0x0F0F_33CC_5A5A_1234 ^ sum(1 << chosen.randrange(64) for _ in range(3)) for _ in range(4_000)}
    hashes = [*frames, *{chosen.getrandbits(40) << 12 for _ in range(10_000)}]
    began = time.process_time()
    groups = _hung_together(len(hashes), near_links(hashes))
    assert time.process_time() - began < 20  # about 1.5 on an idle machine; comparing all with all takes minutes
    assert len(groups[0]) >= len(frames) - 5


def test_twenty_thousand_rows_take_seconds() -> None:
    chosen = random.Random(1)
    kinds = [chosen.getrandbits(64) for _ in range(8_000)]
    rows = [
        row(str(n), str(n % 20), images=[looks(str(n), chosen.choice(kinds) ^ 1 << chosen.randrange(64))])
        for n in range(20_000)
    ]
    began = time.process_time()
    result = found(rows)
    assert time.process_time() - began < 20  # about 1 on an idle machine
    assert result.near.groups > 1000
    assert len(result.near.shown) == 50
