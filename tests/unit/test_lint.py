"""What each provider would refuse of a version, what is mended for it, and who else would train it."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.versions import JPEG, image, row

from pixtune.datasets.version import DatasetSettings
from pixtune.examples.annotation import Part, Turn
from pixtune.examples.rows import Row
from pixtune.providers.chat_rows import training_line
from pixtune.providers.limits import ProviderSpec, all_specs, spec_for
from pixtune.providers.lint import Lint, lint
from pixtune.providers.readiness import problems
from pixtune.training.run import TrainingSettings

TODAY = date(2026, 11, 22)
GOOD = [row(f"e{n}") for n in range(10)]
TOGETHER = spec_for("together", "Qwen/Qwen3-VL-8B-Instruct")
FIREWORKS = spec_for("fireworks", "accounts/fireworks/models/qwen3-vl-8b-instruct")
NOVA = spec_for("bedrock", "amazon.nova-lite-v1:0:300k")
NOVA_2 = spec_for("bedrock", "amazon.nova-2-lite-v1:0:256k")
SPLIT_QUESTION = (
    Turn("user", (Part(text="Look."),)),
    Turn("user", (Part(image=0),)),
    Turn("assistant", (Part(text="3"),)),
)


def linted(
    *rows: Row, spec: ProviderSpec, settings: DatasetSettings | None = None, validation: tuple[Row, ...] = ()
) -> Lint:
    training = TrainingSettings(spec.provider, spec.base_model)
    splits = {"train": [*GOOD, *rows], "validation": validation}
    return lint(splits, settings or DatasetSettings(), training, spec, TODAY, "lanes-v1")


def mended(found: Lint) -> dict[str, int]:
    return {mend.code: mend.rows for mend in found.mends}


def test_everything_a_provider_refuses_is_listed_at_once_with_row_path_found_expected_and_fix() -> None:
    wide = row("wide", images=[image("w", width=9000)])
    gif = row("gif", images=[dataclasses.replace(image("g"), format="webp")])
    found = linted(row("said", question="USER: how many?"), wide, gif, row("mute", weight=0), spec=NOVA_2)
    assert [(p.example_id, p.path, p.found) for p in found.problems] == [
        ("said", "text", "the reserved word 'USER:'"),
        ("wide", "images[0].pixels", "9000 x 320"),
        ("gif", "images[0].format", "webp"),
        ("mute", "weight", "0"),
    ]
    assert all(problem.expected and problem.fix and "line" in problem.where for problem in found.problems)


def test_lint_says_what_readiness_refuses_for_every_model_of_the_table() -> None:
    rows = [row("long", question="word " * 90_000), row("many", images=[image(str(n)) for n in range(70)])]
    rows += [row("empty", answer=" "), row("half", weight=0.5)]
    for spec in all_specs().values():
        training = TrainingSettings(spec.provider, spec.base_model)
        refused = problems({"train": [*GOOD, *rows], "validation": ()}, DatasetSettings(), training, spec, TODAY)
        assert list(linted(*rows, spec=spec).problems) == refused


def test_what_is_mended_is_counted_and_named() -> None:
    settings = DatasetSettings(prompt="How many lanes?", detail="low")
    rows = [
        row("merged", turns=SPLIT_QUESTION, fields={"license": "CC0", "site": "a1"}),
        row("bare", question=None, images=[dataclasses.replace(image("b"), source_format="heic")]),
    ]
    together = linted(*rows, spec=TOGETHER, settings=settings)
    assert together.problems == ()
    assert mended(together) == {
        "turns_merged": 1,
        "prompt_added": 1,
        "keys_dropped": 1,
        "content_listed": 12,
        "images_embedded": 12,
        "images_converted": 1,
    }
    details = {mend.code: mend for mend in together.mends}
    assert details["keys_dropped"].detail.endswith("license, site.")
    assert details["images_converted"].detail.endswith("heic to jpeg.")
    assert details["turns_merged"].example_id == "merged"
    nova = linted(*rows, spec=NOVA, settings=settings)
    assert mended(nova).items() >= {"images_moved": 12, "detail_dropped": 12}.items()
    assert "images_embedded" not in mended(nova)


def test_a_validation_split_a_provider_does_not_take_is_not_judged_but_said() -> None:
    bad = row("v1", answer=" ")
    assert [problem.example_id for problem in linted(spec=NOVA, validation=(bad,)).problems] == ["v1"]
    without = linted(spec=NOVA_2, validation=(bad,))
    assert without.problems == ()
    assert mended(without)["validation_left_out"] == 1


def test_a_name_is_shortened_where_the_provider_wants_it() -> None:
    azure = spec_for("azure", "gpt-4.1-2025-04-14")
    training = TrainingSettings("azure", azure.base_model)
    found = lint({"train": GOOD}, DatasetSettings(), training, azure, TODAY, "a-rather-long.name-v12")
    (told,) = [mend.detail for mend in found.mends if mend.code == "name_shortened"]
    assert told == "A model's name has to fit: 'a-rather-long.name-v12' becomes 'a-rather-long-name'."


def test_roles_take_turns_only_where_the_provider_wants_them_to() -> None:
    turns = (
        Turn("user", (Part(image=0), Part(text="?"))),
        Turn("system", (Part(text="Be brief."),)),
        Turn("assistant", (Part(text="3"),)),
    )
    assert [(p.path, p.expected) for p in linted(row("x", turns=turns), spec=TOGETHER).problems] == [
        ("turns[1].role", "assistant"),
        ("turns[2].role", "user"),
    ]
    assert linted(row("x", turns=turns), spec=FIREWORKS).problems == ()


def checked_by_together(tmp_path: Path, *rows: Row, system: str | None = None) -> dict[str, Any]:
    files = pytest.importorskip("together.lib.utils.files")  # 2.0.0, whose checker looks into rows
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(training_line(r, system, "How many?", "high", lambda _: JPEG) for r in rows))
    report: dict[str, Any] = files.check_file(path)
    return report


def test_rows_linted_for_together_pass_its_own_clients_checker(tmp_path: Path) -> None:
    rows = [*GOOD, row("merged", turns=SPLIT_QUESTION, fields={"license": "CC0"}), row("bare", question=None)]
    rows += [row("two", images=[image("1"), image("2")]), row("ten", images=[image(str(n)) for n in range(10)])]
    rows += [row("mute", weight=0), row("spoken", system="Count."), row("lines", answer="a\u2028b\ud800")]
    assert linted(*rows, spec=TOGETHER).problems == ()
    report = checked_by_together(tmp_path, *rows, system="You count lanes.")
    assert report["is_check_passed"], report["message"]
    assert report["num_samples"] == len(rows)


@pytest.mark.parametrize(
    "bad",
    [
        row("x", images=[image(str(n)) for n in range(11)]),
        row("x", turns=(*SPLIT_QUESTION[:2], Turn("system", (Part(text="!"),)), Turn("user", (Part(text="?"),)))),
        row("x", turns=(Turn("user", (Part(text="?"),)),)),
    ],
    ids=["eleven images", "roles", "no answer"],
)
def test_what_togethers_checker_refuses_is_a_problem_of_lint(bad: Row, tmp_path: Path) -> None:
    assert linted(bad, spec=TOGETHER).problems
    assert not checked_by_together(tmp_path, *GOOD, bad)["is_check_passed"]
