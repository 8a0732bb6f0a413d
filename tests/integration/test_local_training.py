"""A whole training against the local provider, which really trains: readiness to report, by the shipped functions.

One training is shared by the tests of this file; each looks at another promise.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat
from tests.fakes.models import FakeModels
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import KeptArtifacts, image, row, store_version

from pixtune.datasets.version import DatasetSettings, Manifest
from pixtune.errors import ProviderRefused, ProviderUnavailable
from pixtune.evaluation.activation import activate_model, release_model
from pixtune.evaluation.choice import choose_checkpoint
from pixtune.evaluation.judge import evaluate_checkpoint, kept_evaluation
from pixtune.evaluation.report import write_report
from pixtune.providers.factory import provider_for
from pixtune.providers.limits import limits_with, spec_for
from pixtune.providers.port import JobRequest, JobState, TrainingProvider
from pixtune.registry.models import CHALLENGER, CHAMPION
from pixtune.registry.promotion import Registrar
from pixtune.training.files import upload_files
from pixtune.training.readiness import check_readiness
from pixtune.training.run import Checkpoint, Hyperparameters, Run, RunStatus, TrainingSettings
from pixtune_local.demo.scenes import write_scenes
from pixtune_local.provider.testing import Provider, running_provider

BASE = "local-vision-1"
NOW = 1_795_000_000.0
TODAY = date(2026, 11, 22)
SETTINGS = TrainingSettings("local", BASE, Hyperparameters(), seed=7)


@dataclass
class Trained:
    """A stack of fakes around the real provider, and the one run that was trained in it."""

    server: Provider
    provider: TrainingProvider
    artifacts: KeptArtifacts
    runs: FakeRuns
    models: FakeModels
    manifest: Manifest

    @property
    def run(self) -> Run:
        return self.runs.get("run_1")

    def posts(self, path: str) -> int:
        return len(self.server.requests("POST", path))


def drawn_version(artifacts: KeptArtifacts, folder: Path) -> Manifest:
    """120 scenes: 84 to learn from, 18 to validate, 18 to test, of every number of lanes and every light."""
    rows = []
    for scene in write_scenes(folder, 120):
        data = (folder / scene.name).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            brightness = ImageStat.Stat(picture.convert("L")).mean[0] / 255
            small = picture.copy()
        small.thumbnail((256, 256))
        thumb = io.BytesIO()
        small.save(thumb, "JPEG", quality=80)
        facts = image(scene.name, size=len(data), brightness=brightness)
        artifacts.objects[facts.key] = data
        artifacts.objects[f"thumbs/{facts.sha256}.jpg"] = thumb.getvalue()
        name = scene.name.removesuffix(".jpg")
        rows.append(row(name, str(scene.lanes), question=None, images=[facts], fields={"light": scene.light}))
    splits = {"train": rows[:84], "validation": rows[84:102], "test": rows[102:]}
    kept = dict(artifacts.objects)
    settings = DatasetSettings(prompt="How many lanes does this road have? Answer with one number from 1 to 5.")
    manifest = store_version(artifacts, splits, settings=settings)
    artifacts.objects.update(kept)  # the pictures themselves, over store_version's stand-ins
    return manifest


def wait_for_end(provider: TrainingProvider, job_id: str, seconds: float = 60) -> JobState:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        view = provider.status(job_id)
        if view.state.ended:
            return view.state
        time.sleep(0.05)
    raise TimeoutError(f"job {job_id} did not end")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("local")
    with running_provider(folder / "provider") as server:
        secrets = {"local": {"api_key": server.api_key}}
        provider = provider_for("local", BASE, {"local": server.base_url}, secrets, limits_with())
        artifacts, runs, models = KeptArtifacts(), FakeRuns(), FakeModels()
        manifest = drawn_version(artifacts, folder / "scenes")
        runs.records["run_1"] = Run("run_1", "lanes", SETTINGS, NOW, "api", "k", manifest_key=manifest.key)
        stack = Trained(server, provider, artifacts, runs, models, manifest)

        check_readiness("run_1", runs, artifacts, provider, limits_with(), TODAY)
        upload_files("run_1", runs, artifacts, provider, spec_for("local", BASE), NOW)
        files = stack.run.files
        request = JobRequest(
            "run_1", BASE, files["training"], files["validation"], SETTINGS.hyperparameters, SETTINGS.seed, "lanes"
        )
        job = provider.launch(request)
        assert wait_for_end(provider, job.job_id) is JobState.SUCCEEDED
        done = provider.status(job.job_id)
        runs.update("run_1", {"provider_job_id": job.job_id, "trained_tokens": done.trained_tokens})
        runs.put_metrics("run_1", provider.metrics(job.job_id))
        runs.put_checkpoint(Checkpoint("run_1", 0, BASE))
        for point in provider.checkpoints(job.job_id):
            runs.put_checkpoint(Checkpoint("run_1", point.step, point.model_id, point.metrics))
        for step in [point.step for point in runs.checkpoints("run_1")]:
            assert activate_model("run_1", 1, step, now=NOW, runs=runs, provider=provider).active
            evaluate_checkpoint("run_1", 1, step, runs, artifacts, provider)
            release_model("run_1", step, runs=runs, provider=provider)
        choose_checkpoint("run_1", runs)
        yield stack


def registrar(trained: Trained, models: FakeModels | None = None) -> Registrar:
    found = trained.models if models is None else models
    return Registrar(trained.runs, found, trained.artifacts, lambda *_: trained.provider, NOW)


def test_the_estimate_holds_what_the_provider_then_counts(trained: Trained) -> None:
    estimate, counted = trained.run.estimate, trained.run.trained_tokens
    assert estimate is not None
    assert counted is not None
    assert estimate["tokens"]["low"] <= counted <= estimate["tokens"]["high"]
    assert estimate["tokens"]["mid"] == pytest.approx(counted, rel=0.15)
    assert estimate["usd"] == {"low": 0.0, "mid": 0.0, "high": 0.0}


def test_uploading_again_finds_the_files_that_are_there(trained: Trained) -> None:
    files, posts = dict(trained.run.files), trained.posts("/v1/files")
    assert posts == 2
    trained.runs.update("run_1", {"files": {}})
    upload_files("run_1", trained.runs, trained.artifacts, trained.provider, spec_for("local", BASE), NOW)
    assert dict(trained.run.files) == files
    assert trained.posts("/v1/files") == posts


def test_the_job_is_found_again_by_its_run(trained: Trained) -> None:
    assert [view.job_id for view in trained.provider.find_jobs("run_1")] == [trained.run.provider_job_id]
    assert trained.provider.find_jobs("run_2") == []
    assert [view.run_id for view in trained.provider.list_tagged_jobs(since=0)] == ["run_1"]
    assert trained.provider.list_tagged_jobs(since=time.time() + 60) == []


def test_the_losses_fall_and_the_last_checkpoint_is_the_final_model(trained: Trained) -> None:
    points = trained.runs.metrics("run_1")
    losses = [point["train_loss"] for point in points if "train_loss" in point]
    assert sum(losses[-8:]) < sum(losses[:8])
    assert trained.run.provider_job_id is not None
    view = trained.provider.status(trained.run.provider_job_id)
    assert trained.runs.checkpoints("run_1")[-1].model_id == view.model_id


def test_tuning_beats_the_base_model_and_answers_are_paid_for_once(trained: Trained) -> None:
    scores = {point.step: point.score for point in trained.runs.checkpoints("run_1")}
    base, chosen = scores[0], scores[trained.run.chosen_step or 0]
    assert base is not None
    assert chosen is not None
    assert chosen >= base + 0.15
    asked = trained.posts("/v1/chat/completions")
    assert asked == 18 * len(scores)
    for step in scores:
        evaluate_checkpoint("run_1", 2, step, trained.runs, trained.artifacts, trained.provider)
    assert trained.posts("/v1/chat/completions") == asked


def test_answers_are_sliced_by_field_and_brightness(trained: Trained) -> None:
    kept = kept_evaluation(trained.artifacts, trained.runs.checkpoints("run_1")[-1].evaluation_key)
    assert kept is not None
    slices = kept.slices()
    assert set(slices) == {"brightness", "light"}
    assert sum(len(answers) for answers in slices["brightness"].values()) == 18
    assert list(slices["brightness"]) == ["dark", "medium", "bright"]


def test_the_first_model_that_beats_the_base_model_is_champion_and_a_repeat_changes_nothing(trained: Trained) -> None:
    step = trained.run.chosen_step or 0
    first = registrar(trained).promote_model("run_1", 1, step)
    assert first.promoted
    assert "base model" in first.reason
    key = write_report("run_1", 1, trained.runs, trained.models, trained.artifacts, limits_with())
    registrar(trained).end_run("run_1", key)
    assert (trained.run.status, trained.run.report_key) == (RunStatus.SUCCEEDED, "reports/run_1/1.html")
    again = registrar(trained).promote_model("run_1", 1, step)
    assert again == first
    assert len(trained.models.history("lanes", CHAMPION)) == 1
    assert len(trained.models.models("lanes")) == 1
    page = trained.artifacts.objects[key].decode()
    assert page.count("<img") == min(12, page.count('class="card example"'))
    assert 'src="http' not in page


def test_a_second_run_must_beat_the_champion_on_rows_the_champion_has_not_seen(trained: Trained) -> None:
    models = FakeModels()
    registrar(trained, models).promote_model("run_1", 1, trained.run.chosen_step or 0)
    # The same model again, for another run: as good as the champion, so not better.
    twin = replace(trained.run, run_id="run_2", status=RunStatus.RUNNING, promotion=None, model_version=None)
    trained.runs.records["run_2"] = twin
    for point in trained.runs.checkpoints("run_1"):
        trained.runs.put_checkpoint(replace(point, run_id="run_2"))
    outcome = registrar(trained, models).promote_model("run_2", 1, twin.chosen_step or 0)
    assert (outcome.alias, outcome.rival) == (CHALLENGER, "champion")
    assert outcome.comparison is not None
    assert outcome.comparison.asked == 18
    champion, challenger = models.alias("lanes", CHAMPION), models.alias("lanes", CHALLENGER)
    assert champion is not None
    assert challenger is not None
    assert (champion.model_version, challenger.model_version) == (1, 2)


def test_a_refusal_and_an_outage_are_told_apart(trained: Trained, tmp_path: Path) -> None:
    wrong = provider_for(
        "local", BASE, {"local": trained.server.base_url}, {"local": {"api_key": "wrong"}}, limits_with()
    )
    with pytest.raises(ProviderRefused, match="api_key"):
        wrong.find_jobs("run_1")
    with running_provider(tmp_path) as gone:
        away = provider_for(
            "local", BASE, {"local": gone.base_url}, {"local": {"api_key": gone.api_key}}, limits_with()
        )
    with pytest.raises(ProviderUnavailable):
        away.find_jobs("run_1")


@pytest.mark.parametrize(
    ("rule", "jobs"),
    [
        ({"kind": "status", "status": 500}, 0),
        ({"kind": "status", "status": 429, "retry_after": 1}, 0),
        ({"kind": "drop_before"}, 0),
        ({"kind": "drop_after"}, 1),
    ],
    ids=["500", "429", "dropped before", "dropped after"],
)
def test_an_unknown_launch_is_one_request_and_can_be_looked_up(
    trained: Trained, rule: dict[str, Any], jobs: int
) -> None:
    run_id = f"run_{rule['kind']}_{rule.get('status', 0)}"
    files = trained.run.files
    request = JobRequest(run_id, BASE, files["training"], None, Hyperparameters(n_epochs=1), 7, "")
    before = trained.posts("/v1/fine_tuning/jobs")
    trained.server.faults(rules=[rule | {"method": "POST", "path": "/v1/fine_tuning/jobs", "times": None}])
    try:
        with pytest.raises(ProviderUnavailable):
            trained.provider.launch(request)
    finally:
        trained.server.faults(rules=[])
    assert trained.posts("/v1/fine_tuning/jobs") == before + 1
    found = trained.provider.find_jobs(run_id)
    assert len(found) == jobs
    for job in found:
        wait_for_end(trained.provider, job.job_id)


def test_a_provider_that_lets_nobody_train_any_more_says_where_to_go(trained: Trained) -> None:
    files = trained.run.files
    request = JobRequest("run_9", BASE, files["training"], None, Hyperparameters(), 7, "")
    trained.server.faults(rules=[{"kind": "status", "status": 403, "method": "POST", "path": "/v1/fine_tuning/jobs"}])
    with pytest.raises(ProviderRefused, match="another provider"):
        trained.provider.launch(request)
    assert trained.provider.find_jobs("run_9") == []


def test_the_providers_own_retirement_date_is_read(trained: Trained) -> None:
    assert trained.provider.retires_on(BASE) is None
    trained.server.faults(shutdown_date="2027-01-14")
    try:
        assert trained.provider.retires_on(BASE) == date(2027, 1, 14)
    finally:
        trained.server.faults(shutdown_date=None)
