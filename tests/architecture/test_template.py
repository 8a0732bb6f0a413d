"""What the template promises, read off the expanded template: names, rights, queues, routes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.architecture.expanded import ROOT, as_list, camel, expanded, resources, snake, source, statements

from pixtune.keys import ANNOTATION_SUFFIXES, is_annotation, is_ready_marker

FUNCTIONS = sorted(folder.parent.name for folder in (ROOT / "functions").glob("*/handler.py"))

# Actions AWS gives no resource level; everything else names its resource.
UNSCOPED = {
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
    "rekognition:DetectFaces",
    "rekognition:DetectLabels",
    "bedrock:ListModelCustomizationJobs",
}


def test_every_function_folder_is_a_logical_id_of_the_template_and_the_other_way_round() -> None:
    assert [camel(folder) for folder in FUNCTIONS] == sorted(resources("AWS::Lambda::Function"))


def test_every_function_takes_its_code_from_the_folder_of_its_name() -> None:
    written = {
        name: resource["Properties"]["CodeUri"]
        for name, resource in source()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    assert written == {camel(folder): f"functions/{folder}/" for folder in FUNCTIONS}


def test_every_task_state_invokes_the_folder_of_its_name() -> None:
    definition = json.loads((ROOT / "infra/training.asl.json").read_text())
    invoked = {}

    def walk(states: dict[str, Any]) -> None:
        for name, state in states.items():
            if state["Type"] == "Task":
                invoked[name] = state["Arguments"]["FunctionName"].strip("${}")
            if "ItemProcessor" in state:
                walk(state["ItemProcessor"]["States"])

    walk(definition["States"])
    assert invoked.pop("ActivateChosen") == "ActivateModel"  # the one state that shares a function
    assert invoked == {name: name for name in invoked}
    assert {snake(name) for name in invoked} <= set(FUNCTIONS)


def test_no_role_may_do_everything_or_touch_everything() -> None:
    for role in resources("AWS::IAM::Role"):
        for statement in statements(role):
            actions = as_list(statement["Action"])
            assert not [action for action in actions if "*" in action], f"{role} has a wildcard action: {actions}"
            if "*" in as_list(statement["Resource"]):
                assert set(actions) <= UNSCOPED, f"{role} may do {actions} to any resource"


def test_every_function_has_a_role_of_its_own() -> None:
    roles = [json.dumps(function["Role"]) for function in resources("AWS::Lambda::Function").values()]
    assert len(roles) == len(set(roles))


def test_the_function_that_decodes_untrusted_bytes_can_reach_no_table_no_secret_and_no_other_queue() -> None:
    actions = {action for statement in statements("ConvertImageRole") for action in as_list(statement["Action"])}
    assert actions == {
        "s3:GetObjectVersion",
        "s3:GetObjectVersionTagging",  # where ReadObjectTags says so: S3 then tells that an object has tags
        "s3:ListBucket",
        "s3:ListBucketVersions",
        "s3:GetObject",
        "s3:PutObject",
        "sqs:SendMessage",
    }
    sends = [statement for statement in statements("ConvertImageRole") if statement["Action"] == "sqs:SendMessage"]
    assert [statement["Resource"] for statement in sends] == [{"Fn::GetAtt": ["ImageFactsQueue", "Arn"]}]


def test_the_reader_of_annotations_may_store_pictures_it_found_inside_them_and_nothing_else() -> None:
    stores = [statement for statement in statements("ReadAnnotationsRole") if statement["Action"] == "s3:PutObject"]
    assert [statement["Resource"] for statement in stores] == [{"Fn::Sub": "${ArtifactsBucket.Arn}/inline/*"}]
    reads = [statement for statement in statements("ConvertImageRole") if statement["Action"] == "s3:GetObject"]
    assert {"Fn::Sub": "${ArtifactsBucket.Arn}/inline/*"} in as_list(reads[0]["Resource"])


def test_tags_are_read_only_where_a_parameter_says_so_and_by_those_two_functions() -> None:
    assert source()["Parameters"]["ReadObjectTags"]["Default"] == "false"
    policy = source()["Resources"]["ObjectTagsRead"]
    assert policy["Condition"] == "ReadsObjectTags"
    assert policy["Properties"]["Roles"] == [{"Ref": "ConvertImageRole"}, {"Ref": "ReadAnnotationsRole"}]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "s3:GetObjectVersionTagging"
    readers = [
        role
        for role in resources("AWS::IAM::Role")
        for one in statements(role)
        if "s3:GetObjectVersionTagging" in as_list(one["Action"])
    ]
    assert sorted(readers) == ["ConvertImageRole", "ReadAnnotationsRole"]


def test_no_function_may_write_to_the_bucket_whose_events_start_functions_but_the_one_that_signs_uploads() -> None:
    writers = {
        role
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        if "s3:PutObject" in as_list(statement["Action"]) and "UploadsBucket" in json.dumps(statement["Resource"])
    }
    assert writers == {"ServeApiRole"}


def test_a_queue_hides_a_message_at_least_six_timeouts_and_a_window_long() -> None:
    functions = resources("AWS::Lambda::Function")
    for mapping in resources("AWS::Lambda::EventSourceMapping").values():
        arn = mapping["EventSourceArn"]["Fn::GetAtt"]
        if not arn[0].endswith("Queue"):
            continue
        window = 2 if "MaximumBatchingWindowInSeconds" in mapping else 0
        timeout = functions[mapping["FunctionName"]["Ref"]]["Timeout"]
        assert resources("AWS::SQS::Queue")[arn[0]]["VisibilityTimeout"] >= 6 * timeout + window, arn[0]


def test_every_worked_queue_has_dead_letters_that_are_kept_longer_than_its_own_messages() -> None:
    queues = resources("AWS::SQS::Queue")
    worked = {name for name in queues if name.endswith("Queue")}
    for name in worked:
        redrive = queues[name]["RedrivePolicy"]
        assert redrive["maxReceiveCount"] >= 5
        dead_letters = queues[redrive["deadLetterTargetArn"]["Fn::GetAtt"][0]]
        assert dead_letters["MessageRetentionPeriod"] == 14 * 86_400
    for queue in queues.values():
        assert queue["SqsManagedSseEnabled"] is True, "an aws/sqs KMS key would keep EventBridge out"


def test_one_queue_feeds_one_function_and_each_answers_message_by_message() -> None:
    mappings = [
        mapping
        for mapping in resources("AWS::Lambda::EventSourceMapping").values()
        if mapping["EventSourceArn"]["Fn::GetAtt"][0].endswith("Queue")
    ]
    fed = [mapping["EventSourceArn"]["Fn::GetAtt"][0] for mapping in mappings]
    assert sorted(fed) == sorted(set(fed))
    assert all(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for mapping in mappings)


def test_every_rule_keeps_what_it_could_not_deliver() -> None:
    for name, rule in resources("AWS::Events::Rule").items():
        if "ScheduleExpression" not in rule:
            assert all("DeadLetterConfig" in target for target in rule["Targets"]), name


def test_no_secret_stands_in_a_variable_and_buckets_are_private_and_encrypted() -> None:
    for function in resources("AWS::Lambda::Function").values():
        names = function["Environment"]["Variables"]
        assert not [name for name in names if "KEY" in name or "TOKEN" in name or "PASSWORD" in name]
    for bucket in resources("AWS::S3::Bucket").values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert "BucketEncryption" in bucket
    policies = resources("AWS::S3::BucketPolicy")
    assert len(policies) == len(resources("AWS::S3::Bucket"))


def test_only_the_webhook_route_is_open_and_every_other_one_wants_a_signature() -> None:
    routes = {
        route["RouteKey"]: route["AuthorizationType"] for route in resources("AWS::ApiGatewayV2::Route").values()
    }
    assert routes == {"ANY /v1/{proxy+}": "AWS_IAM", "POST /v1/webhooks/{provider}": "NONE"}


def test_the_secret_is_named_by_its_arn_attribute() -> None:
    variable = expanded()["Resources"]["LaunchTraining"]["Properties"]["Environment"]["Variables"][
        "PROVIDER_SECRET_ARN"
    ]
    assert variable == {"Fn::GetAtt": ["ProviderSecret", "Id"]}


# --------------------------------------------------------------------------- Bedrock

# Per function, of Bedrock what it does and no more.
BEDROCK = {
    "CheckReadiness": {"GetCustomModel", "GetFoundationModel"},
    "CheckRetirement": {"GetCustomModel", "GetFoundationModel"},
    "ServeApi": {  # which looks a model up, and has one deployed and the one before released when an alias moves
        "CreateCustomModelDeployment",
        "DeleteCustomModelDeployment",
        "GetCustomModel",
        "GetCustomModelDeployment",
        "GetFoundationModel",
        "TagResource",
    },
    "LaunchTraining": {
        "CreateModelCustomizationJob",
        "GetModelCustomizationJob",
        "ListModelCustomizationJobs",
        "ListTagsForResource",
        "TagResource",
    },
    "PollTraining": {"GetModelCustomizationJob"},
    "RecordCheckpoints": {"GetModelCustomizationJob"},
    "RecordFailure": {
        "DeleteCustomModelDeployment",
        "GetModelCustomizationJob",
        "ListModelCustomizationJobs",
        "ListTagsForResource",
        "StopModelCustomizationJob",
    },
    "SweepRuns": {
        "DeleteCustomModelDeployment",
        "GetModelCustomizationJob",
        "ListModelCustomizationJobs",
        "ListTagsForResource",
        "StopModelCustomizationJob",
    },
    "ActivateModel": {"CreateCustomModelDeployment", "GetCustomModelDeployment", "TagResource"},
    "EvaluateCheckpoint": {"GetCustomModelDeployment", "InvokeModel"},
    "ReleaseModel": {"DeleteCustomModelDeployment"},
    "PromoteModel": {"DeleteCustomModelDeployment", "GetCustomModelDeployment", "InvokeModel"},
}


def test_a_function_may_do_of_bedrock_what_it_does_and_no_more() -> None:
    found: dict[str, set[str]] = {}
    for role in resources("AWS::IAM::Role"):
        for statement in statements(role):
            for action in as_list(statement["Action"]):
                if action.startswith("bedrock:"):
                    found.setdefault(role.removesuffix("Role"), set()).add(action.removeprefix("bedrock:"))
    assert found == BEDROCK


def test_one_function_may_pass_a_role_and_that_is_the_one_bedrock_reads_our_files_in() -> None:
    passing = [
        (role, statement)
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        if "iam:PassRole" in as_list(statement["Action"])
    ]
    ((role, statement),) = passing
    assert role == "LaunchTrainingRole"
    assert statement["Action"] == "iam:PassRole"
    assert statement["Resource"] == {"Fn::GetAtt": ["BedrockRole", "Arn"]}
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}


def test_bedrock_assumes_its_role_for_jobs_of_this_account_and_writes_nothing_but_their_results() -> None:
    (trust,) = resources("AWS::IAM::Role")["BedrockRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert trust["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Sub"].endswith(":model-customization-job/*")
    written = [
        statement["Resource"]
        for statement in statements("BedrockRole")
        if "s3:PutObject" in as_list(statement["Action"])
    ]
    assert written == [{"Fn::Sub": "${ArtifactsBucket.Arn}/bedrock/*"}]


def test_only_training_files_can_be_deleted_and_only_where_a_run_is_tidied_up() -> None:
    deleting = {
        (role, json.dumps(statement["Resource"]))
        for role in resources("AWS::IAM::Role")
        for statement in statements(role)
        if "s3:DeleteObject" in as_list(statement["Action"])
        and "ArtifactsBucket" in json.dumps(statement["Resource"])
    }
    where = json.dumps({"Fn::Sub": "${ArtifactsBucket.Arn}/training/*"})
    assert deleting == {("RecordFailureRole", where), ("SweepRunsRole", where)}


def test_all_that_bedrock_needs_is_there_only_where_the_deployment_trains_on_it() -> None:
    for name, resource in expanded()["Resources"].items():
        if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::Role") and name.startswith("Bedrock"):
            assert resource["Condition"] == "TrainsOnBedrock", name


def test_job_events_of_bedrock_wake_a_function_that_can_reach_no_provider() -> None:
    rule = resources("AWS::Events::Rule")["ReceiveJobEventBedrockJobChanged"]["EventPattern"]
    assert (rule["source"], rule["detail-type"]) == (["aws.bedrock"], ["Model Customization Job State Change"])
    actions = {action for statement in statements("ReceiveJobEventRole") for action in as_list(statement["Action"])}
    assert not [action for action in actions if action.split(":")[0] not in ("dynamodb", "states")]


# --------------------------------------------------------------------------- routes


def _matches(patterns: list[Any], key: str) -> bool:
    """EventBridge's rules for the operators the routes use: suffix, and anything-but suffix; case-sensitive."""
    for pattern in patterns:
        if "suffix" in pattern and key.endswith(pattern["suffix"]):
            return True
        if "anything-but" in pattern and not key.endswith(tuple(pattern["anything-but"]["suffix"])):
            return True
    return False


def _routes(key: str) -> list[str]:
    found = []
    for name, rule in resources("AWS::Events::Rule").items():
        pattern = rule.get("EventPattern", {})
        if pattern.get("source") == ["aws.s3"] and _matches(pattern["detail"]["object"]["key"], key):
            found.append(name)
    return found


@pytest.mark.parametrize("suffix", [*ANNOTATION_SUFFIXES, *(suffix.upper() for suffix in ANNOTATION_SUFFIXES)])
def test_an_annotation_suffix_goes_to_the_reader_and_nowhere_else(suffix: str) -> None:
    assert _routes(f"cards/train/x{suffix}") == ["AnnotationUploaded"]
    assert is_annotation(f"cards/train/x{suffix}")


@pytest.mark.parametrize(
    "key",
    [
        "cards/a.jpg",
        "cards/a.JPG",
        "cards/a b+ü#%41.jpg",
        "cards/noextension",
        "cards/a.Json",
        "root.png",
        "cards/.DS_Store",
        "cards/_READY2",
        "x_READY",
    ],
)
def test_everything_else_goes_to_the_gate_and_nowhere_else(key: str) -> None:
    assert _routes(key) == ["ImageUploaded"]
    assert not is_annotation(key)
    assert not is_ready_marker(key)


def test_the_marker_and_the_settings_have_routes_of_their_own() -> None:
    assert _routes("cards/_READY") == ["RequestTrainingMarker"]
    assert is_ready_marker("cards/_READY")
    assert _routes("cards/dataset.toml") == ["AnnotationUploaded"]
    assert is_annotation("cards/dataset.toml")


def test_a_deleted_marker_is_dropped_and_deletions_of_uploads_follow_the_same_routes() -> None:
    rules = resources("AWS::Events::Rule")
    assert rules["RequestTrainingMarker"]["EventPattern"]["detail-type"] == ["Object Created"]
    for name in ("ImageUploaded", "AnnotationUploaded"):
        assert rules[name]["EventPattern"]["detail-type"] == ["Object Created", "Object Deleted"]
