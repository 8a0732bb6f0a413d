"""Personal data is found where it stands, by its check digits, and never repeated."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtune.compliance.personal_data import NATIONAL_IDS, luhn, personal_data, valid_iban

DIGITS = st.text("0123456789", min_size=1, max_size=30)


def kinds(text: str, *national_ids: str) -> list[str]:
    return [found.kind for found in personal_data(text, national_ids)]


def with_check_digit(digits: str) -> str:
    """As ISO/IEC 7812 describes it: double every second digit from the right, fill up to ten."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


def german_iban(account: str) -> str:
    """As ISO 7064 describes it: 98 minus the remainder of the account, DE as 1314, and 00."""
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


@given(DIGITS)
def test_exactly_one_check_digit_completes_a_number(digits: str) -> None:
    assert luhn(with_check_digit(digits))
    assert sum(luhn(f"{digits}{last}") for last in range(10)) == 1


@given(DIGITS, st.data())
def test_luhn_notices_every_single_wrong_digit(digits: str, data: st.DataObject) -> None:
    good = with_check_digit(digits)
    place = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != good[place]]))
    assert not luhn(good[:place] + other + good[place + 1 :])


ACCOUNTS = st.text("0123456789", min_size=18, max_size=18)


@given(ACCOUNTS, st.data())
def test_mod_97_notices_every_single_wrong_digit_and_every_swap(account: str, data: st.DataObject) -> None:
    good = german_iban(account)
    assert valid_iban(good)
    place = data.draw(st.integers(2, len(good) - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != good[place]]))
    assert not valid_iban(good[:place] + other + good[place + 1 :])
    if place + 1 < len(good) and good[place] != good[place + 1]:
        assert not valid_iban(good[:place] + good[place + 1] + good[place] + good[place + 2 :])


@given(ACCOUNTS)
def test_an_iban_is_found_grouped_or_not_whatever_word_follows(account: str) -> None:
    iban = german_iban(account)
    grouped = " ".join(iban[start : start + 4] for start in range(0, len(iban), 4))
    for text in (iban, grouped, f"pay to {iban} OK", f"pay to {grouped} OK THANKS", f"({iban})"):
        (found,) = personal_data(text)
        assert found.kind == "iban"
        assert text[found.start : found.end].replace(" ", "") == iban


@given(st.text(), st.sets(st.sampled_from(NATIONAL_IDS)))
def test_any_text_is_read_and_findings_never_overlap(text: str, national_ids: set[str]) -> None:
    found = personal_data(text, national_ids)
    assert all(before.end <= after.start for before, after in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe+photos@mail.example.org, please", "email"),
        ("call +49 (0) 30 901820 now", "phone"),
        ("call +442079460958", "phone"),
        ("call (212) 555-0123", "phone"),
        ("call 212-555-0123.", "phone"),
        ("visa 4111 1111 1111 1111", "card"),
        ("amex 378282246310005", "card"),
        ("mastercard 5555-5555-5555-4444", "card"),
        ("GB29 NWBK 6016 1331 9268 19", "iban"),
        ("NO9386011117947", "iban"),
    ],
)
def test_what_a_person_would_call_personal_is_found_once_and_not_repeated(text: str, kind: str) -> None:
    (found,) = personal_data(text)
    assert found.kind == kind
    assert found.shown == text[found.start : found.start + 2] + "…"


@pytest.mark.parametrize("card", ["4111 1111 1111 1111", "378282246310005", "6011-1111-1111-1117"])
def test_numbers_around_a_card_or_an_account_do_not_hide_it(card: str) -> None:
    for text in (f"25 {card}", f"{card} 12", f"{card}.", f"2026 {card} 3 12"):
        assert kinds(text) == ["card"]
    assert kinds("AB12 3456 7890 DE89 3704 0044 0532 0130 00 1234 5678") == ["iban"]
    assert kinds(f"{card}5") == kinds(f"x{card}") == []


@pytest.mark.parametrize(
    "text",
    [
        "a road with 3 lanes",
        "box 120 340 560 780",
        '{"box": [0.123456789012345, 4.111111111111111]}',
        "4111 1111 1111 1112",  # a wrong check digit
        "DE88370400440532013000",  # wrong check digits
        "invoice 20261122-0001-4455",
        "@handle and a@b",
        "+12.5 - 13.75 / 4.22",
        "2026-11-22T10:00:00+01:00",
        "123-45-6789",  # only where the policy asks for national ids
        "6f1ed002ab5595859014ebf0951522d9",
    ],
)
def test_what_is_not_personal_is_left_alone(text: str) -> None:
    assert personal_data(text) == []


def test_national_ids_count_only_for_the_countries_asked_for() -> None:
    american, spanish, foreigner, french = "536-90-4399", "12345678Z", "X1234567L", "2 55 08 14 168 025 38"
    assert kinds(american, "us") == ["national_id"]
    assert kinds(spanish, "es") == kinds(foreigner, "es") == ["national_id"]
    assert kinds(french, "fr") == ["national_id"]
    for text in (american, spanish, foreigner, french):
        assert kinds(text) == []
    assert kinds("000-12-3456 900-12-3456 123-00-4567", "us") == []
    assert kinds("12345678A", "es") == []
    assert kinds("2 55 08 14 168 025 39", "fr") == []


def test_a_hostile_text_of_the_largest_size_is_read_in_a_moment() -> None:
    started = time.process_time()
    for unit in ("a", "a.", "1 ", "+1 ", "1@", "DE12 ", "4-", "(212) ", "a@a.a."):
        personal_data((unit * 65_536)[:65_536], NATIONAL_IDS)
    assert time.process_time() - started < 5
