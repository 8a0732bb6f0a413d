"""What can go wrong while a state runs: an error name and a cause, the two values a Catch receives."""

from __future__ import annotations

QUERY_EVALUATION = "States.QueryEvaluationError"
TIMEOUT = "States.Timeout"
NO_CHOICE_MATCHED = "States.NoChoiceMatched"
DATA_LIMIT_EXCEEDED = "States.DataLimitExceeded"
RUNTIME = "States.Runtime"
ITEM_READER_FAILED = "States.ItemReaderFailed"
EXCEED_TOLERATED_FAILURE = "States.ExceedToleratedFailureThreshold"
LAMBDA_UNKNOWN = "Lambda.Unknown"

# Matched by name only: `States.ALL` does not catch them (Step Functions developer guide, "Error names").
TERMINAL = frozenset({DATA_LIMIT_EXCEEDED, RUNTIME})


class Fault(Exception):
    """A state failed with an error name and a cause."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


def matches(names: list[str], error: str) -> bool:
    """Whether an `ErrorEquals` list names this error, with the two wildcards of the States Language."""
    if error in names:
        return True
    if error in TERMINAL:
        return False
    return "States.ALL" in names or ("States.TaskFailed" in names and error != TIMEOUT)
