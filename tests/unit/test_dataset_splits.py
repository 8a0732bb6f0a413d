"""Splits: stated ones win, look-alikes stay together, the rest is dealt by quota."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.facts import picture, said

from pixtune.datasets.splits import components, split
from pixtune.datasets.version import DatasetSettings
from pixtune.examples.rows import Row, RowImage

SETTINGS = DatasetSettings()


def row(
    name: str, number: int, *, dhash: int | None = None, stated: str | None = None, group: str | None = None
) -> Row:
    image = RowImage(f"pets/{number}.jpg", "v1", picture(number, dhash=dhash))
    return Row("pets", name, 1, (image,), said("cat", split=stated, group=group))


def rows(count: int) -> list[Row]:
    return [row(f"ex_{number:03d}", number) for number in range(1, count + 1)]


def test_below_thirty_examples_all_are_trained_on() -> None:
    assert set(split(rows(29), SETTINGS).of.values()) == {"train"}


def test_from_thirty_on_each_dealt_split_gets_five_or_a_tenth() -> None:
    assert Counter(split(rows(30), SETTINGS).of.values()) == {"train": 20, "validation": 5, "test": 5}
    assert Counter(split(rows(200), SETTINGS).of.values()) == {"train": 160, "validation": 20, "test": 20}


def test_shares_come_from_the_settings_and_none_means_none() -> None:
    settings = DatasetSettings(validation_share=0.0, test_share=0.25)
    assert Counter(split(rows(100), settings).of.values()) == {"train": 75, "test": 25}


def test_a_stated_split_wins_and_counts_towards_its_quota() -> None:
    stated = [row(f"st_{number}", 1000 + number, stated="test") for number in range(8)]
    of = split([*rows(92), *stated], SETTINGS).of
    assert all(of[one.example_id] == "test" for one in stated)
    assert Counter(of.values())["test"] == 10


def test_a_component_with_two_stated_splits_goes_to_train_and_is_reported() -> None:
    splits = split([row("a", 1, stated="train"), row("b", 1, stated="test"), row("c", 2, stated="test")], SETTINGS)
    assert splits.of == {"a": "train", "b": "train", "c": "test"}
    assert [note["code"] for note in splits.notes] == ["split_conflict"]
    assert "a, b" in splits.notes[0]["detail"]


def test_what_shares_an_image_a_near_duplicate_or_a_group_stays_together() -> None:
    same = [row("a", 1), row("b", 1)]
    near = [row("c", 3, dhash=0xFF00), row("d", 4, dhash=0xFF0F)]
    grouped = [row("e", 5, group="trip"), row("f", 6, group="trip")]
    alone = [row("g", 7, dhash=0xFF_FFFF)]
    assert components([*same, *near, *grouped, *alone]) == [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]


def test_a_dataset_that_hangs_together_is_not_cut_and_says_so() -> None:
    splits = split([row(f"ex_{number}", number, group="one") for number in range(40)], SETTINGS)
    assert set(splits.of.values()) == {"train"}
    assert [note["code"] for note in splits.notes] == ["large_component"]


def test_growing_moves_few_examples_between_splits() -> None:
    before, after = split(rows(300), SETTINGS).of, split(rows(330), SETTINGS).of
    moved = sum(before[name] != after[name] for name in before)
    assert moved <= 20


@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from([None, None, None, "train", "validation", "test"]),
            st.sampled_from([None, None, None, "x", "y"]),
        ),
        max_size=80,
    )
)
def test_no_component_is_ever_cut(given_rows: list[tuple[int, str | None, str | None]]) -> None:
    every = [
        row(f"ex_{position:03d}", number, stated=stated, group=group)
        for position, (number, stated, group) in enumerate(given_rows)
    ]
    of = split(every, SETTINGS).of
    assert sorted(of) == [one.example_id for one in every]
    for component in components(every):
        assert len({of[name] for name in component}) == 1
