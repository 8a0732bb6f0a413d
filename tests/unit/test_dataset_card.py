"""The card that is written with every version: what was rejected and why, what deserves a look, what was left out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.facts import DATASET, NOW, Table, closing, picture, put_image, row_fact, source
from tests.fakes.judges import WordModerator

from pixtune.compliance.gate import Judges, judge
from pixtune.compliance.report import Report
from pixtune.datasets.card import Card, Refused, card_of
from pixtune.datasets.card_files import store_judged_card
from pixtune.datasets.card_page import METADATA_NAMES, pictures_of, render
from pixtune.datasets.publish import publish
from pixtune.datasets.version import Manifest
from pixtune.errors import DatasetEmpty
from pixtune.examples.annotation import SPLITS
from pixtune.examples.facts import METADATA, ImageFact, SourceFact
from pixtune.examples.ports import one_by_one
from pixtune.examples.rows import read_rows
from pixtune.providers.limits import ProviderSpec, spec_for
from pixtune.verdicts import Code, Note, Outcome, Verdict, accepted, rejected

SPEC = spec_for("openai", "gpt-4o-2024-08-06")
THUMB = b"\xff\xd8 a thumbnail"


def _refused(name: str, verdict: Verdict) -> SourceFact:
    return replace(closing(0, by=source(name)), verdict=verdict)


class Ingested(Table):
    """`examples` labelled pictures; `warned`: of these numbers, with a warning."""

    def __init__(self, examples: int = 3, warned: dict[int, Code] | None = None) -> None:
        super().__init__()
        for number in range(examples):
            fact = put_image(f"{number}.jpg", number=number + 1)
            if warned and number in warned:
                fact = replace(fact, verdict=accepted(Note(warned[number], "it was measured")))
            self.each(fact, row_fact("cat" if number % 2 else "dog", images=(f"{number}.jpg",)))
            self.artifacts.objects[f"thumbs/{picture(number + 1).sha256}.jpg"] = THUMB
        self.each(closing(examples))

    def settle(self, **settings: Any) -> None:
        self.each(closing(0, by=source("dataset.toml"), settings=settings))

    def reject(self, name: str, code: Code, detail: str, fix: str) -> None:
        fact = put_image(name, bad=True)
        self.each(replace(fact, verdict=rejected(code, detail, fix)))

    def publish(self, spec: ProviderSpec | None = SPEC) -> Manifest:
        manifest, _ = publish(DATASET, self.table, self.artifacts, NOW, "p", one_by_one, lambda _: spec)
        return manifest

    def card(self) -> tuple[dict[str, Any], str]:
        manifest = self.publish()
        stored = self.artifacts.objects
        return json.loads(stored[f"{manifest.folder}/card.json"]), stored[manifest.card_key].decode()


def test_everything_rejected_stands_in_the_card_with_its_reason_and_what_to_do() -> None:
    ingest = Ingested()
    ingest.reject("odd/a<b>.jpg", Code.TRUNCATED, "It ends & stops.", "Upload it again.")
    ingest.reject("odd/notes.jpg", Code.NOT_AN_IMAGE, "It begins with text.", "Upload a picture.")
    ingest.each(_refused("bad.csv", rejected(Code.BAD_SYNTAX, "Line 3 has 2 cells.", "Mend it.")))
    card, page = ingest.card()
    assert [(one["key"], one["code"], one["detail"], one["fix"]) for one in card["rejected"]] == [
        ("pets/bad.csv", "bad_syntax", "Line 3 has 2 cells.", "Mend it."),
        ("pets/odd/a<b>.jpg", "truncated", "It ends & stops.", "Upload it again."),
        ("pets/odd/notes.jpg", "not_an_image", "It begins with text.", "Upload a picture."),
    ]
    assert card["uploads"] == {"accepted": 4, "fixed": 0, "rejected": 3}
    assert card["reasons"] == {"bad_syntax": 1, "truncated": 1, "not_an_image": 1}
    for told in ("pets/odd/a&lt;b&gt;.jpg", "It ends &amp; stops.", "truncated", "Upload it again.", "pets/bad.csv"):
        assert told in page
    assert "<b>.jpg" not in page


def test_the_page_stands_on_its_own() -> None:
    _, page = Ingested().card()
    assert page.count("data:image/jpeg;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


def test_an_upload_that_was_deleted_or_replaced_by_a_good_one_is_not_in_the_card() -> None:
    ingest = Ingested()
    ingest.reject("bad.jpg", Code.TRUNCATED, "short", "again")
    ingest.each(put_image("bad.jpg", at=2, number=77))
    card, _ = ingest.card()
    assert card["rejected"] == []
    assert card["uploads"]["accepted"] == 5


def test_the_card_counts_the_tokens_of_each_split_where_the_base_model_is_known() -> None:
    card, page = Ingested(40).card()
    tokens = card["tokens"]
    assert tokens["base_model"] == "gpt-4o-2024-08-06"
    assert all(tokens["splits"][name] > 100 * card["counts"][name] for name in SPLITS)
    assert "Tokens, seen once" in page
    other = Ingested()
    manifest = other.publish(spec=None)
    assert json.loads(other.artifacts.objects[f"{manifest.folder}/card.json"])["tokens"] is None
    assert "Tokens" not in other.artifacts.objects[manifest.card_key].decode()


def test_a_large_dataset_is_shown_by_a_sample_that_stays_the_same() -> None:
    first, _ = Ingested(60).card()
    again, _ = Ingested(60).card()
    assert first["sample"] == again["sample"]
    assert len(first["sample"]) == 24


def test_examples_that_wait_are_counted_beside_the_version() -> None:
    ingest = Ingested()
    ingest.each(row_fact("waits", images=("missing.jpg",)))
    card, page = ingest.card()
    assert card["examples"] == {"ready": 3, "waiting": 1, "held": 0, "deleted": 0}
    assert "waiting 1" in page


def test_a_card_is_written_once_with_its_version() -> None:
    ingest = Ingested()
    manifest = ingest.publish()
    before = ingest.artifacts.objects[manifest.card_key]
    ingest.reject("late.jpg", Code.TRUNCATED, "short", "again")
    assert ingest.publish() == manifest
    assert ingest.artifacts.objects[manifest.card_key] == before


def test_a_picture_without_a_thumbnail_is_named_in_words() -> None:
    ingest = Ingested()
    del ingest.artifacts.objects[f"thumbs/{picture(1).sha256}.jpg"]
    _, page = ingest.card()
    assert page.count("no picture") == 1


# ------------------------------------------------------------------------------------------ the reject setting


def test_a_warning_leaves_nothing_out_by_itself() -> None:
    card, page = Ingested(warned={1: Code.TOO_BLURRY}).card()
    assert (card["counts"]["train"], card["left_out"]) == (3, [])
    assert card["warnings"] == {"too_blurry": 1}
    assert [(one["key"], one["code"]) for one in card["warned"]] == [("pets/1.jpg", "too_blurry")]
    assert "it was measured" in page


def test_the_reject_setting_leaves_examples_with_such_a_warning_out_and_names_them() -> None:
    ingest = Ingested(4, warned={1: Code.TOO_BLURRY, 2: Code.TOO_DARK, 3: Code.JPEG_WARNING})
    ingest.settle(reject=["too_blurry", "jpeg_warning"])
    manifest = ingest.publish()
    rows = read_rows(ingest.artifacts.objects[manifest.files["train"]].decode().splitlines())
    assert {row.images[0].upload for row in rows} == {"pets/0.jpg", "pets/2.jpg"}
    assert len(manifest.examples) == 2
    (note,) = manifest.notes
    assert note["code"] == "left_out"
    assert "2 examples" in note["detail"]
    assert "too_blurry 1" in note["detail"]
    card, page = ingest.card()
    assert sorted((one["upload"], one["codes"]) for one in card["left_out"]) == [
        ("pets/1.jpg", ["too_blurry"]), ("pets/3.jpg", ["jpeg_warning"]),
    ]  # fmt: skip
    assert "Left out by policy" in page


def test_what_is_left_out_stays_in_the_log_and_comes_back_when_the_setting_goes() -> None:
    ingest = Ingested(warned={1: Code.TOO_BLURRY})
    ingest.settle(reject=["too_blurry"])
    assert len(ingest.publish().examples) == 2
    ingest.each(closing(0, by=source("dataset.toml", at=2), settings={}))
    manifest = ingest.publish()
    assert (len(manifest.examples), manifest.version, manifest.repaired) == (3, 2, 0)


def test_an_example_of_two_pictures_is_left_out_for_either() -> None:
    ingest = Ingested(2, warned={1: Code.TOO_DARK})
    ingest.each(row_fact("both", images=("0.jpg", "1.jpg")))
    ingest.settle(reject=["too_dark"])
    assert len(ingest.publish().examples) == 1


def test_a_setting_that_leaves_nothing_fails_and_says_so() -> None:
    ingest = Ingested(2, warned={0: Code.TOO_DARK, 1: Code.TOO_DARK})
    ingest.settle(reject=["too_dark"])
    with pytest.raises(DatasetEmpty, match="leaves all 2 out"):
        ingest.publish()


# ------------------------------------------------------------------------------------------ the page alone


def _card(**changes: Any) -> Card:
    ingest = Ingested()
    manifest = ingest.publish()
    rows = read_rows(ingest.artifacts.objects[manifest.files["train"]].decode().splitlines())
    return replace(card_of(manifest, rows, [], [], [], None), **changes)


def test_checks_of_compliance_are_a_table_where_there_were_some() -> None:
    assert "Compliance" not in render(_card(), {})
    page = render(_card(compliance={"licence": {"passed": 2, "refused": 1}, "privacy": {"passed": 3}}), {})
    assert "Compliance" in page
    assert page.index("licence") < page.index("privacy")


def test_what_the_rows_alone_say_of_compliance_stands_in_the_card() -> None:
    ingest = Ingested()
    ingest.each(row_fact("write to ann@example.org", images=("0.jpg",), question="Who?"))
    ingest.settle(compliance={"licence": "refuse"})
    card, page = ingest.card()
    assert card["compliance"]["licence"] == {"passed": 0, "warned": 0, "refused": 4}
    assert card["compliance"]["privacy"] == {"passed": 3, "warned": 1, "refused": 0}
    assert "Compliance" in page


def test_thousands_of_rejected_uploads_are_listed_in_part_and_counted_in_full() -> None:
    many = tuple(Refused(f"pets/{number}.jpg", "truncated", "short", "again") for number in range(3000))
    page = render(_card(rejected=many), {})
    assert "The first 1,000 of 3,000" in page
    assert page.count("<code class=wrong>") == 1000


def test_the_page_asks_for_each_thumbnail_once() -> None:
    wanted = pictures_of(_card())
    assert sorted(wanted) == sorted({picture(number).sha256 for number in (1, 2, 3)})


def test_every_repair_is_counted_as_fixed() -> None:
    ingest = Ingested()
    fixed = Verdict(Outcome.FIXED, Code.CONVERTED, "turned upright")
    fact: ImageFact = replace(put_image("turned.jpg", number=50), verdict=fixed)
    ingest.each(fact)
    card, page = ingest.card()
    assert card["uploads"]["fixed"] == 1
    assert card["reasons"] == {"converted": 1}
    assert "1 after a repair" in page


# ------------------------------------------------------------------------------------------ the judged card


def _judged(ingest: Ingested, judges: Judges | None = None) -> tuple[str, dict[str, Any], Report]:
    manifest = ingest.publish()
    rows = read_rows(ingest.artifacts.objects[manifest.files["train"]].decode().splitlines())
    ingest.artifacts.objects |= {shown.image.key: THUMB for row in rows for shown in row.images}
    report = judge(manifest, rows, ingest.artifacts, judges or Judges())
    key = store_judged_card(manifest, report, ingest.artifacts, NOW.date())
    assert key is not None
    stored = ingest.artifacts.objects
    return stored[key].decode(), json.loads(stored[key.replace(".html", ".json")]), report


def test_a_judged_version_has_its_card_again_with_all_that_was_found() -> None:
    ingest = Ingested()
    ingest.each(row_fact("write to ann@example.org", images=("0.jpg",), question="Who <b>?"))
    ingest.settle(compliance={"privacy": "refuse", "content": "warn"})
    moderator = WordModerator(("write",))
    page, card, report = _judged(ingest, Judges(moderator))
    (name,) = report.findings
    for told in ("refused", "Judged on 2026-11-20", name, "an e-mail address", "by words-1", "flagged as violence"):
        assert told in page
    assert card["compliance"]["content"] == {"passed": 3, "warned": 1, "refused": 0}
    assert card["asked"] == {"content": "words-1"}
    assert page.count("<h2>Compliance</h2>") == 1
    first = ingest.artifacts.objects[ingest.publish().card_key].decode()
    assert "flagged" not in first
    assert page.replace(page[page.index("<!-- compl") : page.index("<!-- end of")], "") == first.replace(
        first[first.index("<!-- compl") : first.index("<!-- end of")], ""
    )


def test_each_judgement_has_a_card_of_its_own_and_the_first_of_it_stands() -> None:
    ingest = Ingested()
    ingest.settle(compliance={"content": "warn"})
    for model in ("lenient", "strict", "strict"):
        _judged(ingest, Judges(WordModerator(moderation_model=model)))
    cards = [key.rpartition("/")[2] for key in ingest.artifacts.objects if key.endswith(".html")]
    assert sorted(cards) == ["card-judged-lenient.html", "card-judged-strict.html", "card.html"]


def test_a_version_without_a_card_is_judged_without_one() -> None:
    ingest = Ingested()
    manifest = ingest.publish()
    report = judge(manifest, [], ingest.artifacts, Judges())
    del ingest.artifacts.objects[manifest.card_key]
    assert store_judged_card(manifest, report, ingest.artifacts, NOW.date()) is None


def test_what_was_stripped_from_pictures_is_counted_by_kind() -> None:
    ingest = Ingested()
    plain = picture(50)
    fact = put_image("turned.jpg", number=50)
    ingest.each(replace(fact, image=replace(plain, metadata=("exif", "gps"))))
    ingest.each(row_fact("cat", images=("turned.jpg",)), row_fact("yes", "Is it?", images=("turned.jpg",)))
    card, page = ingest.card()
    assert card["metadata"] == {"exif": 1, "gps": 1}
    assert "where it was taken (GPS)" in page
    assert METADATA_NAMES.keys() == set(METADATA)


def test_whose_pictures_they_are_stands_on_the_card() -> None:
    ingest = Ingested(1)
    fields = {"license": "CC0-1.0", "source": "an <archive>"}
    ingest.each(row_fact("cow", "Which?", images=("0.jpg",), fields=fields))
    card, page = ingest.card()
    assert card["attribution"][-1] == {"author": "", "examples": 1, **fields}
    assert "an &lt;archive&gt;" in page
