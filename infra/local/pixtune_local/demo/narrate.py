"""The main job, told as it happens: drawn scenes and odd files in, a promoted model and a list of checks out.

It talks to the service as anybody would: plain boto3 for the files, the signed HTTP API for everything else.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from pixtune.verdicts import Outcome
from pixtune_cli.client import Api
from pixtune_cli.display import say, sparkline
from pixtune_cli.target import find
from pixtune_local.cloud import stack
from pixtune_local.demo.odd_files import OddFile, write_odd_files
from pixtune_local.demo.scenes import Scene, write_scenes
from pixtune_local.provider.server import DEFAULT_KEY

DATASET = "roads"
QUESTION = "How many lanes does this road have? Answer with one number from 1 to 5."
SCENES = 120
SEED = 7
GAIN = 0.15  # what the tuned model has to beat the base model by, as a share of the test split
PATIENCE = 300.0  # seconds a run may take before the demo gives up on it

STAGES = {
    "Requested": "asked for",
    "SettleUploads": "waiting until every upload has its verdict",
    "PublishDataset": "everything is ingested: cutting the dataset version",
    "CheckReadiness": "checking the provider's limits, and what it will cost",
    "UploadFiles": "uploading the training and validation files",
    "LaunchTraining": "launching the training, once",
    "PollTraining": "training",
    "RecordCheckpoints": "trained: recording its checkpoints and their metrics",
    "EvaluateCheckpoints": "asking the base model and every checkpoint the test split",
    "ChooseCheckpoint": "choosing the best checkpoint",
    "PromoteModel": "comparing it with the champion",
    "TrainingSucceeded": "done",
}


@dataclass
class Checks:
    """What has to hold at the end; every one is shown, and one that fails fails the demo."""

    failed: list[str] = field(default_factory=list)
    count: int = 0

    def hold(self, claim: str, holds: bool, found: object = "") -> None:
        self.count += 1
        say(f"  {'ok  ' if holds else 'FAIL'} {claim}{'' if holds else f' (found: {found})'}")
        if not holds:
            self.failed.append(claim)


@dataclass(frozen=True)
class Dropped:
    """What was dropped: bucket key -> content; and, of the pictures, what was drawn."""

    files: dict[str, bytes]
    scenes: list[Scene]
    odd: list[OddFile]

    def key_of(self, name: str) -> str:
        return f"{DATASET}/{name}"


def run(root: Path, *, keep: bool) -> int:
    """Answers the exit code: 0 when every check held. `keep` leaves the stack up."""
    began = time.monotonic()
    say("pixtune on this machine: nothing here talks to AWS or to a paid API.")
    info = stack.up(root, fresh=True, echo=lambda text: say(f"  {text}"))
    try:
        checks = _tell(root, info)
    finally:
        if not keep:
            stack.down(root)
    took = time.monotonic() - began
    say(f"\n{checks.count - len(checks.failed)}/{checks.count} checks passed in {took:.0f} s.")
    if keep:
        say(f"Still up: API {info.api_url}, S3 {info.endpoint_url}, provider {info.provider_url}.")
        say(f"Try: .venv/bin/pixtune data show {DATASET} | .venv/bin/pixtune model ls {DATASET} | make down")
    return 1 if checks.failed else 0


def _tell(root: Path, info: stack.StackInfo) -> Checks:
    api = Api(find(None, root))
    folder = root / ".pixtune" / "demo"
    say("\nDrawing road scenes, and the odd files that turn up in real folders.")
    dropped = _draw(folder)
    say(f"  {len(dropped.scenes)} scenes with 1 to 5 lanes, {len(dropped.odd)} odd files")

    say(
        f"\nDropping {len(dropped.files)} files into s3://{info.outputs['UploadsBucket']}/{DATASET}/, asking at once."
    )
    _drop(info, dropped)
    asked = {"dataset": DATASET, "hyperparameters": {"n_epochs": 4}, "seed": SEED}
    answer, _ = api.call("POST", "/v1/runs", asked, {"Idempotency-Key": str(uuid4())})
    run_id = str(answer["run_id"])
    record = _follow(api, run_id)

    summary = api.get(f"/v1/datasets/{DATASET}")
    _tell_ingest(summary)
    checkpoints = api.get(f"/v1/runs/{run_id}/checkpoints")["items"]
    scores = {int(point["step"]): point["score"] for point in checkpoints}
    _tell_training(record, api.get(f"/v1/runs/{run_id}/metrics")["items"], scores)

    say("\nChecking.")
    checks = Checks()
    checks.hold("the run succeeded", record["status"] == "succeeded", record["failure"] or record["status"])
    if record["status"] != "succeeded":
        return checks
    _check_ingest(checks, api, dropped, summary)
    _check_version(checks, info, dropped, record)
    _check_training(checks, api, info, record, scores)
    report = _artifact(info, record["report_key"]) if record["report_key"] else b""
    path, card = folder / "report.html", folder / "card.html"
    path.write_bytes(report)
    card.write_bytes(_check_card(checks, api, info, dropped, record))
    checks.hold(
        "the report stands on its own", b"<svg" in report and b"http://" not in report.replace(b"w3.org", b"")
    )
    status = stack.status(root)
    stuck = {queue.name: queue.waiting for queue in status.dead_letter_queues if queue.waiting}
    checks.hold("no message is in a dead-letter queue", not stuck, stuck)
    say(f"\nCard    {card}")
    say(f"Report  {path}")
    return checks


def _draw(folder: Path) -> Dropped:
    pictures, odd_folder = folder / "scenes", folder / "odd"
    scenes, odd = write_scenes(pictures, count=SCENES), write_odd_files(odd_folder)
    rows = [{"file_name": scene.name, "answer": str(scene.lanes), "light": scene.light} for scene in scenes]
    files = {f"{DATASET}/scenes/{scene.name}": (pictures / scene.name).read_bytes() for scene in scenes}
    files |= {f"{DATASET}/odd/{found.name}": (odd_folder / found.name).read_bytes() for found in odd}
    files[f"{DATASET}/scenes/metadata.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    files[f"{DATASET}/dataset.toml"] = f"prompt = {json.dumps(QUESTION)}\n".encode()
    return Dropped(files, scenes, odd)


def _drop(info: stack.StackInfo, dropped: Dropped) -> None:
    s3, bucket = stack.client(info, "s3", as_root=False), info.outputs["UploadsBucket"]

    def put(item: tuple[str, bytes]) -> None:
        s3.put_object(Bucket=bucket, Key=item[0], Body=item[1])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, dropped.files.items()))


def _follow(api: Api, run_id: str) -> dict[str, Any]:
    """Narrate the run's stages until it ends."""
    say(f"\nFollowing {run_id}.")
    began, stage = time.monotonic(), ""
    while True:
        record = api.get(f"/v1/runs/{run_id}")
        if record["stage"] != stage:
            stage = record["stage"]
            say(f"  {time.monotonic() - began:5.1f} s  {STAGES.get(stage, stage)}")
        if record["status"] in ("succeeded", "failed", "cancelled", "joined"):
            return record
        if time.monotonic() - began > PATIENCE:
            return record | {"failure": f"it was still in {stage} after {PATIENCE:.0f} s"}
        time.sleep(0.1)


def _tell_ingest(summary: dict[str, Any]) -> None:
    uploads = summary["uploads"]
    say("\nVerdicts  " + "  ".join(f"{name} {count}" for name, count in uploads.items()))
    reasons = Counter({code: count for code, count in summary["reasons"].items() if code != "ok"})
    say("  reasons " + "  ".join(f"{code} {count}" for code, count in reasons.most_common()))


def _tell_training(record: dict[str, Any], metrics: list[dict[str, float]], scores: dict[int, float | None]) -> None:
    if estimate := record["estimate"]:
        tokens, usd = estimate["tokens"], estimate["usd"]
        say(f"Estimate  {tokens['low']:,} to {tokens['high']:,} tokens, {usd['low']} to {usd['high']} US dollars")
        say(f"  billed  {record['trained_tokens'] or 0:,} tokens")
    losses = [point["train_loss"] for point in metrics if "train_loss" in point]
    if losses:
        say(f"Training  loss {sparkline(losses, 60)} {losses[0]:.2f} -> {losses[-1]:.2f} (a small local model)")
    for step, score in sorted(scores.items()):
        name = "base model" if step == 0 else f"checkpoint at step {step}"
        mark = "  <- chosen" if step == record["chosen_step"] else ""
        say(f"  {name:<24} {'not scored' if score is None else f'{score:.0%} of the test split right'}{mark}")
    if promotion := record["promotion"]:
        say(f"Promotion {promotion.get('reason', promotion)}")


def _check_ingest(checks: Checks, api: Api, dropped: Dropped, summary: dict[str, Any]) -> None:
    def verdict(key: str) -> dict[str, Any]:
        found: dict[str, Any] = api.get(f"/v1/datasets/{DATASET}/uploads", key=key)["verdict"]
        return found

    with ThreadPoolExecutor(4) as pool:
        verdicts = dict(zip(dropped.files, pool.map(verdict, dropped.files), strict=True))
    checks.hold(
        f"each of the {len(dropped.files)} files has one verdict",
        sum(summary["uploads"].values()) == len(dropped.files) == len(verdicts),
        summary["uploads"],
    )
    for odd in dropped.odd:
        found = verdicts[f"{DATASET}/odd/{odd.name}"]
        checks.hold(
            f"{odd.name} ({odd.what}): {odd.expect.value}, {odd.code.value}",
            (found["verdict"], found["code"]) == (odd.expect.value, odd.code.value),
            f"{found['verdict']}, {found['code']}: {found['detail']}",
        )


def _check_version(checks: Checks, info: stack.StackInfo, dropped: Dropped, record: dict[str, Any]) -> None:
    manifest = json.loads(_artifact(info, record["manifest_key"]))
    rows = [
        json.loads(line) for key in manifest["files"].values() for line in _artifact(info, key).decode().splitlines()
    ]
    trained = Counter(image["upload"] for row in rows for image in row["images"])
    drawn = {f"{DATASET}/scenes/{scene.name}": str(scene.lanes) for scene in dropped.scenes}
    checks.hold("every scene has its row in the version", set(drawn) <= set(trained), len(set(drawn) - set(trained)))
    checks.hold("no row stands in the version twice", max(trained.values()) == 1, trained.most_common(1))
    answers = {row["images"][0]["upload"]: _answer(row) for row in rows}
    checks.hold("every answer is the one that was given", all(answers[key] == drawn[key] for key in drawn))
    pictures = [_artifact(info, f"images/{row['images'][0]['sha256']}.jpg") for row in rows[:20]]
    checks.hold("the converted pictures carry no EXIF", not any(b"Exif\x00" in picture for picture in pictures))
    say(f"  version {manifest['version']} {manifest['digest'][:12]}: {manifest['counts']}")


def _check_card(checks: Checks, api: Api, info: stack.StackInfo, dropped: Dropped, record: dict[str, Any]) -> bytes:
    """Answers the page, fetched by the link that the API gives."""
    version = api.get(f"/v1/datasets/{DATASET}/versions/{record['version']}")
    with urllib.request.urlopen(version["card_url"], timeout=10) as answer:
        page: bytes = answer.read()
    card = json.loads(_artifact(info, version["card_key"].replace("card.html", "card.json")))
    found = {one["key"]: one["code"] for one in card["rejected"]}
    wanted = {f"{DATASET}/odd/{odd.name}": odd.code.value for odd in dropped.odd if odd.expect is Outcome.REJECTED}
    checks.hold(f"the card names each of the {len(wanted)} rejected files and why", found == wanted, found)
    text = page.decode()
    absent = [name for name, code in wanted.items() if escape(name) not in text or code not in text]
    checks.hold("its page shows them", not absent, absent)
    checks.hold("its page says how compliance was judged", "Judged on" in text)
    checks.hold("the page has pictures and stands on its own", "data:image/jpeg" in text and "http://" not in text)
    return page


def _answer(row: dict[str, Any]) -> str:
    turns = row["annotation"]["turns"]
    return "".join(part.get("text") or "" for part in turns[-1]["parts"])


def _check_training(
    checks: Checks, api: Api, info: stack.StackInfo, record: dict[str, Any], scores: dict[int, float | None]
) -> None:
    run_id = record["run_id"]
    jobs = _provider(info, f"/v1/fine_tuning/jobs?{quote('metadata[run_id]')}={run_id}")["data"]
    checks.hold(
        "exactly one provider job was started", [job["id"] for job in jobs] == [record["provider_job_id"]], jobs
    )
    base, tuned = scores.get(0) or 0.0, scores.get(record["chosen_step"]) or 0.0
    checks.hold(f"tuned beats base by {GAIN:.0%} or more ({tuned:.0%} against {base:.0%})", tuned - base >= GAIN)
    champion = api.get(f"/v1/models/{DATASET}/champion")
    checks.hold(
        "the alias champion points to the new model", champion["model_version"] == record["model_version"], champion
    )


def _artifact(info: stack.StackInfo, key: str) -> bytes:
    s3 = stack.client(info, "s3", as_root=False)
    body: bytes = s3.get_object(Bucket=info.outputs["ArtifactsBucket"], Key=key)["Body"].read()
    return body


def _provider(info: stack.StackInfo, path: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{info.provider_url}{path}", headers={"Authorization": f"Bearer {DEFAULT_KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found
