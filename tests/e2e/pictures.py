"""Small distinct pictures for end-to-end tests."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageDraw


def picture(number: int, size: tuple[int, int] = (160, 120)) -> bytes:
    """A JPEG that no other number gives: coloured bars, drawn from the number."""
    rng = random.Random(number)
    image = Image.new("RGB", size, tuple(rng.randrange(40, 216) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = rng.randrange(size[0]), rng.randrange(size[1])
        box = (left, top, left + rng.randrange(8, 60), top + rng.randrange(8, 60))
        draw.rectangle(box, fill=tuple(rng.randrange(256) for _ in range(3)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


def lit(number: int, answer: str) -> bytes:
    """A JPEG whose brightness gives the answer away ("dark" or "light"): easy to learn."""
    rng = random.Random(number)
    low = 20 if answer == "dark" else 170
    image = Image.new("RGB", (160, 120), tuple(low + rng.randrange(40) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = rng.randrange(160), rng.randrange(120)
        draw.ellipse((left, top, left + 30, top + 30), fill=tuple(low + rng.randrange(60) for _ in range(3)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


def noisy(number: int) -> bytes:
    """A JPEG of about 0.2 MB, of which no conversion makes much less."""
    rng = random.Random(number)
    image = Image.frombytes("RGB", (400, 300), rng.randbytes(400 * 300 * 3))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()
