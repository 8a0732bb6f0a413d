"""When an answer is right, how far off it is, and in which slices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.versions import image, row

from pixtune.evaluation.choice import best
from pixtune.evaluation.sample import MOST_ROWS, sampled
from pixtune.evaluation.scoring import (
    Answer,
    Evaluation,
    compare,
    interval,
    is_exact,
    normalised,
    slices_of,
    token_f1,
)
from pixtune.training.run import Checkpoint


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("3", "3."),
        ("Ace of Spades", "ace  of\nspades"),
        ("yes", " YES! "),
        ("café", "cafe\u0301"),
        ("３", "3"),
        ("a", 'a."'),
    ],
)
def test_case_spacing_and_final_punctuation_do_not_make_an_answer_wrong(expected: str, actual: str) -> None:
    assert is_exact(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"), [("3", "4"), ("3", ""), ("1.5", "15"), ("-3", "3"), ("a b", "ab"), ("3", "3 lanes")]
)
def test_everything_else_does(expected: str, actual: str) -> None:
    assert not is_exact(expected, actual)


@given(st.text())
def test_normalising_twice_changes_nothing_and_a_text_equals_itself(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert is_exact(text, text)
    assert token_f1(text, text) == 1.0


@given(st.text(), st.text())
def test_token_f1_is_a_symmetric_share_and_one_for_exact_answers(one: str, other: str) -> None:
    f1 = token_f1(one, other)
    assert 0 <= f1 <= 1
    assert f1 == token_f1(other, one)
    if is_exact(one, other):
        assert f1 == 1.0


def test_token_f1_counts_shared_words_as_often_as_they_stand() -> None:
    assert token_f1("nine, ten, queen, king", "nine, ten, jack, king") == pytest.approx(12 / 14)
    assert token_f1("a a b", "a") == 0.5
    assert token_f1("3", "") == 0.0


def test_rows_are_sliced_by_fields_with_few_values_and_by_thirds_of_brightness() -> None:
    rows = [
        row(
            f"e{n}",
            images=[image(str(n), brightness=n / 12)],
            fields={
                "light": "dusk" if n % 2 else "noon",
                "frame": n * 1000 + 7,
                "site": "A1",
                **({"rain": True} if n < 3 else {}),
            },
        )
        for n in range(13)
    ]
    slices = slices_of(rows)
    assert set(slices[0]) == {"light", "rain", "brightness"}
    assert [found["brightness"] for found in slices] == ["dark"] * 4 + ["medium"] * 4 + ["bright"] * 5
    assert slices[3]["rain"] == "none"


def test_pictures_of_one_brightness_are_not_parted_in_three() -> None:
    assert slices_of([row(f"e{n}") for n in range(9)]) == [{}] * 9
    assert slices_of([row("e1")]) == [{}]
    assert slices_of([]) == []


def answers(right: str, wrong: str = "") -> list[Answer]:
    return [Answer(name, "?", "3", "3" if name in right else "4") for name in right + wrong]


def test_two_models_are_compared_on_the_rows_both_were_asked() -> None:
    found = compare(answers("abc", "d"), answers("cd", "ae"))
    assert (found.asked, found.measure) == (3, "exact")
    assert found.ours == found.theirs == pytest.approx(2 / 3)
    assert (found.only_ours, found.only_theirs, found.better) == (1, 1, False)
    assert compare(answers("abc"), answers("ab", "c")).better


def test_free_text_that_nobody_gets_exactly_is_compared_by_token_f1() -> None:
    def said(text: str) -> list[Answer]:
        return [Answer("e", "?", "a road with three lanes", text)]

    found = compare(said("a road with lanes"), said("a dog"))
    assert (found.measure, found.better) == ("f1", True)


def test_an_evaluation_survives_its_own_json_and_a_refusal_counts_as_wrong() -> None:
    some = (Answer("a", "q", "3", "3", ("x",), {"light": "noon"}, 10, 1), Answer("b", "q", "", "", error="refused"))
    evaluation = Evaluation("ft:x", 40, some)
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    assert (evaluation.score, evaluation.f1) == (0.5, 0.5)


@given(st.integers(1, 500).flatmap(lambda asked: st.tuples(st.integers(0, asked), st.just(asked))))
def test_an_interval_holds_its_share(counts: tuple[int, int]) -> None:
    right, asked = counts
    low, high = interval(right, asked)
    assert 0 <= low <= right / asked + 1e-9
    assert right / asked - 1e-9 <= high <= 1


def test_the_interval_is_wilsons() -> None:
    low, high = interval(13, 18)
    assert low == pytest.approx(0.4913, abs=1e-3)
    assert high == pytest.approx(0.8750, abs=1e-3)


def test_a_large_test_split_is_sampled_the_same_way_for_every_model() -> None:
    rows = [row(f"e{n}") for n in range(MOST_ROWS + 100)]
    chosen = {one.example_id for one in sampled(rows)}
    assert len(chosen) == MOST_ROWS
    assert chosen == {one.example_id for one in sampled(rows[::-1])}
    assert sampled(rows[:10]) == rows[:10]


def point(step: int, score: float | None, loss: float | None = None) -> Checkpoint:
    return Checkpoint("run_1", step, f"m{step}", {} if loss is None else {"full_valid_loss": loss}, score)


@pytest.mark.parametrize(
    ("points", "step"),
    [
        ([point(0, 0.9), point(1, 0.5), point(2, 0.7), point(3, 0.6)], 2),
        ([point(1, 0.5, 0.4), point(2, 0.5, 0.3), point(3, 0.5, 0.6)], 2),
        ([point(1, 0.5, 0.3), point(2, 0.5, 0.3)], 2),
        ([point(0, None), point(1, None, 0.4), point(2, None, 0.3), point(3, None)], 2),
        ([point(1, None), point(2, None)], 2),
        ([point(1, 0.0, 9.0), point(2, None, 0.1)], 1),
    ],
    ids=[
        "best score",
        "then lowest loss",
        "then latest",
        "loss without scores",
        "latest without either",
        "scored first",
    ],
)
def test_the_best_checkpoint_is_chosen_by_score_then_loss_then_step(points: list[Checkpoint], step: int) -> None:
    chosen = best(points)
    assert chosen is not None
    assert chosen.step == step
    assert best([point(0, 1.0)]) is None
