"""The provider secret: its ARN in, keys by provider name out, read again now and then so that keys can rotate."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pixtune.settings import MissingSetting

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_MAX_AGE_SECONDS = 300.0


class ProviderSecrets:
    """Keep one per process. A secret's value never enters a message or a log."""

    def __init__(self, client: SecretsManagerClient, arn: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._arn, self._clock = client, arn, clock
        self._kept: tuple[float, Mapping[str, Mapping[str, str]]] | None = None

    def read(self) -> Mapping[str, Mapping[str, str]]:
        """Provider name -> {"api_key": ..., "webhook_secret": ...}, at most five minutes old."""
        now = self._clock()
        if self._kept is None or now - self._kept[0] > _MAX_AGE_SECONDS:
            self._kept = (now, self._fetch())
        return self._kept[1]

    def _fetch(self) -> Mapping[str, Mapping[str, str]]:
        text = self._client.get_secret_value(SecretId=self._arn)["SecretString"]
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict) or not all(isinstance(keys, dict) for keys in value.values()):
            raise MissingSetting(
                f'The secret {self._arn} is not JSON of the form {{"openai": {{"api_key": "..."}}}}.'
            ) from None
        return value
