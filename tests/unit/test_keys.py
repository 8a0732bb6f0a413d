"""Names in buckets and tables."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtune import keys


@pytest.mark.parametrize("key", ["cards/a.jpg", "cards-2/x/y/z.png", "0a/b"])
def test_the_first_folder_of_a_key_is_its_dataset(key: str) -> None:
    assert keys.dataset_of(key) == key.split("/")[0]


@pytest.mark.parametrize(
    "key", ["a.jpg", "Cards/a.jpg", "c/a.jpg", "-cards/a.jpg", "ca_rds/a.jpg", "/a.jpg", "cards/"]
)
def test_a_key_outside_a_well_named_folder_has_no_dataset(key: str) -> None:
    assert keys.dataset_of(key) is None


def test_a_dataset_name_may_have_63_characters_and_no_more() -> None:
    assert keys.dataset_of("a" * 63 + "/x.jpg")
    assert keys.dataset_of("a" * 64 + "/x.jpg") is None


@pytest.mark.parametrize("key", ["d1/.DS_Store", "d1/a/Thumbs.db", "d1/._photo.jpg"])
def test_what_operating_systems_leave_behind_is_junk(key: str) -> None:
    assert keys.is_junk(key)


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("d/a.jpg", "d/a"),
        ("d/a.jpg.json", "d/a.jpg"),
        ("d.x/a", "d.x/a"),
        ("d/.hidden", "d/.hidden"),
        ("a.b/c.d", "a.b/c"),
    ],
)
def test_a_stem_is_the_key_without_its_last_suffix(key: str, stem: str) -> None:
    assert keys.stem_of(key) == stem


@given(st.text(min_size=1, max_size=300))
def test_one_name_in_two_unicode_spellings_is_one_upload(name: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert keys.hashed(composed) == keys.hashed(decomposed)


@given(st.text(min_size=1, max_size=50, alphabet=st.characters(exclude_characters="/.")))
def test_uploads_that_share_a_stem_share_the_first_part_of_their_id_and_nothing_else(name: str) -> None:
    first, second = keys.upload_id(f"d/{name}.jpg"), keys.upload_id(f"d/{name}.png")
    assert first[:17] == second[:17]
    assert first != second
