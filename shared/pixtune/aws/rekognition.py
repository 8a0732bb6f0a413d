"""Images that a provider would leave out, as Amazon Rekognition sees them: a converted image in, what it shows out.

Off unless the deployment asks for it: two calls an image (DetectLabels, DetectFaces), each of which AWS bills. It
has no notion of a CAPTCHA, so those are not predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pixtune.examples.facts import ImageData

_CONFIDENCE = 80.0  # percent
_PEOPLE = frozenset({"Person"})  # Rekognition gives a label's parents too: a Boy is a Person
_CHILDREN = frozenset({"Baby", "Boy", "Child", "Girl", "Kid"})
_ADULT = 18


class RekognitionClient(Protocol):
    """The two calls of boto3's client that are used here. Any: answers are botocore's own dictionaries."""

    def detect_labels(self, *, Image: Mapping[str, Any], MinConfidence: float) -> Mapping[str, Any]: ...  # noqa: N803

    def detect_faces(self, *, Image: Mapping[str, Any], Attributes: Sequence[str]) -> Mapping[str, Any]: ...  # noqa: N803


class RekognitionPredictor:
    """Implements compliance.ports.SkipPredictor. Rekognition reads the image from the bucket itself, with our rights:
    nothing is sent, and its limit is 15 MB instead of 5."""

    name = "rekognition"
    sees: tuple[str, ...] = ("people", "faces", "children")

    def __init__(self, client: RekognitionClient, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def predict(self, image: ImageData) -> tuple[str, ...]:
        """A face counts as a child's when the middle of its estimated age is below 18."""
        where = {"S3Object": {"Bucket": self._bucket, "Name": image.key}}
        found = self._client.detect_labels(Image=where, MinConfidence=_CONFIDENCE)["Labels"]
        labels = {label["Name"] for label in found}
        labels |= {parent["Name"] for label in found for parent in label.get("Parents", [])}
        answer = self._client.detect_faces(Image=where, Attributes=["DEFAULT", "AGE_RANGE"])
        faces = [face for face in answer["FaceDetails"] if face["Confidence"] >= _CONFIDENCE]
        ages = [face["AgeRange"] for face in faces if "AgeRange" in face]
        shown = {
            "people": bool(faces) or bool(labels & _PEOPLE),
            "faces": bool(faces),
            "children": bool(labels & _CHILDREN) or any((age["Low"] + age["High"]) / 2 < _ADULT for age in ages),
        }
        return tuple(what for what in self.sees if shown[what])


def predictor_of(name: str, bucket: str) -> RekognitionPredictor | None:
    """The predictor that the deployment names; None for an empty name."""
    if not name:
        return None
    from pixtune.aws import clients

    return RekognitionPredictor(clients.rekognition(), bucket)
