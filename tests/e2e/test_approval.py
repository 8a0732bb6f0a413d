"""A training that waits for approval on the real state machine: approved it trains, denied it ends without a job."""

from __future__ import annotations

import json

import pytest
from tests.e2e.pictures import lit
from tests.e2e.service import Service, wait_for

pytestmark = pytest.mark.e2e


def wait_until_asked(service: Service, run_id: str, attempt: int) -> None:
    def look() -> bool | None:
        approval = service.run(run_id)["approval"]
        return True if approval and (approval["state"], approval["attempt"]) == ("asked", attempt) else None

    wait_for(f"a question about {run_id}", look)


def test_a_denied_run_has_no_job_and_asks_again_when_resumed_and_an_approved_one_trains(service: Service) -> None:
    answers = {f"{number:02}.jpg": ("dark", "light")[number % 2] for number in range(24)}
    rows = [{"file_name": name, "prompt": "Dark or light?", "answer": answer} for name, answer in answers.items()]
    pictures = {f"asked/{name}": lit(9000 + int(name[:2]), answer) for name, answer in answers.items()}
    service.drop({**pictures, "asked/metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()})
    run_id = service.request("asked", hyperparameters={"n_epochs": 1}, seed=5, approval_above_usd=0)
    wait_until_asked(service, run_id, attempt=1)
    service.api.call("POST", f"/v1/runs/{run_id}/deny", {"why": "not today"})
    record = service.wait_for_end(run_id)
    assert (record["status"], record["failure"]["code"]) == ("failed", "approval_denied")
    assert "not today" in record["failure"]["cause"]
    assert service.jobs_of({run_id}) == []

    service.api.call("POST", f"/v1/runs/{run_id}/resume")
    wait_until_asked(service, run_id, attempt=2)
    service.api.call("POST", f"/v1/runs/{run_id}/approve", {"why": "it is free"})
    record = service.wait_for_end(run_id)
    assert record["status"] == "succeeded", record["failure"]
    assert len(service.jobs_of({run_id})) == 1
    assert record["reconciled"]["billed"] == record["trained_tokens"]

    # The version it cut, by its number, with other settings: the same rows, no second cut, and a lesson learned.
    again = service.request("asked", seed=6, version=record["version"], approval_above_usd=0)
    wait_until_asked(service, again, attempt=1)
    other = service.run(again)
    assert (other["version"], other["version_digest"]) == (record["version"], record["version_digest"])
    assert other["estimate"]["observed"] >= 1  # other runs of the stack may have taught it too
    service.api.call("POST", f"/v1/runs/{again}/deny")
    assert service.wait_for_end(again)["status"] == "failed"
