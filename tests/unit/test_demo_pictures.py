"""The demo's drawn scenes and odd files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from pixtune.verdicts import Outcome
from pixtune_local.demo.odd_files import GPS, ORIENTATION, write_odd_files
from pixtune_local.demo.scenes import LANES, LIGHTS, draw_scene, light_of, write_scenes


def test_a_seed_draws_the_same_picture_and_another_seed_another() -> None:
    first = np.asarray(draw_scene(11, 3))
    assert first.shape == (320, 448, 3)
    assert (first == np.asarray(draw_scene(11, 3))).all()
    assert (first != np.asarray(draw_scene(12, 3))).any()


def test_all_lights_occur() -> None:
    assert {light_of(seed) for seed in range(60)} == set(LIGHTS)


def test_written_scenes_are_balanced_and_told_by_name(tmp_path: Path) -> None:
    scenes = write_scenes(tmp_path, count=10, seed=3)
    assert sorted(scene.lanes for scene in scenes) == sorted(LANES * 2)
    assert {file.name for file in tmp_path.iterdir()} == {scene.name for scene in scenes}
    with Image.open(tmp_path / scenes[0].name) as image:
        assert (image.format, image.size) == ("JPEG", (448, 320))


def test_two_processes_write_what_one_would(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        write_scenes(tmp_path / folder, count=4)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()


def test_odd_files_are_as_odd_as_they_say(tmp_path: Path) -> None:
    told = {odd.name: odd for odd in write_odd_files(tmp_path)}
    assert set(told) == {file.name for file in tmp_path.iterdir()}
    assert len(told) >= 12
    assert {odd.expect for odd in told.values()} == set(Outcome)
    bomb = (tmp_path / "bomb.png").read_bytes()
    assert struct.unpack(">II", bomb[16:24]) == (30_000, 30_000)
    assert len(bomb) < 150_000
    assert (tmp_path / "empty.jpg").read_bytes() == b""
    facts = {}
    for name in ("print.jpg", "deep.png", "few-colours.png", "misnamed.jpg", "moving.gif", "moving.png"):
        with Image.open(tmp_path / name) as image:
            facts[name] = (image.format, image.mode, getattr(image, "n_frames", 1))
    assert facts == {
        "print.jpg": ("JPEG", "CMYK", 1),
        "deep.png": ("PNG", "I;16", 1),
        "few-colours.png": ("PNG", "P", 1),
        "misnamed.jpg": ("PNG", "RGB", 1),
        "moving.gif": ("GIF", "P", 3),
        "moving.png": ("PNG", "RGB", 3),
    }
    with Image.open(tmp_path / "sideways.jpg") as image:
        assert (image.size, image.getexif()[ORIENTATION]) == ((320, 448), 6)
    with Image.open(tmp_path / "located.jpg") as image:
        assert image.getexif().get_ifd(GPS)[1] == "N"


def test_the_duplicate_is_the_first_scene(tmp_path: Path) -> None:
    write_odd_files(tmp_path / "odd")
    (first, *_) = write_scenes(tmp_path, count=1)
    assert (tmp_path / "odd" / "again.jpg").read_bytes() == (tmp_path / first.name).read_bytes()
