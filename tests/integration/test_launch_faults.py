"""The real adapter against the local provider, each request going wrong in each way: one job, or none and a reason.

PIXTUNE_FAULT_PAIRS says how many of the pairs of faults are tried (all of them: a number above all).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from itertools import combinations, product

import openai
import openai._base_client
import pytest
from tests.fakes.faulty_launches import JOBS, LATE, MODES, WINDOW, FaultyLaunch
from tests.integration.provider_rows import MODEL, colour_rows, upload

from pixtune.providers import openai_shaped
from pixtune.providers.limits import spec_for
from pixtune_local.provider.testing import Provider, running_provider

PAIRS = int(os.environ.get("PIXTUNE_FAULT_PAIRS", "6"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


class Stand:
    """Launches with faults, one after the other, and what each came to."""

    def __init__(self, server: Provider, patch: pytest.MonkeyPatch) -> None:
        self._server = server
        self._patient, self._adapter = (
            openai_shaped.OpenAIShapedProvider(spec_for("local", MODEL), server.base_url, server.api_key)
            for _ in range(2)
        )
        self._patient.find_jobs("run_0")  # it takes its patience when it first asks
        # The other has little: a slow answer is too late after a moment, and retries follow at once.
        for name in ("_CREATE_SECONDS", "_READ_SECONDS"):
            patch.setattr(openai_shaped, name, LATE / 2)
        for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
            patch.setattr(openai._base_client, name, 0.0)
        self._client = openai.OpenAI(base_url=server.base_url, api_key=server.api_key)
        self._file_id = ""

    def play(
        self, called_off: bool, faults: Mapping[int, str], at_create: str | None = None
    ) -> tuple[FaultyLaunch, list[tuple[str, str]]]:
        self._file_id = self._file_id or upload(self._client, colour_rows(10))
        providers = (self._server, self._adapter, self._patient)
        launch = FaultyLaunch(*providers, self._file_id, called_off, faults, at_create)
        requests = launch.play()
        told = f"{'called off' if called_off else 'running'} with {dict(faults)}: "
        assert launch.wrong() is None, told + str(launch.wrong())
        posts = requests.count(("POST", JOBS))
        assert posts == launch.creates, f"{told}{posts} creates were sent for {launch.creates}"
        if not launch.run.files:  # refused, so its file is an orphan
            with pytest.raises(openai.NotFoundError):
                self._client.files.retrieve(self._file_id)
            self._file_id = ""
        launch.clear()
        return launch, requests


@pytest.fixture(scope="module")
def stand(server: Provider) -> Iterator[Stand]:
    with pytest.MonkeyPatch.context() as patch:
        yield Stand(server, patch)


@pytest.mark.parametrize("called_off", [False, True])
def test_any_single_fault_leaves_one_job_or_none_and_a_reason(stand: Stand, called_off: bool) -> None:
    launch, requests = stand.play(called_off, {})
    assert requests.count(("POST", JOBS)) == 1
    assert launch.run.status.value == ("cancelled" if called_off else "running")
    for number, mode in product(range(len(requests)), MODES):
        stand.play(called_off, {number: mode})


@pytest.mark.parametrize("mode", ["500", "429", "drop-before", "drop-after", "timeout-before", "timeout-after"])
def test_a_create_is_sent_once_and_again_only_after_the_quiet_window(stand: Stand, mode: str) -> None:
    launch, requests = stand.play(False, {}, mode)
    made = requests.count(("POST", JOBS))
    assert made == (1 if mode.endswith("-after") else 2)  # the one that arrived is adopted
    assert launch.now >= 1e10 + WINDOW


def test_any_two_faults_leave_one_job_or_none_and_a_reason(stand: Stand) -> None:
    longest = 9  # the longest of the two ways, and what a first fault adds to it
    pairs = [
        (called_off, {first: one, second: other})
        for called_off in (False, True)
        for first, second in combinations(range(longest), 2)
        for one, other in product(MODES, MODES)
    ]
    for called_off, faults in random.Random(11).sample(pairs, min(PAIRS, len(pairs))):
        stand.play(called_off, faults)
