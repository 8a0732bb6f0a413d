"""Compliance checks of your own: one registered function each, given a level by its name in a dataset's dataset.toml.

A check looks at one row and asks nobody: it is made when a version is published and again before each training.
"""

from __future__ import annotations

import re

from pixtune.compliance.own import Objections, own_check
from pixtune.examples.rows import Row

_ADDRESS = re.compile(r"\b(?:https?://|www\.)[^\s<>\"]{3,}", re.IGNORECASE)


@own_check
def web_addresses(row: Row) -> Objections:
    """Answers that hold a web address: a model that has learned some invents others."""
    for number, turn in enumerate(row.annotation.turns if row.annotation else ()):
        text = "\n".join(part.text for part in turn.parts if part.text) if turn.role == "assistant" else ""
        for found in _ADDRESS.findall(text):
            yield "web_address", f"turns[{number}] (assistant)", f"says {found[:60]}"
