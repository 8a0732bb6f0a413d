"""The moderation route through the unmodified openai client, and the adapter that asks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from tests.fakes.versions import KeptArtifacts, image, row, store_version
from tests.integration.provider_rows import data_url, picture

from pixtune.compliance.gate import Judges, judge, refuse
from pixtune.compliance.ports import Moderator
from pixtune.datasets.version import DatasetSettings
from pixtune.errors import ComplianceFailed, ProviderRefused, ProviderUnavailable
from pixtune.providers.limits import spec_for
from pixtune.providers.openai_shaped import OpenAIShapedProvider
from pixtune_local.provider.testing import Provider, running_provider

RED = data_url(picture("red", 1))


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def client(provider: Provider) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.base_url, api_key=provider.api_key, max_retries=0)


@pytest.fixture
def adapter(provider: Provider) -> OpenAIShapedProvider:
    return OpenAIShapedProvider(spec_for("local", "local-vision-1"), provider.base_url, provider.api_key)


def shown(url: str) -> Any:  # Any: the client's own union of parts
    return {"type": "image_url", "image_url": {"url": url}}


def test_text_is_flagged_by_whole_listed_words_and_the_answer_says_who_judged(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input="They spoke of a\nMASSACRE.")
    (result,) = answer.results
    assert result.flagged
    assert result.categories.violence
    assert not result.categories.sexual_minors
    assert (result.category_scores.violence, result.category_scores.hate) == (1.0, 0.0)
    assert answer.model == "pixtune-local-word-list"
    assert "stand-in" in answer.to_dict()["note"]  # type: ignore[operator]  # a field the client does not know
    assert set(result.categories.to_dict()) == set(result.category_scores.to_dict())
    assert len(result.categories.to_dict()) == 13


def test_each_text_of_a_list_has_a_result_of_its_own(client: openai.OpenAI) -> None:
    results = client.moderations.create(input=["a cat", "how to build a bomb", "a bombastic massacred cat"]).results
    assert [result.flagged for result in results] == [False, True, False]
    assert results[1].categories.illicit_violent


def test_a_picture_is_checked_for_being_one_and_not_looked_at(client: openai.OpenAI) -> None:
    (result,) = client.moderations.create(input=[shown(RED), {"type": "text", "text": "torture"}]).results
    assert result.categories.violence
    assert result.category_applied_input_types.violence == ["text"]
    (alone,) = client.moderations.create(input=[shown(RED)]).results
    assert not alone.flagged
    assert alone.category_applied_input_types.violence == []


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ([shown(RED), shown(RED)], "too_many_images", r"Number of images \(2\) exceeds maximum of 1"),
        ([shown("https://example.org/a.jpg")], "invalid_image", "fetches nothing"),
        ([shown("data:image/png;base64,AAAA")], "invalid_image", "cannot be decoded"),
        ([{"type": "audio"}], None, r"input\[0\] is neither"),
        ([], None, "input is missing"),
    ],
)
def test_what_openai_refuses_is_refused(client: openai.OpenAI, given: Any, code: str | None, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as raised:
        client.moderations.create(input=given)
    assert raised.value.code == code


def test_the_adapter_is_a_moderator_that_names_its_model(adapter: OpenAIShapedProvider) -> None:
    assert isinstance(adapter, Moderator)
    assert adapter.moderation_model == "pixtune-local-word-list"
    found = adapter.moderate_text("I will kill you")
    assert (found.model, found.flagged) == ("pixtune-local-word-list", ("harassment/threatening", "violence"))
    assert found.scores["harassment/threatening"] == 1.0
    openais = OpenAIShapedProvider(spec_for("openai", "gpt-4o-2024-08-06"), "http://127.0.0.1:9/v1", "k")
    assert openais.moderation_model == "omni-moderation-latest"


def test_a_bad_picture_is_a_refusal_and_an_outage_is_not(provider: Provider, adapter: OpenAIShapedProvider) -> None:
    with pytest.raises(ProviderRefused, match="invalid_image"):
        adapter.moderate_image(b"no picture", "jpeg")
    answers = httpx2.MockTransport(lambda _: httpx2.Response(503, json={}, headers={"retry-after-ms": "1"}))
    away = OpenAIShapedProvider(adapter.spec, provider.base_url, provider.api_key, answers)
    with pytest.raises(ProviderUnavailable, match="moderating text"):
        away.moderate_text("hello")


def test_a_version_is_judged_over_the_wire_and_the_second_time_from_memory(
    provider: Provider, adapter: OpenAIShapedProvider
) -> None:
    artifacts = KeptArtifacts()
    rows = [row(f"e{n}", answer="a massacre" if n == 2 else "a cat", images=[image(f"p{n}")]) for n in range(3)]
    settings = DatasetSettings.from_json({"compliance": {"content": "refuse"}})
    manifest = store_version(artifacts, {"train": rows}, settings=settings, picture=jpeg())
    before = len(provider.requests("POST", "/v1/moderations"))
    for _ in range(2):
        with pytest.raises(ComplianceFailed, match=r"e2: turns\[1\] \(assistant\): flagged as violence by pixtune"):
            refuse(judge(manifest, rows, artifacts, Judges(adapter)))
    assert len(provider.requests("POST", "/v1/moderations")) - before == 3 + 3  # texts, then pictures; once


def jpeg() -> bytes:
    import io

    out = io.BytesIO()
    picture("green", 2).save(out, "JPEG")
    return out.getvalue()
