"""OpenAI's moderation route, by a word list: text goes in, the categories whose words it holds come out.

A stand-in that says so: the model names itself a word list, text is flagged when it holds a listed word and for no
other reason, and of images only the format is checked; what they show is not looked at. Limits are those of OpenAI:
one image a request, 20 MB.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from pixtune_local.provider.refusals import Refused
from pixtune_local.provider.rows import Unusable, read_picture
from pixtune_local.provider.store import Document

MODEL = "pixtune-local-word-list"
NOTE = (
    "pixtune's local stand-in: text is flagged when it holds a listed word, and for no other reason; "
    "what images show is not looked at."
)
MAX_URL_CHARACTERS = 20_000_000 * 4 // 3 + 100  # 20 MB in base64

# Folded words and phrases, whole; a category without any is never flagged here.
_WORDS: dict[str, tuple[str, ...]] = {
    "harassment": ("go kill yourself", "you are worthless", "you worthless"),
    "harassment/threatening": ("i will kill you", "i will hurt you"),
    "hate": ("subhuman", "racial purity"),
    "hate/threatening": ("ethnic cleansing",),
    "illicit": ("cook meth", "stolen credit cards", "counterfeit money"),
    "illicit/violent": ("build a bomb", "pipe bomb"),
    "self-harm": ("suicide", "self-harm", "cut myself"),
    "self-harm/intent": ("i want to die", "i will kill myself"),
    "self-harm/instructions": ("how to kill yourself", "go kill yourself"),
    "sexual": ("porn", "pornography", "explicit sex"),
    "sexual/minors": ("child pornography",),
    "violence": ("behead", "beheading", "massacre", "i will kill you", "torture"),
    "violence/graphic": ("dismembered", "severed head", "disembowelled"),
}
_PATTERNS = {
    category: re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words))
    for category, words in _WORDS.items()
}


def answer(body: dict[str, Any]) -> Document:
    """One result for a text or a list of parts, one for each text of a list of texts. Raises Refused."""
    given = body.get("input")
    if isinstance(given, str):
        results = [_result([given])]
    elif isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        results = [_result([one]) for one in given]
    elif isinstance(given, list) and given:
        results = [_parts_result(given)]
    else:
        raise Refused("input is missing: expected a text, texts, or parts of type text and image_url.", param="input")
    return {"id": f"modr-{secrets.token_hex(12)}", "model": MODEL, "results": results, "note": NOTE}


def _parts_result(parts: list[Any]) -> Document:  # Any: JSON that somebody sent
    texts: list[str] = []
    pictures = 0
    for number, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            pictures += 1
            _check_picture(part, f"input[{number}]")
        else:
            raise Refused(f"input[{number}] is neither text nor image_url.", param="input")
    if pictures > 1:
        raise Refused(f"Number of images ({pictures}) exceeds maximum of 1.", param="input", code="too_many_images")
    return _result(texts)


def _check_picture(part: dict[str, Any], where: str) -> None:
    image_url = part.get("image_url")
    url = image_url.get("url") if isinstance(image_url, dict) else None
    if isinstance(url, str) and len(url) > MAX_URL_CHARACTERS:
        raise Refused(f"{where}: image too large, at most 20 MB.", param="input", code="image_too_large")
    try:
        read_picture(part, training=False)
    except Unusable as error:
        raise Refused(f"{where}: {error}", param="input", code="invalid_image") from error


def _result(texts: list[str]) -> Document:
    """Scores are 0 or 1: a word is there or it is not. Applied input types never name images."""
    folded = [" ".join(text.split()).casefold().replace("’", "'") for text in texts]
    hit = {category: any(pattern.search(text) for text in folded) for category, pattern in _PATTERNS.items()}
    return {
        "flagged": any(hit.values()),
        "categories": hit,
        "category_scores": {category: float(found) for category, found in hit.items()},
        "category_applied_input_types": {category: ["text"] if texts else [] for category in hit},
    }
