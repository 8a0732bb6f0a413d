"""The benchmark's own parts do what they say, so that its figures are about what they claim; no time is asserted."""

from __future__ import annotations

import json
import re
from pathlib import Path

from PIL import Image
from tests.benchmarks import engines, pictures, throughput

from pixtune.images.convert import convert

OTHERS = Path(engines.__file__).parent / "others"


def test_every_photograph_dropped_becomes_a_row() -> None:
    spent = throughput.drop_to_row(2, 1)
    assert list(spent) == ["convert", "read", "append"]
    assert min(spent.values()) > 0


def test_every_engine_is_asked_for_the_size_that_ours_gives(tmp_path: Path) -> None:
    for detail in ("high", "low"):
        job = pictures.Job(pictures.file_of(tmp_path, "flower", "JPEG", (1152, 864)), "case", detail)
        image = convert(job.file.read_bytes(), engines.recipe_of(job)).image
        assert image
        assert (image.width, image.height) == job.target


def test_what_is_called_kept_is_kept(tmp_path: Path) -> None:
    for case, (job,) in pictures.kept(tmp_path, 400, 300):
        converted = convert(job.file.read_bytes(), engines.recipe_of(job))
        assert converted.image
        with Image.open(job.file) as picture:
            assert converted.image.format.upper() == picture.format, case


def test_the_others_are_pinned_by_hash_and_name_no_registry() -> None:
    requirements = (OTHERS / "requirements.txt").read_text()
    for stated in re.findall(r"^\S+==\S+.*?(?=^\S|\Z)", requirements, re.MULTILINE | re.DOTALL):
        assert "--hash=sha256:" in stated
    lock = json.loads((OTHERS / "package-lock.json").read_text())["packages"]
    assert all("integrity" in package for name, package in lock.items() if name)
    assert not any("resolved" in package for package in lock.values())
    assert "://" not in requirements
