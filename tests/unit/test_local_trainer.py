"""The small model of the local provider: what it sees, how it answers, how it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtune_local.provider.answers import Answers
from pixtune_local.provider.features import BLOCKS, look
from pixtune_local.provider.model import DONT_KNOW, Model, guess, options
from pixtune_local.provider.rows import Picture, Pixels, Question, Row
from pixtune_local.provider.tokens import image_tokens, text_tokens
from pixtune_local.provider.training import Checkpoint, Settings, Step, Trainer

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (40, 60, 200)}


def pixels(colour: str, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, 30, (120, 160, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


def ask(colour: str, seed: int, prompt: str = "which colour?", count: int = 1) -> Question:
    return Question(prompt, prompt, (Picture(pixels(colour, seed), f"{colour}{seed}", 85),) * count, 100)


def rows(count: int, prompt: str = "which colour?", said: str | None = None) -> tuple[Row, ...]:
    names = [list(COLOURS)[number % 3] for number in range(count)]
    return tuple(Row(((ask(name, seed, prompt), said or name),), 101) for seed, name in enumerate(names))


def train(given: tuple[Row, ...], valid: tuple[Row, ...] = (), epochs: int = 4, seed: int = 0) -> Trainer:
    trainer = Trainer(given, valid, Settings.resolve({"n_epochs": epochs}, len(given), seed))
    trainer.prepare()
    return trainer


def last_model(trainer: Trainer, folder: Path) -> Model:
    checkpoint = [outcome for outcome in trainer.run() if isinstance(outcome, Checkpoint)][-1]
    (folder / "model.npz").write_bytes(checkpoint.model)
    return Model.load(folder / "model.npz")


def test_a_picture_is_seen_as_six_blocks() -> None:
    seen = look(pixels("red", 1))
    sizes = {"strokes": 132, "crossings": 160, "hog": 432, "thumb": 192, "colours": 144, "palette": 64}
    assert {block: values.size for block, values in seen.items()} == sizes
    assert all(np.isfinite(values).all() for values in seen.values())


def test_an_even_picture_is_seen_without_a_division_by_zero() -> None:
    seen = look(np.full((120, 160, 3), 128, np.uint8))
    assert all(np.isfinite(values).all() for values in seen.values())


def test_strokes_do_not_mind_the_light() -> None:
    scene = np.full((120, 160, 3), 60, np.uint8)
    scene[:, 70:76] = 160
    dark, light = look(scene // 2, ("strokes",)), look(scene, ("strokes",))
    assert np.abs(dark["strokes"] - light["strokes"]).max() < 0.15


def test_ten_rows_are_enough_to_learn_three_colours(tmp_path: Path) -> None:
    model = last_model(train(rows(10), epochs=10), tmp_path)
    said = [model.answer(ask(colour, 500))[0] for colour in COLOURS]
    assert said == list(COLOURS)


def test_the_first_loss_is_that_of_an_even_guess() -> None:
    first = next(iter(train(rows(30)).run()))
    assert isinstance(first, Step)
    assert first.metrics["train_loss"] == pytest.approx(np.log(3), abs=0.02)


def test_steps_and_checkpoints_come_in_order() -> None:
    outcomes = list(train(rows(24), rows(6), epochs=2).run())
    steps = [outcome for outcome in outcomes if isinstance(outcome, Step)]
    kept = [outcome for outcome in outcomes if isinstance(outcome, Checkpoint)]
    assert [step.number for step in steps] == list(range(1, 49))
    assert [checkpoint.number for checkpoint in kept] == [24, 48]
    assert {"full_valid_loss", "full_valid_mean_token_accuracy", "valid_loss", "train_loss"} <= set(kept[0].metrics)
    assert kept[1].metrics["full_valid_loss"] < kept[0].metrics["full_valid_loss"]


def test_without_a_validation_file_there_are_no_validation_metrics() -> None:
    checkpoint = [outcome for outcome in train(rows(12)).run() if isinstance(outcome, Checkpoint)][-1]
    assert set(checkpoint.metrics) == {"train_loss", "train_mean_token_accuracy"}


def test_the_same_seed_trains_the_same_model_and_another_seed_another() -> None:
    def losses(seed: int) -> list[float]:
        return [outcome.metrics["train_loss"] for outcome in train(rows(20), seed=seed).run()]

    assert losses(1) == pytest.approx(losses(1), abs=1e-3)
    assert losses(1) != pytest.approx(losses(2), abs=1e-3)


def test_a_single_class_trains_without_a_choice_of_blocks(tmp_path: Path) -> None:
    trainer = Trainer(rows(10, said="road"), (), Settings.resolve({}, 10, 0))
    (choice,) = trainer.prepare()
    assert (choice.blocks, choice.unexplained) == (BLOCKS, None)
    assert last_model(trainer, tmp_path).answer(ask("red", 1))[0] == "road"


def test_identical_pictures_train_without_a_division_by_zero() -> None:
    same = tuple(Row(((ask("red", 1), answer),), 1) for answer in ("a", "b") * 6)
    trainer = Trainer(same, (), Settings.resolve({}, len(same), 0))
    (choice,) = trainer.prepare()
    assert choice.unexplained is not None
    assert all(np.isfinite(outcome.metrics["train_loss"]) for outcome in trainer.run())


def test_what_pictures_explain_is_told_from_what_they_do_not() -> None:
    clear = Trainer(rows(40), (), Settings.resolve({}, 40, 0)).prepare()[0].unexplained
    coin = np.random.default_rng(4).integers(2, size=60)
    nonsense = tuple(Row(((ask("red", seed), "xy"[side]),), 1) for seed, side in enumerate(coin))
    unclear = Trainer(nonsense, (), Settings.resolve({}, 60, 0)).prepare()[0].unexplained
    assert clear is not None
    assert unclear is not None
    assert clear < 0.2 < 0.95 < unclear


def test_rare_prompts_share_a_head_and_frequent_ones_have_their_own(tmp_path: Path) -> None:
    mixed = rows(12) + rows(3, "rare one?", "yes") + rows(3, "rare two?", "no")
    trainer = train(mixed)
    assert len(trainer.model.heads) == 2
    model = last_model(trainer, tmp_path)
    assert model.prompts["rare one?"] == model.prompts["rare two?"] != model.prompts["which colour?"]


def test_an_unknown_prompt_gets_the_head_of_the_most_alike(tmp_path: Path) -> None:
    model = last_model(train(rows(12) + rows(9, "is it bright or dark?", "bright")), tmp_path)
    assert model.answer(ask("red", 1, "which colour is it?"))[0] == "red"
    assert model.answer(ask("red", 1, "is it dark?"))[0] == "bright"


def test_several_pictures_or_none_are_answered_too(tmp_path: Path) -> None:
    model = last_model(train(rows(12), epochs=8), tmp_path)
    assert model.answer(ask("green", 1, count=3))[0] == "green"
    assert model.answer(ask("green", 1, count=0))[0] in COLOURS


@pytest.mark.parametrize(("said", "mirrors"), [("left", False), ("lane", True)])
def test_pictures_are_not_mirrored_where_sides_matter(said: str, mirrors: bool) -> None:
    assert train(rows(8) + rows(4, said=said)).model.heads[0].may_mirror is mirrors


def test_one_word_answers_have_one_column_each() -> None:
    assert Answers.of(["1", "2", "3", "3"]).columns.tolist() == np.eye(3).tolist()


def test_answers_that_share_words_share_columns() -> None:
    texts = [f"{light}: a road with {lanes} lanes" for light in ("dusk", "noon") for lanes in (1, 2)]
    columns = Answers.of(texts).columns
    assert columns.shape == (4, 4)
    assert (columns.sum(axis=1) == 2).all()


def test_answers_of_one_word_are_read_as_cross_entropy() -> None:
    answers = Answers.of(["1", "2", "3"])
    reading = answers.read(np.array([0.7, 0.2, 0.1]), "1")
    assert len(reading.probabilities) == 1
    assert reading.loss == pytest.approx(-np.log(0.98 * 0.7 + 0.02 / 4))
    assert reading.hits == 1


def test_the_end_counts_only_where_another_answer_goes_on() -> None:
    answers = Answers.of(["a", "a b", "c"])
    assert len(answers.read(np.array([0.5, 0.3, 0.2]), "a").probabilities) == 2
    assert len(answers.read(np.array([0.5, 0.3, 0.2]), "c").probabilities) == 1


@given(st.lists(st.text("ab 1.", max_size=8), min_size=1, max_size=5), st.text("abc 1.", max_size=12))
def test_every_answer_has_a_finite_loss(seen: list[str], truth: str) -> None:
    answers = Answers.of(seen)
    chances = np.full(len(answers.texts), 1 / len(answers.texts))
    reading = answers.read(chances, truth)
    assert all(0 < chance <= 1 for chance in reading.probabilities)
    assert reading.hits <= len(reading.probabilities)


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("Answer with one number from 1 to 5.", ["1", "2", "3", "4", "5"]),
        ("Rate it 0-2", ["0", "1", "2"]),
        ("Is this A, B or C?", ["A", "B", "C"]),
        ("One of: low sun, fog, or night.", ["low sun", "fog", "night"]),
        ("Is it red or green?", ["red", "green"]),
        ("What is this?", []),
    ],
)
def test_options_are_read_from_the_prompt(prompt: str, found: list[str]) -> None:
    assert options(prompt) == found


def test_the_base_model_guesses_evenly() -> None:
    question = [ask("red", seed, "from 1 to 4") for seed in range(400)]
    said = [guess("base", one) for one in question]
    assert all(70 < said.count(answer) < 130 for answer in "1234")
    assert guess("base", ask("red", 1, "what?")) == DONT_KNOW


@pytest.mark.parametrize(
    ("width", "height", "detail", "expected"),
    [(1024, 1024, "high", 765), (2048, 4096, "auto", 1105), (4096, 8192, "low", 85), (512, 512, "high", 255)],
)
def test_images_cost_what_the_tile_rule_says(width: int, height: int, detail: str, expected: int) -> None:
    assert image_tokens(width, height, detail) == expected


def test_words_and_signs_are_counted() -> None:
    assert text_tokens("How many lanes? 3.") == 6
