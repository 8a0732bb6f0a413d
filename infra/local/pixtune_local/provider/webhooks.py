"""Signed webhooks: a job that ended goes in, a delivery by the Standard Webhooks rules comes out, again until taken.

A delivery stands in the store until a 2xx answer: it survives a restart. The id stays the same over all attempts.
"""

from __future__ import annotations

import base64
import datetime
import json
import logging
import secrets
import threading
import time
from dataclasses import dataclass

import httpx2
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from pixtune_local.provider.faults import Faults
from pixtune_local.provider.refusals import Refused
from pixtune_local.provider.store import Document, Store

log = logging.getLogger(__name__)

_TARGET = "webhook"
_KEEP_TRYING_SECONDS = 72 * 3600
_LONGEST_WAIT_SECONDS = 60.0


@dataclass
class Webhooks:
    """Deliveries of one provider. `enqueue` belongs into the transaction that ends the job."""

    store: Store
    faults: Faults

    def __post_init__(self) -> None:
        self._wake = threading.Event()

    def set_target(self, url: str | None, secret: str | None) -> Document:
        """Where deliveries go; a secret is made when none is given. No URL switches webhooks off."""
        if url is not None and not url.startswith(("http://", "https://")):
            raise Refused(f"url is {url!r}, expected http:// or https://", param="url")
        secret = secret or f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
        try:
            Webhook(secret)
        except (ValueError, EmptyWebhookSecretError) as error:
            raise Refused(f"secret is no whsec_ and base64: {error}", param="secret") from error
        target: Document = {"id": _TARGET, "url": url, "secret": secret}
        self.store.put("setting", target)
        return target

    def enqueue(self, event_type: str, job_id: str, now: float) -> None:
        target = self.store.get("setting", _TARGET)
        if target is None or not target["url"]:
            return
        event = {
            "object": "event",
            "id": f"evt_{secrets.token_hex(12)}",
            "type": event_type,
            "created_at": int(now),
            "data": {"id": job_id},
        }
        delivery = {"id": f"wh_{secrets.token_hex(12)}", "event": event, "tries": 0, "since": now, "due": now}
        self.store.put("delivery", delivery)
        self._wake.set()

    def deliver_forever(self) -> None:
        """Deliver what is due, oldest first; a target that does not answer 2xx is asked again, ever more slowly."""
        with httpx2.Client(timeout=5.0) as client:
            while True:
                self._wake.clear()
                waiting = self.store.all("delivery")
                for delivery in waiting:
                    if delivery["due"] <= time.time():
                        self._deliver(client, delivery)
                self._wake.wait(0.2 if waiting else 5.0)

    def _deliver(self, client: httpx2.Client, delivery: Document) -> None:
        target = self.store.get("setting", _TARGET)
        plan = self.faults.webhooks
        now = time.time()
        if target is None or not target["url"] or plan.lost or now - delivery["since"] > _KEEP_TRYING_SECONDS:
            self.store.delete("delivery", delivery["id"])
            return
        taken = [self._send(client, target, delivery, forged=plan.forged) for _ in range(plan.copies)]
        if all(taken):
            self.store.delete("delivery", delivery["id"])
            return
        wait = min(0.5 * 2 ** delivery["tries"], _LONGEST_WAIT_SECONDS)
        self.store.put("delivery", {**delivery, "tries": delivery["tries"] + 1, "due": now + wait})

    def _send(self, client: httpx2.Client, target: Document, delivery: Document, *, forged: bool) -> bool:
        body = json.dumps(delivery["event"])
        now = datetime.datetime.now(datetime.UTC)
        signer = Webhook(b"not the secret" if forged else target["secret"])
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery["id"],
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signer.sign(delivery["id"], now, body),
        }
        try:
            answer = client.post(target["url"], content=body, headers=headers)
        except httpx2.HTTPError as error:
            log.warning("webhook %s: %s not reached (%s)", delivery["id"], target["url"], error)
            return False
        if not answer.is_success:
            log.warning("webhook %s: %s answered %s", delivery["id"], target["url"], answer.status_code)
        return answer.is_success
