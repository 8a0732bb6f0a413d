"""Which checkpoints are kept: always the best, a bounded number, and more only for what improved."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.models import FakeModels
from tests.fakes.provider_jobs import FakeProvider
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import KeptArtifacts, row, store_version

from pixtune.errors import AliasRefused, ProviderUnavailable
from pixtune.evaluation.choice import best
from pixtune.evaluation.retention import Retained, RetentionPolicy, retained
from pixtune.registry.keeping import keep_checkpoints, model_version, register_kept
from pixtune.training.run import Checkpoint, Run, RunStatus, TrainingSettings

POLICY = RetentionPolicy()
SCORES = st.none() | st.integers(0, 20).map(lambda twentieths: twentieths / 20)
RUNS = st.lists(SCORES, max_size=12).map(
    lambda scores: [Checkpoint("run_1", 10 * n, f"m{n}", score=score) for n, score in enumerate(scores)]
)


@st.composite
def policies(draw: st.DrawFn) -> RetentionPolicy:
    least = draw(st.integers(1, 5))
    return RetentionPolicy(least, draw(st.integers(least, 5)), draw(st.sampled_from([0.0, 0.01, 0.05, 0.2])))


def kept(found: object) -> set[int]:
    return {one.step for one in found if one.kept}  # type: ignore[attr-defined]  # a sequence of Retained


@given(RUNS, policies())
def test_the_best_is_always_kept_within_bounds_and_each_has_a_reason(
    points: list[Checkpoint], policy: RetentionPolicy
) -> None:
    found = retained(points, policy)
    trained = [point.step for point in points if point.step > 0]
    assert [one.step for one in found] == trained
    assert all(one.reason for one in found)
    assert min(len(trained), policy.keep_least) <= len(kept(found)) <= policy.keep_most
    chosen = best(points)
    assert chosen is None or chosen.step in kept(found)


@given(RUNS, policies(), st.integers(0, 4), st.sampled_from([0.0, 0.01]))
def test_a_more_generous_policy_keeps_all_that_a_stricter_one_keeps(
    points: list[Checkpoint], strict: RetentionPolicy, more: int, gain: float
) -> None:
    generous = replace(strict, keep_most=min(5, strict.keep_most + more), min_gain=min(gain, strict.min_gain))
    larger = replace(strict, keep_most=min(5, strict.keep_most + more))
    assert kept(retained(points, strict)) <= kept(retained(points, larger))
    if generous.keep_most == 5 and len(points) <= 6:
        assert kept(retained(points, larger)) <= kept(retained(points, generous))


@given(RUNS, policies())
def test_whoever_is_kept_is_no_worse_than_all_that_improved_as_much_and_went(
    points: list[Checkpoint], policy: RetentionPolicy
) -> None:
    found = {one.step: one for one in retained(points, policy)}
    for gone in (one for one in found.values() if not one.kept and "better ones" in one.reason):
        score = next(point.score for point in points if point.step == gone.step)
        others = [point.score for point in points if point.step > 0 and found[point.step].kept]
        assert all((other or 0.0) >= (score or 0.0) for other in others)


def test_three_are_kept_by_score_and_a_fourth_only_if_it_improved() -> None:
    scores = [0.10, 0.50, 0.505, 0.60, 0.62, 0.61]
    points = [Checkpoint("run_1", n, f"m{n}", score=score) for n, score in enumerate(scores, start=1)]
    assert list(retained(points, POLICY)) == [
        Retained(1, False, "it did not improve on the earlier ones by more than 1.0%"),
        Retained(2, True, "it improved on every earlier one by 40.0%"),
        Retained(3, False, "it did not improve on the earlier ones by more than 1.0%"),
        Retained(4, True, "number 3 by score; 3 are kept"),
        Retained(5, True, "the best"),
        Retained(6, True, "number 2 by score; 3 are kept"),
    ]


# --- what is done with them


class Shelf:
    """A run that ended with five scored checkpoints, of which two are not to be kept."""

    def __init__(self) -> None:
        self.artifacts, self.models, self.provider = KeptArtifacts(), FakeModels(), FakeProvider()
        self.manifest = store_version(self.artifacts, {"train": [row("e1")]})
        settings = TrainingSettings("local", "tiny")
        self.runs = FakeRuns()
        self.runs.records["run_1"] = Run(
            "run_1", "lanes", settings, 0.0, "api", "k", status=RunStatus.SUCCEEDED, manifest_key=self.manifest.key
        )
        for step, score in ((0, 0.2), (10, 0.5), (20, 0.4), (30, 0.7), (40, 0.6), (50, 0.45)):
            self.runs.put_checkpoint(Checkpoint("run_1", step, f"m{step}", score=score))

    def keep(self) -> None:
        run = self.runs.get("run_1")
        keep_checkpoints(run, POLICY, now=5.0, runs=self.runs, models=self.models, provider=self.provider)

    def marks(self) -> dict[int, bool | None]:
        return {point.step: point.kept for point in self.runs.checkpoints("run_1")}

    def register(self, step: int) -> int:
        return register_kept(
            "run_1", step, now=6.0, runs=self.runs, models=self.models, artifacts=self.artifacts
        ).number


def test_what_is_not_kept_is_removed_at_the_provider_and_marked_as_such() -> None:
    shelf = Shelf()
    shelf.keep()
    shelf.keep()
    assert shelf.marks() == {0: None, 10: True, 20: False, 30: True, 40: True, 50: False}
    assert set(shelf.provider.removed) == {"m20", "m50"}


def test_a_model_version_is_never_removed() -> None:
    shelf = Shelf()
    twenty = shelf.runs.checkpoints("run_1")[2]
    shelf.models.register(model_version(shelf.runs.get("run_1"), shelf.manifest, twenty, 1.0))
    shelf.keep()
    assert shelf.marks()[20] is True
    assert shelf.runs.checkpoints("run_1")[2].kept_because == "it is model version 1"
    assert shelf.provider.removed == ["m50"]


def test_what_the_provider_does_not_remove_now_is_told_and_fails_nothing() -> None:
    shelf = Shelf()
    shelf.provider.refusing = ProviderUnavailable("503")
    shelf.keep()
    names = [event.name for event in shelf.runs.events("run_1")]
    assert names == ["checkpoint-20-not-removed", "checkpoint-50-not-removed"]


def test_any_kept_checkpoint_becomes_a_model_version_once() -> None:
    shelf = Shelf()
    shelf.keep()
    assert [shelf.register(step) for step in (10, 40, 10)] == [1, 2, 1]
    model = shelf.models.model("lanes", 1)
    assert model is not None
    assert (model.run_id, model.step, model.model_id, model.score) == ("run_1", 10, "m10", 0.5)


@pytest.mark.parametrize(("step", "why"), [(20, "did not improve"), (0, "base model"), (77, "no such checkpoint")])
def test_another_checkpoint_is_refused_with_the_reason_and_what_is_kept(step: int, why: str) -> None:
    shelf = Shelf()
    shelf.keep()
    with pytest.raises(AliasRefused, match=why) as refused:
        shelf.register(step)
    assert refused.value.fix == "Kept are: run_1@10, run_1@30, run_1@40."


def test_before_its_run_has_ended_no_checkpoint_can_be_named() -> None:
    with pytest.raises(AliasRefused, match="not ended well"):
        Shelf().register(10)
