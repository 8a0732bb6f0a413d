"""A training file in parts against the local provider, through the client: whole, killed, expired, dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import httpx2
import pytest
from tests.fakes.runs import FakeRuns
from tests.fakes.versions import KeptArtifacts, image, row, store_version

from pixtune.datasets.version import DatasetSettings
from pixtune.errors import ProviderUnavailable
from pixtune.providers.chat_rows import training_line
from pixtune.providers.limits import spec_for
from pixtune.providers.openai_shaped import OpenAIShapedProvider
from pixtune.training.files import Uploading, upload_files, upload_part
from pixtune.training.run import Run, TrainingSettings
from pixtune_local.provider.testing import Provider, running_provider

BASE = "local-vision-1"
SPEC = dataclasses.replace(spec_for("local", BASE), part_bytes=15_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("provider")) as started:
        yield started


class Uploads:
    """A version of its own for each test, for the provider keeps what it was given."""

    def __init__(self, server: Provider, name: str, rows: int = 300) -> None:
        self.server = server
        self.provider = OpenAIShapedProvider(SPEC, server.base_url, server.api_key)
        self.artifacts, self.runs = KeptArtifacts(), FakeRuns()
        picture = b"\xff\xd8 a picture of " + name.encode() * 40
        self.rows = [
            row(f"{name}{number}", str(number), images=[image(f"{name}{number}", size=len(picture))])
            for number in range(rows)
        ]
        manifest = store_version(
            self.artifacts, {"train": self.rows}, settings=DatasetSettings(system=name), picture=picture
        )
        run = Run("run_1", "lanes", TrainingSettings("local", BASE), 0.0, "api", "k")
        self.runs.records["run_1"] = dataclasses.replace(run, manifest_key=manifest.key)
        self.whole = b"".join(training_line(one, name, None, "high", lambda _: picture) for one in self.rows)

    def step(self) -> Uploading:
        return upload_files("run_1", self.runs, self.artifacts, self.provider, SPEC, 0.0)

    def send(self, parts: range) -> None:
        upload = self.runs.get("run_1").uploads["training"]
        for number in parts:
            upload_part(upload["plan"], upload["upload_id"], number, self.artifacts, self.provider)

    def arrived(self) -> bytes:
        return self.call("GET", f"/v1/files/{self.runs.get('run_1').files['training']}/content")

    def call(self, method: str, path: str) -> bytes:
        headers = {"authorization": f"Bearer {self.server.api_key}"}
        answer = httpx2.request(method, self.server.url + path, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.content


def test_the_parts_arrive_as_the_file_and_a_second_upload_adopts_it(server: Provider) -> None:
    uploads = Uploads(server, "whole")
    listed = uploads.step()
    assert listed.parts > 10
    uploads.send(range(listed.parts))
    assert uploads.step().done
    assert uploads.arrived() == uploads.whole
    uploads.runs.update("run_1", {"files": {}})
    assert uploads.step().done


def test_a_provider_that_crashes_half_way_loses_no_part_that_it_took(server: Provider) -> None:
    uploads = Uploads(server, "crash")
    listed = uploads.step()
    uploads.send(range(5))
    server.kill()
    with pytest.raises(ProviderUnavailable):
        uploads.send(range(5, 6))
    server.start()
    assert uploads.step().parts == listed.parts - 5
    uploads.send(range(listed.parts))
    assert uploads.step().done
    assert uploads.arrived() == uploads.whole


def test_an_upload_that_is_gone_is_told_as_such_and_begun_anew(server: Provider) -> None:
    uploads = Uploads(server, "gone")
    listed = uploads.step()
    uploads.send(range(3))
    first = uploads.runs.get("run_1").uploads["training"]["upload_id"]
    uploads.call("POST", f"/v1/uploads/{first}/cancel")  # as it would be an hour later
    uploads.send(range(3, listed.parts))
    assert uploads.step().parts == listed.parts
    assert uploads.runs.get("run_1").uploads["training"]["upload_id"] != first
    uploads.send(range(listed.parts))
    assert uploads.step().done
    assert uploads.arrived() == uploads.whole


@pytest.mark.parametrize("route", ["", "/{id}/parts", "/{id}/complete"], ids=["begin", "part", "complete"])
def test_an_answer_that_is_lost_leaves_at_most_an_orphan(server: Provider, route: str) -> None:
    uploads = Uploads(server, f"lost{len(route)}", rows=60)

    def lose(path: str) -> None:
        server.faults(rules=[{"method": "POST", "path": path, "kind": "drop_after", "times": 1}])

    if not route:
        lose("/v1/uploads")
        with pytest.raises(ProviderUnavailable):
            uploads.step()
    listed = uploads.step()
    upload_id = uploads.runs.get("run_1").uploads["training"]["upload_id"]
    if route == "/{id}/parts":
        lose(f"/v1/uploads/{upload_id}/parts")
        with pytest.raises(ProviderUnavailable):
            uploads.send(range(1))
    uploads.send(range(listed.parts))
    if route == "/{id}/complete":
        lose(f"/v1/uploads/{upload_id}/complete")
        with pytest.raises(ProviderUnavailable):
            uploads.step()
    assert uploads.step().done
    assert uploads.arrived() == uploads.whole
    assert len(server.requests("POST", f"/v1/uploads/{upload_id}/complete")) == 1
