"""A version is judged by its dataset's own policy: each example, once, before anything is paid for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest
from tests.fakes.answering import AnsweringProvider
from tests.fakes.judges import KnowingPredictor, WordModerator
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import JPEG, KeptArtifacts, image, row, store_version

from pixtune.annotations.dataset_toml import read as read_toml
from pixtune.compliance.attribution import attribution
from pixtune.compliance.gate import Judges, judge, refuse
from pixtune.compliance.own import Objections, OwnCheck, own_check
from pixtune.compliance.policy import CompliancePolicy, Level
from pixtune.compliance.report import Report
from pixtune.datasets.version import DatasetSettings, Manifest
from pixtune.errors import ComplianceFailed, ProviderUnavailable
from pixtune.examples.rows import Row
from pixtune.providers.limits import limits_with
from pixtune.training.readiness import check_readiness
from pixtune.training.run import Run, TrainingSettings

SECRET = "jane.doe@mail.example.org"
NOBODY = Judges()
CREDITED = {"license": "CC-BY-4.0", "source": "https://photos.example/1"}


class Version:
    """Rows as a stored version under a policy, as dataset.toml states it."""

    def __init__(self, rows: Sequence[Row], **policy: Any) -> None:
        self.rows = rows
        self.artifacts = KeptArtifacts()
        settings = DatasetSettings.from_json({"compliance": policy})
        self.manifest: Manifest = store_version(self.artifacts, {"train": rows}, settings=settings)

    def judged(self, judges: Judges = NOBODY) -> Report:
        report = judge(self.manifest, self.rows, self.artifacts, judges)
        refuse(report)
        return report

    def stored(self, name: str = "compliance") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.artifacts.objects[f"{self.manifest.folder}/{name}.json"])
        return found


# ------------------------------------------------------------------------------ the policy and what it does


def test_by_default_personal_data_warns_and_nothing_else_is_asked() -> None:
    version = Version([row("e1"), row("e2", answer=f"mail {SECRET}")])
    report = version.judged()
    assert report.summary == {"privacy": {"passed": 1, "warned": 1, "refused": 0}}
    assert version.stored()["summary"] == report.summary
    (finding,) = report.findings["e2"]
    assert (finding.code, finding.where) == ("email", "turns[1] (assistant)")
    assert report.warnings() == [f"The check 'privacy' warns of 1 examples, such as e2: {finding}."]


def test_what_is_stored_and_said_never_repeats_the_personal_data() -> None:
    version = Version([row("e1", answer=SECRET)], privacy="refuse")
    with pytest.raises(ComplianceFailed) as raised:
        version.judged()
    assert SECRET not in str(raised.value)
    assert SECRET not in json.dumps(version.stored())


def test_a_refusal_names_the_checks_up_to_twenty_findings_and_what_to_do() -> None:
    bad = [row(f"b{n:02d}", answer=SECRET, fields={"source": "x"}) for n in range(12)]
    version = Version([row("good", fields=CREDITED), *bad], privacy="refuse", licence="refuse")
    with pytest.raises(ComplianceFailed) as raised:
        version.judged()
    message = str(raised.value)
    assert "licence (12 examples), privacy (12 examples)" in message
    assert message.count("\n- ") == 20
    assert "... and 4 more." in message
    assert "- b00: license: not stated (licence, field_missing)" in message
    assert raised.value.code == "compliance_failed"
    assert "[compliance] in dataset.toml" in raised.value.fix
    assert version.stored()["summary"]["privacy"] == {"passed": 1, "warned": 0, "refused": 12}


def test_a_check_that_is_off_is_not_made() -> None:
    version = Version([row("e1", answer=SECRET)], privacy="off")
    assert version.judged().summary == {}


def test_a_version_is_judged_once_and_its_report_reads_back_as_it_was() -> None:
    version = Version([row("e1", answer=SECRET)])
    first = version.judged()
    version.rows = []
    assert version.judged() == first
    assert Report.from_json(json.loads(json.dumps(first.to_json()))) == first


def test_a_refused_version_stays_refused_when_the_run_is_resumed() -> None:
    version = Version([row("e1", answer=SECRET)], privacy="refuse")
    for _ in range(2):
        with pytest.raises(ComplianceFailed, match="privacy \\(1 examples\\)"):
            version.judged()


def test_a_policy_survives_the_way_through_json() -> None:
    policy = CompliancePolicy(licence=Level.REFUSE, allowed_licences=("CC0-1.0",), national_ids=("es",))
    assert CompliancePolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy
    assert CompliancePolicy.from_json({}) == CompliancePolicy()
    settings = DatasetSettings(compliance=policy)
    assert DatasetSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


# ------------------------------------------------------------------------------ the checks


def test_licences_are_required_and_must_be_allowed_however_they_are_spelt() -> None:
    rows = [
        row("e1", fields=CREDITED),
        row("e2", fields={"Licence": "cc0-1.0", "SOURCE": "x"}),
        row("e3", fields={"license": "All rights reserved", "source": "x"}),
        row("e4", fields={"license": "CC0-1.0", "source": " "}),
        row("e5"),
    ]
    version = Version(rows, licence="warn", allowed_licences=["CC0-1.0", "CC-BY-4.0"])
    report = version.judged()
    codes = {name: [finding.code for finding in found] for name, found in report.findings.items()}
    assert codes == {
        "e3": ["licence_not_allowed"],
        "e4": ["field_missing"],
        "e5": ["field_missing", "field_missing"],
    }
    assert report.summary["licence"] == {"passed": 2, "warned": 3, "refused": 0}


def test_credits_may_name_people_but_other_fields_may_not() -> None:
    rows = [
        row("e1", fields={"source": SECRET}),
        row("e2", fields={"note": f"ask {SECRET}"}),
        row("e3", system=SECRET),
    ]
    findings = Version(rows).judged().findings
    assert {name: found[0].where for name, found in findings.items()} == {"e2": "field note", "e3": "system"}


def test_national_ids_count_when_the_policy_names_their_country() -> None:
    rows = [row("e1", answer="536-90-4399")]
    assert Version(rows).judged().findings == {}
    assert Version(rows, national_ids=["us"]).judged().findings["e1"][0].code == "national_id"


def test_flagged_texts_and_pictures_are_found_and_each_is_asked_about_once() -> None:
    rows = [row(f"e{n}", answer="a fight" if n % 2 else "a cat", images=[image(f"p{n % 3}")]) for n in range(6)]
    version = Version(rows, content="warn")
    moderator = WordModerator(("fight",))
    report = version.judged(Judges(moderator))
    assert report.summary["content"] == {"passed": 3, "warned": 3, "refused": 0}
    assert report.findings["e1"][0].detail == "flagged as violence by words-1"
    assert report.asked == {"content": "words-1"}
    assert sorted(map(str, moderator.asked)) == sorted(
        map(str, ["How many lanes?", "a cat", "a fight", JPEG, JPEG, JPEG])
    )
    seen = version.judged(Judges(WordModerator(pictures=(JPEG,), moderation_model="other"))).summary["content"]
    assert seen == {"passed": 0, "warned": 6, "refused": 0}


def test_an_evaluation_that_was_cut_short_asks_only_what_it_has_not_been_told() -> None:
    version = Version([row(f"e{n}", answer=f"answer {n}") for n in range(5)], content="refuse")
    broken = WordModerator(fails_at=4)
    with pytest.raises(ProviderUnavailable):
        version.judged(Judges(broken))
    assert not any("compliance" in key for key in version.artifacts.objects)
    moderator = WordModerator()
    version.judged(Judges(moderator))
    assert len(moderator.asked) == 11 - 4
    assert sum(key.startswith("moderation/words-1/") for key in version.artifacts.objects) == 11


def test_another_moderators_judgement_is_another_report() -> None:
    version = Version([row("e1", answer="a fight")], content="refuse")
    version.judged(Judges(WordModerator(moderation_model="lenient")))
    with pytest.raises(ComplianceFailed, match="flagged as violence by strict"):
        version.judged(Judges(WordModerator(("fight",), moderation_model="strict")))
    assert version.stored("compliance-lenient")["summary"]["content"]["passed"] == 1


def test_pictures_the_provider_would_leave_out_are_predicted() -> None:
    crowd, road = image("crowd"), image("road")
    version = Version([row("e1", images=[crowd]), row("e2", images=[road]), row("e3", images=[crowd])], skips="warn")
    predictor = KnowingPredictor({crowd.sha256: ("people", "faces")})
    report = version.judged(Judges(predictor=predictor, leaves_out=("people", "faces", "CAPTCHAs")))
    assert report.summary["skips"] == {"passed": 1, "warned": 2, "refused": 0}
    assert report.findings["e1"][0].detail.startswith("shows people, faces:")
    assert report.notes == ("knowing does not look for CAPTCHAs.",)
    assert sorted(predictor.asked) == sorted({crowd.sha256, road.sha256})


def test_nobody_looks_at_pictures_for_a_provider_that_leaves_none_out() -> None:
    predictor = KnowingPredictor({})
    report = Version([row("e1")], skips="refuse").judged(Judges(predictor=predictor))
    assert predictor.asked == []
    assert report.summary["skips"] == {"passed": 1, "warned": 0, "refused": 0}


@pytest.mark.parametrize("check", ["content", "skips"])
def test_a_check_nobody_can_make_is_said_or_refused_but_never_passed(check: str) -> None:
    report = Version([row("e1")], **{check: "warn"}).judged()
    assert check not in report.summary
    assert f"The check '{check}' was not made." in report.notes[0]
    with pytest.raises(ComplianceFailed, match=f"demands the check '{check}'"):
        Version([row("e1")], **{check: "refuse"}).judged()


# ------------------------------------------------------------------------------ checks of one's own


def test_a_check_of_ones_own_is_a_function_that_a_policy_names() -> None:
    rows = [row("e1", answer="see https://parts.example/7"), row("e2", answer="a bolt")]
    assert Version(rows).judged().summary.keys() == {"privacy"}
    warned = Version(rows, own={"web_addresses": "warn"}).judged()
    assert warned.summary["web_addresses"] == {"passed": 1, "warned": 1, "refused": 0}
    assert warned.findings["e1"][0].where == "turns[1] (assistant)"
    with pytest.raises(ComplianceFailed, match=r"web_addresses \(1 examples\)"):
        Version(rows, own={"web_addresses": "refuse"}).judged()


def test_a_check_is_registered_by_its_functions_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixtune.compliance.own.OWN_CHECKS", {})

    def short_answers(row: Row) -> Objections:
        if row.annotation and len(row.annotation.turns[-1].parts[0].text or "") < 2:
            yield "short", row.images[0].upload, "says next to nothing"

    def privacy(row: Row) -> Objections:
        return ()

    assert own_check(short_answers) is short_answers
    assert [finding.code for finding in OwnCheck("short_answers").look(row("e1", answer="3"))] == ["short"]
    for taken in (short_answers, privacy):
        with pytest.raises(ValueError, match="cannot be named"):
            own_check(taken)


def test_dataset_toml_names_only_checks_that_are_registered() -> None:
    good = read_toml("ds/dataset.toml", '[compliance.own]\nweb_addresses = "refuse"\n')
    assert good.settings == {"compliance": {"own": {"web_addresses": "refuse"}}}
    assert DatasetSettings.from_json(good.settings).compliance.level("web_addresses") is Level.REFUSE
    bad = read_toml("ds/dataset.toml", '[compliance.own]\nweb_adresses = "refuse"\n')
    assert bad.refusal is not None
    assert "no such checks: web_adresses; registered are web_addresses" in bad.refusal.detail


def test_a_policy_without_checks_of_ones_own_is_written_as_it_always_was() -> None:
    assert "own" not in CompliancePolicy().to_json()
    policy = CompliancePolicy(own={"web_addresses": Level.WARN})
    assert CompliancePolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


# ------------------------------------------------------------------------------ attribution, and the gate's place


def test_each_licence_source_and_author_is_credited_with_its_examples() -> None:
    rows = [row("e1", fields=CREDITED), row("e2", fields=CREDITED | {"Author": "Ada"}), row("e3", fields=CREDITED)]
    assert attribution(rows) == [
        CREDITED | {"author": "", "examples": 2},
        CREDITED | {"author": "Ada", "examples": 1},
    ]
    assert attribution([row("e1")]) == []


def readiness(version: Version, **more: Any) -> FakeRuns:
    runs = FakeRuns()
    settings = TrainingSettings("openai", "gpt-4o-2024-08-06")
    runs.records["run_1"] = Run("run_1", "lanes", settings, 0.0, "api", "k", manifest_key=version.manifest.key)
    today, limits = date(2026, 11, 22), limits_with()
    check_readiness("run_1", runs, version.artifacts, AnsweringProvider(), limits, today, **more)
    return runs


def test_a_refused_version_is_not_ready_and_a_warned_one_says_so_beside_its_price() -> None:
    rows = [row(f"e{n}", answer=SECRET if n == 3 else "3") for n in range(10)]
    with pytest.raises(ComplianceFailed, match="e3: turns"):
        readiness(Version(rows, privacy="refuse"))
    warned = Version(rows)
    cost = readiness(warned).get("run_1").estimate
    assert cost is not None
    assert cost["compliance"] == {
        "report": f"{warned.manifest.folder}/compliance.json",
        "summary": {"privacy": {"passed": 9, "warned": 1, "refused": 0}},
        "card": None,
    }
    assert any("'privacy' warns of 1 examples, such as e3" in note for note in cost["notes"])


def test_readiness_asks_the_predictor_about_what_the_provider_leaves_out() -> None:
    shown = image("crowd")
    rows = [*(row(f"e{n}") for n in range(9)), row("e9", images=[shown])]
    predictor = KnowingPredictor({shown.sha256: ("children",)})
    with pytest.raises(ComplianceFailed, match=r"e9: lanes/e9.jpg: shows children"):
        readiness(Version(rows, skips="refuse"), predictor=predictor)
