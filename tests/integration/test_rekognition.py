"""Rekognition's answers, in the shapes botocore knows, become what a provider would leave out."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from tests.architecture.expanded import expanded
from tests.fakes.versions import image

from pixtune.aws.rekognition import RekognitionPredictor, predictor_of
from pixtune.examples.facts import ImageData

IMAGE: ImageData = image("a")
WHERE = {"S3Object": {"Bucket": "artifacts", "Name": IMAGE.key}}


def predicted(labels: list[dict[str, Any]], faces: list[dict[str, Any]]) -> tuple[str, ...]:
    client = boto3.client("rekognition", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        stub.add_response("detect_labels", {"Labels": labels}, {"Image": WHERE, "MinConfidence": 80.0})
        asked = {"Image": WHERE, "Attributes": ["DEFAULT", "AGE_RANGE"]}
        stub.add_response("detect_faces", {"FaceDetails": faces}, asked)
        found = RekognitionPredictor(client, "artifacts").predict(IMAGE)
        stub.assert_no_pending_responses()
    return found


def face(low: int, high: int, confidence: float = 99.0) -> dict[str, Any]:
    return {"Confidence": confidence, "AgeRange": {"Low": low, "High": high}}


@pytest.mark.parametrize(
    ("labels", "faces", "shown"),
    [
        ([{"Name": "Road", "Confidence": 98.0}], [], ()),
        ([{"Name": "Person", "Confidence": 98.0}], [], ("people",)),
        ([], [face(30, 44)], ("people", "faces")),
        ([], [face(30, 44), face(4, 9)], ("people", "faces", "children")),
        ([], [face(4, 9, confidence=40.0)], ()),
        ([{"Name": "Boy", "Parents": [{"Name": "Person"}, {"Name": "Child"}]}], [], ("people", "children")),
        ([{"Name": "Rider", "Parents": [{"Name": "Person"}]}], [], ("people",)),
    ],
)
def test_labels_their_parents_and_faces_say_what_an_image_shows(
    labels: list[dict[str, Any]], faces: list[dict[str, Any]], shown: tuple[str, ...]
) -> None:
    assert predicted(labels, faces) == shown


def test_a_refusal_is_a_fault_and_never_a_clean_bill() -> None:
    client = boto3.client("rekognition", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        stub.add_client_error("detect_labels", "AccessDeniedException")
        with pytest.raises(ClientError, match="AccessDenied"):
            RekognitionPredictor(client, "artifacts").predict(IMAGE)


def test_nobody_looks_unless_the_deployment_names_somebody() -> None:
    assert predictor_of("", "artifacts") is None
    template = expanded()
    assert template["Parameters"]["SkipPredictor"]["Default"] == ""
    variables = template["Resources"]["CheckReadiness"]["Properties"]["Environment"]["Variables"]
    assert variables["SKIP_PREDICTOR"] == {"Ref": "SkipPredictor"}
    looks = template["Resources"]["CheckReadinessLooks"]
    assert looks["Condition"] == "LooksWithRekognition"
    assert looks["Properties"]["Roles"] == [{"Ref": "CheckReadinessRole"}]
    (statement,) = looks["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["rekognition:DetectFaces", "rekognition:DetectLabels"]
