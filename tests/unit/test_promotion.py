"""Which model becomes the champion, on which rows, and what a repeat or a rival mover does to that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from tests.fakes.answering import AnsweringProvider, knows
from tests.fakes.models import FakeModels
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import KeptArtifacts, image, row, store_version

from pixtune.errors import AliasConflict, FenceLost, ProviderRefused, ProviderUnavailable, RunDeadlinePassed, RunFault
from pixtune.evaluation.activation import activate_model
from pixtune.evaluation.judge import evaluate_checkpoint, kept_evaluation
from pixtune.evaluation.report import write_report
from pixtune.examples.rows import Row
from pixtune.providers.limits import limits_with
from pixtune.providers.port import Activation
from pixtune.registry.aliases import promote
from pixtune.registry.models import CHALLENGER, CHAMPION
from pixtune.registry.promotion import Registrar
from pixtune.training.run import Checkpoint, Run, RunStatus, TrainingSettings

BASE = "local-vision-1"
NOW = 1_795_000_000.0
TEST = [row(f"t{n}") for n in range(6)]
TRAIN = [row(f"e{n}") for n in range(10)]


@dataclass
class Stage:
    """Runs, models and a provider in memory."""

    runs: FakeRuns = field(default_factory=FakeRuns)
    models: FakeModels = field(default_factory=FakeModels)
    artifacts: KeptArtifacts = field(default_factory=KeptArtifacts)
    provider: AnsweringProvider = field(default_factory=lambda: AnsweringProvider({BASE: knows("t0")}))

    def run(
        self, run_id: str, *right: str, train: Sequence[Row] = TRAIN, test: Sequence[Row] = TEST, version: int = 1
    ) -> None:
        """A run whose model `m_{run_id}` is right on these examples, evaluated with its base model."""
        manifest = store_version(self.artifacts, {"train": train, "test": test}, version=version)
        settings = TrainingSettings("local", BASE)
        self.runs.records[run_id] = Run(run_id, "lanes", settings, NOW, "api", run_id, manifest_key=manifest.key)
        self.provider.models[f"m_{run_id}"] = knows(*right)
        self.runs.put_checkpoint(Checkpoint(run_id, 0, BASE))
        self.runs.put_checkpoint(Checkpoint(run_id, 9, f"m_{run_id}"))
        for step in (0, 9):
            evaluate_checkpoint(run_id, 1, step, self.runs, self.artifacts, self.provider)

    def registrar(self) -> Registrar:
        return Registrar(self.runs, self.models, self.artifacts, lambda *_: self.provider, NOW)

    def promote(self, run_id: str) -> str:
        return self.registrar().promote_model(run_id, 1, 9).alias

    def holder(self, alias: str) -> str | None:
        at = self.models.alias("lanes", alias)
        model = self.models.model("lanes", at.model_version) if at else None
        return model.run_id if model else None


def test_the_first_model_must_beat_the_base_model() -> None:
    stage = Stage()
    stage.run("run_1", "t1")
    assert stage.promote("run_1") == CHALLENGER  # one right, as the base model
    stage.run("run_2", "t1", "t2")
    assert stage.promote("run_2") == CHAMPION
    assert (stage.holder(CHAMPION), stage.holder(CHALLENGER)) == ("run_2", "run_1")
    promotion = stage.runs.get("run_2").promotion
    assert promotion is not None
    assert (promotion["promoted"], promotion["rival"], promotion["comparison"]["only_ours"]) == (
        True,
        "base model",
        2,
    )
    assert "33.3% exact answers against the base model's 16.7% on 6 test examples" in promotion["reason"]


def test_a_champion_falls_only_to_a_better_one_and_an_equal_one_waits() -> None:
    stage = Stage()
    for run_id, right in (("run_1", ("t0", "t1")), ("run_2", ("t2", "t3")), ("run_3", ("t0", "t1", "t2"))):
        stage.run(run_id, *right)
    assert [stage.promote(run_id) for run_id in ("run_1", "run_2", "run_3")] == [CHAMPION, CHALLENGER, CHAMPION]
    assert stage.provider.released == ["m_run_2", "m_run_1"]  # the refused model, then the former champion
    assert [move.model_version for move in stage.models.history("lanes", CHAMPION)] == [1, 3]
    stage.models.moves.append(replace(stage.models.moves[0], alias_version=3, model_version=1, run_id=None))
    stage.promote("run_3")  # a repeat, after somebody has brought the former champion back
    assert "m_run_1" not in stage.provider.released[2:]


def test_rows_the_champion_has_learned_from_do_not_count_for_it() -> None:
    stage = Stage()
    # The champion was trained on t1, on the picture of t2 under another name, and validated on nothing.
    twin = row("other", images=[image("t2")])
    stage.run("run_1", "t1", "t2", "t3", train=[*TRAIN, TEST[1], twin], test=[TEST[0], TEST[3]])
    assert stage.promote("run_1") == CHALLENGER  # level with the base model on t0 and t3
    promote(stage.models, "lanes", CHAMPION, 1, expected=0, by="me", reason="by hand", at=NOW)
    stage.run("run_2", "t0", "t3", version=2)
    outcome = stage.registrar().promote_model("run_2", 1, 9)
    assert outcome.comparison is not None
    assert outcome.comparison.asked == 4  # t0, t3, t4, t5
    assert outcome.alias == CHAMPION
    assert {name for model, name in stage.provider.asked if model == "m_run_1"}.isdisjoint({"t1", "t2"})


def test_where_nothing_can_be_compared_the_model_waits_and_says_why() -> None:
    stage = Stage()
    stage.run("run_1", test=[])
    outcome = stage.registrar().promote_model("run_1", 1, 9)
    assert (outcome.alias, outcome.comparison) == (CHALLENGER, None)
    assert "no test example" in outcome.reason
    assert stage.runs.checkpoints("run_1")[1].score is None


def test_a_champion_that_cannot_be_asked_is_not_replaced_unseen() -> None:
    stage = Stage()
    stage.run("run_1", "t0", "t1")
    stage.promote("run_1")
    del stage.provider.models["m_run_1"]
    stage.run("run_2", "t0", "t1", "t2")
    outcome = stage.registrar().promote_model("run_2", 1, 9)
    assert outcome.alias == CHALLENGER
    assert "m_run_1 is gone" in outcome.reason


def test_a_repeat_after_a_crash_anywhere_comes_to_the_same_end() -> None:
    class Crash(Exception):
        pass

    def crashing_after(count: int) -> Stage:
        """A stage whose first promotion dies at the count-th write."""
        stage = Stage()
        stage.run("run_1", "t0", "t1")
        left = [count]

        def guarded(write: object) -> object:
            def call(*arguments: object, **named: object) -> object:
                if not left[0]:
                    raise Crash
                left[0] -= 1
                return write(*arguments, **named)  # type: ignore[operator]  # the method it stands for

            return call

        for owner, name in ((stage.runs, "update"), (stage.models, "register"), (stage.models, "move")):
            setattr(owner, name, guarded(getattr(owner, name)))
        with suppress(Crash):
            stage.promote("run_1")
        left[0] = 100
        assert stage.promote("run_1") == CHAMPION
        return stage

    for count in range(6):
        stage = crashing_after(count)
        assert stage.holder(CHAMPION) == "run_1"
        assert len(stage.models.moves) == 1
        assert len(stage.models.registered) == 1
        promotion = stage.runs.get("run_1").promotion
        assert promotion is not None
        assert promotion["rival"] == "base model"


@pytest.mark.parametrize("moment", ["after the decision", "in the middle of the move"])
def test_an_alias_that_moves_meanwhile_is_decided_about_anew(moment: str) -> None:
    stage = Stage()
    stage.run("run_1", "t0", "t1", "t2", "t3")
    stage.run("run_2", "t0", "t1")
    owner, name = (stage.runs, "update") if moment == "after the decision" else (stage.models, "move")
    original = getattr(owner, name)

    def overtaken(*arguments: object, **named: object) -> None:
        deciding = name == "move" or (isinstance(arguments[1], dict) and "promotion" in arguments[1])
        if deciding:
            setattr(owner, name, original)  # only once
            stage.registrar().promote_model("run_1", 1, 9)
        original(*arguments, **named)

    setattr(owner, name, overtaken)
    outcome = stage.registrar().promote_model("run_2", 1, 9)
    assert (outcome.alias, outcome.rival, outcome.seen) == (CHALLENGER, "champion", 1)
    assert (stage.holder(CHAMPION), stage.holder(CHALLENGER)) == ("run_1", "run_2")


def test_an_older_attempt_does_not_promote() -> None:
    stage = Stage()
    stage.run("run_1", "t0", "t1")
    stage.runs.update("run_1", {"attempt": 2})
    with pytest.raises(FenceLost):
        stage.promote("run_1")


def test_a_run_ends_as_succeeded_whichever_alias_it_got_and_keeps_its_report() -> None:
    stage = Stage()
    stage.run("run_1", "t1")
    stage.promote("run_1")
    key = write_report("run_1", 1, stage.runs, stage.models, stage.artifacts, limits_with())
    stage.registrar().end_run("run_1", key)
    run = stage.runs.get("run_1")
    assert (run.status, run.ended_at, run.report_key, run.model_version) == (RunStatus.SUCCEEDED, NOW, key, 1)
    page = stage.artifacts.objects[key]
    assert write_report("run_1", 1, stage.runs, stage.models, stage.artifacts, limits_with()) == key
    assert stage.artifacts.objects[key] == page


def test_a_report_escapes_what_people_and_models_wrote() -> None:
    stage = Stage()
    evil = "<script>alert(1)</script>"
    rows = [
        row("t0", answer=evil, question=f"{evil} ${{body}}", fields={"site": evil}),
        row("t1", fields={"site": "x"}),
    ]
    stage.provider.models[BASE] = lambda _: f"{evil} base \ud800"
    stage.run("run_1", test=rows)
    stage.promote("run_1")
    page = stage.artifacts.objects[
        write_report("run_1", 1, stage.runs, stage.models, stage.artifacts, limits_with())
    ].decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;/script&gt; base ?" in page
    assert "http" not in page.split("<main>")[1].replace("base_url", "")


def test_answers_are_kept_in_parts_so_that_a_broken_off_evaluation_goes_on() -> None:
    stage = Stage()
    rows = [row(f"t{n}") for n in range(120)]
    manifest = store_version(stage.artifacts, {"train": TRAIN, "test": rows})
    stage.runs.records["run_1"] = Run(
        "run_1", "lanes", TrainingSettings("local", BASE), NOW, "api", "k", manifest_key=manifest.key
    )
    stage.runs.put_checkpoint(Checkpoint("run_1", 9, "m"))

    def failing(one: Row) -> str:
        if one.example_id == "t110":
            raise ProviderUnavailable("come again")
        return "3"

    stage.provider.models["m"] = failing
    with pytest.raises(ProviderUnavailable):
        evaluate_checkpoint("run_1", 1, 9, stage.runs, stage.artifacts, stage.provider)
    before = len(stage.provider.asked)
    stage.provider.models["m"] = lambda _: "3"
    assert evaluate_checkpoint("run_1", 1, 9, stage.runs, stage.artifacts, stage.provider) == 1.0
    assert len(stage.provider.asked) - before == 20
    kept = kept_evaluation(stage.artifacts, "evaluations/run_1/1-9.json")
    assert kept is not None
    assert [answer.example_id for answer in kept.answers] == [one.example_id for one in rows]


def test_a_row_the_provider_refuses_is_wrong_but_a_refused_model_is_a_fault() -> None:
    stage = Stage()

    def choosy(one: Row) -> str:
        if one.example_id == "t1":
            raise ProviderRefused("This picture is refused.")
        return "3"

    stage.run("run_1")
    stage.provider.models["m_run_1"] = choosy
    stage.artifacts.objects = {key: body for key, body in stage.artifacts.objects.items() if "evaluations" not in key}
    assert evaluate_checkpoint("run_1", 1, 9, stage.runs, stage.artifacts, stage.provider) == pytest.approx(5 / 6)
    stage.runs.put_checkpoint(Checkpoint("run_1", 12, "unknown-model"))
    with pytest.raises(ProviderRefused, match="unknown-model is gone"):
        evaluate_checkpoint("run_1", 1, 12, stage.runs, stage.artifacts, stage.provider)


def test_a_model_that_does_not_answer_yet_is_waited_for_until_the_runs_deadline() -> None:
    stage = Stage()
    stage.run("run_1")
    stage.provider.active["m_run_1"] = Activation(False, 15)
    wanted = {"now": NOW, "runs": stage.runs, "provider": stage.provider}
    assert activate_model("run_1", 1, 9, **wanted) == Activation(False, 15)  # type: ignore[arg-type]  # named values
    stage.runs.update("run_1", {"deadline_at": NOW - 1})
    with pytest.raises(RunDeadlinePassed):
        activate_model("run_1", 1, 9, **wanted)  # type: ignore[arg-type]  # named values
    with pytest.raises(RunFault, match="step 77"):
        activate_model("run_1", 1, 77, **wanted)  # type: ignore[arg-type]  # named values


def test_a_promotion_by_hand_between_reading_and_writing_is_a_conflict_for_the_late_one() -> None:
    stage = Stage()
    stage.run("run_1", "t0", "t1")
    stage.promote("run_1")
    with pytest.raises(AliasConflict):
        promote(stage.models, "lanes", CHAMPION, 1, expected=0, by="me", reason="", at=NOW)


def test_a_report_without_a_test_split_metrics_or_pictures_says_what_is_missing() -> None:
    stage = Stage()
    stage.run("run_1", test=[])
    stage.promote("run_1")
    page = stage.artifacts.objects[
        write_report("run_1", 1, stage.runs, stage.models, stage.artifacts, limits_with())
    ].decode()
    assert "not scored: the dataset version has no test split" in page
    assert "The provider gave no loss." in page
    stage.run("run_2", "t0", "t1", version=2)
    stage.promote("run_2")
    page = stage.artifacts.objects[
        write_report("run_2", 1, stage.runs, stage.models, stage.artifacts, limits_with())
    ].decode()
    assert page.count("no picture") == 4
    assert "2 of 6 exact" in page
