"""Personal data in text: a text in; what looks like an address, a number or an account of a person out. Pure.

Numbers with check digits count only when those are right, which leaves one random number in ten (cards) or in 97
(IBAN) to be found by mistake. Telephone numbers count in international form and in North America's; national forms
elsewhere look like any other number, so they are not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

NATIONAL_IDS = ("es", "fr", "us")

_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,63}(?![\w-])")
# Looked at from every start, because a number before it may look like its first groups.
_IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}))")
_CARD = re.compile(r"(?<![\w.-])(?=([2-6](?:[ -]?[0-9]){12,18}))")
_GOES_ON = re.compile(r"[\w-]|\.[0-9]")
# Separators between groups of digits are mandatory here, so that there is one way only to match a text.
_PHONE = re.compile(r"(?<![\w+])\+[1-9][0-9]{0,14}(?:(?:[ ./-]| ?\(|\) ?)[0-9]{1,14}){0,8}(?![0-9])")
_AMERICAN_PHONE = re.compile(
    r"(?<![\w.+-])(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[.-][0-9]{4}(?![\w-])"
)
_SOCIAL_SECURITY = re.compile(r"(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])")
_DNI = re.compile(r"(?<![\w-])([0-9]{8}|[XYZ]-?[0-9]{7})-?([A-Z])(?![\w-])")
_NIR = re.compile(
    r"(?<![\w-])([12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]) ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3}) ?([0-9]{2})(?![\w-])"
)
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"  # by the number modulo 23 (Spain, Real Decreto 1553/2005)

# Characters of an IBAN by country (ISO 13616 registry, SWIFT).
_IBAN_LENGTHS: Mapping[str, int] = {
    code: length
    for length, codes in {
        15: "NO",
        16: "BE",
        18: "DK FI NL",
        19: "SI",
        20: "AT EE LT LU",
        21: "CH HR LI LV",
        22: "BG DE GB IE",
        23: "AE",
        24: "AD CZ ES RO SA SE SK",
        25: "PT",
        26: "IS TR",
        27: "FR GR IT MC SM",
        28: "CY HU PL",
        29: "UA",
        31: "MT",
    }.items()
    for code in codes.split()
}

# First digits and lengths of card numbers by network (ISO/IEC 7812; the networks' published ranges).
_NETWORKS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"
    r"|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|35(?:2[89]|[3-8][0-9])[0-9]{12}"
    r"|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12}|62[0-9]{14,17}"
)


@dataclass(frozen=True, slots=True)
class Found:
    """kind: email, iban, card, national_id or phone. shown: its first two characters; never the whole of it."""

    kind: str
    start: int
    end: int
    shown: str


def luhn(digits: str) -> bool:
    """Whether the last of these digits is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def valid_iban(text: str) -> bool:
    """Whether it is an IBAN of a country listed here, without spaces, whose check digits are right (ISO 7064)."""
    if len(text) != _IBAN_LENGTHS.get(text[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def personal_data(text: str, national_ids: Collection[str] = ()) -> list[Found]:
    """All that was found, in the order of the text; no character counts twice. national_ids: of NATIONAL_IDS."""
    found: list[Found] = []
    recognisers = [_emails, _ibans, _cards, *(_NATIONAL[country] for country in national_ids), _phones]
    for recognise in recognisers:
        for kind, start, end in recognise(text):
            if all(end <= other.start or other.end <= start for other in found):
                found.append(Found(kind, start, end, f"{text[start : start + 2]}…"))
    return sorted(found, key=lambda one: one.start)


_Spans = Iterator[tuple[str, int, int]]


def _emails(text: str) -> _Spans:
    return (("email", *match.span()) for match in _EMAIL.finditer(text))


def _ibans(text: str) -> _Spans:
    for match in _IBAN.finditer(text):
        # A word may follow it: the country says where it ends.
        wanted, end, kept = _IBAN_LENGTHS.get(match[1][:2], 0), match.start(), ""
        while end < match.end(1) and len(kept) < wanted:
            kept += text[end].strip()
            end += 1
        if valid_iban(kept) and not text[end : end + 1].isalnum():
            yield "iban", match.start(), end


def _cards(text: str) -> _Spans:
    for match in _CARD.finditer(text):
        digits = ""
        for end, character in enumerate(match[1], start=match.start() + 1):
            digits += character.strip(" -")
            if _NETWORKS.fullmatch(digits) and luhn(digits) and not _GOES_ON.match(text, end):
                yield "card", match.start(), end
                break


def _phones(text: str) -> _Spans:
    for match in _PHONE.finditer(text):
        if 8 <= sum(character.isdigit() for character in match[0]) <= 15:  # ITU-T E.164: 15 at most
            yield "phone", *match.span()
    for match in _AMERICAN_PHONE.finditer(text):
        yield "phone", *match.span()


def _spanish(text: str) -> _Spans:
    for match in _DNI.finditer(text):
        number = match[1].replace("-", "").translate(str.maketrans("XYZ", "012"))
        if _DNI_LETTERS[int(number) % 23] == match[2]:
            yield "national_id", *match.span()


def _french(text: str) -> _Spans:
    for match in _NIR.finditer(text):
        number = match[1].replace(" ", "").replace("2A", "19").replace("2B", "18")  # Corsica's departments
        if 97 - int(number) % 97 == int(match[2]):
            yield "national_id", *match.span()


def _american(text: str) -> _Spans:
    return (("national_id", *match.span()) for match in _SOCIAL_SECURITY.finditer(text))


_NATIONAL: Mapping[str, Callable[[str], _Spans]] = {"es": _spanish, "fr": _french, "us": _american}
