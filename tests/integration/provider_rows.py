"""Rows in OpenAI's chat format for the tests of the local provider: pictures and answers in, JSONL bytes out."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai
from openai.types.fine_tuning import FineTuningJob
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (40, 60, 200)}
QUESTION = "Which colour is this: red, green or blue?"
MODEL = "local-vision-1"
ENDED = {"succeeded", "failed", "cancelled"}


def picture(colour: str, seed: int) -> Image.Image:
    """A noisy 64 x 48 picture of one colour."""
    noise = np.random.default_rng(seed).normal(0, 25, (48, 64, 3))
    return Image.fromarray(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8))


def data_url(image: Image.Image, kind: str = "PNG") -> str:
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def question(url: str, text: str = QUESTION, detail: str = "low") -> list[Any]:
    image = {"type": "image_url", "image_url": {"url": url, "detail": detail}}
    return [{"role": "user", "content": [{"type": "text", "text": text}, image]}]


def row(url: str, answer: str, text: str = QUESTION) -> dict[str, Any]:
    return {"messages": [*question(url, text), {"role": "assistant", "content": answer}]}


def colour_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    names = [list(COLOURS)[number % len(COLOURS)] for number in range(count)]
    return [row(data_url(picture(name, 1000 * seed + number)), name) for number, name in enumerate(names)]


def scene_question(file: Path) -> list[Any]:
    url = "data:image/jpeg;base64," + base64.b64encode(file.read_bytes()).decode()
    return question(url, "How many lanes does this road have? Answer with one number from 1 to 5.")


def jsonl(rows: Sequence[Any]) -> bytes:
    return "\n".join(json.dumps(one) for one in rows).encode()


def upload(client: openai.OpenAI, rows: Sequence[Any] | bytes, name: str = "rows.jsonl") -> str:
    """The id of the uploaded file."""
    content = rows if isinstance(rows, bytes) else jsonl(rows)
    return client.files.create(file=(name, content), purpose="fine-tune").id


def ended(client: openai.OpenAI, job_id: str, seconds: float = 60) -> FineTuningJob:
    """The job once it has ended; fails the test when it has not by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in ENDED:
            return job
        time.sleep(0.03)
    raise AssertionError(f"{job_id} has not ended after {seconds} s: it is {job.status}")


def events(client: openai.OpenAI, job_id: str) -> list[Any]:
    """All events of a job, oldest first."""
    return list(client.fine_tuning.jobs.list_events(job_id, limit=100))[::-1]


def steps(client: openai.OpenAI, job_id: str) -> list[dict[str, Any]]:
    """The data of the metrics event of each step, in order."""
    return [event.data for event in events(client, job_id) if event.message.startswith("Step ")]
