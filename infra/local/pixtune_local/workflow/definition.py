"""A state machine's JSON in, a checked Machine out: what the runner cannot run exactly as written is refused here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from pixtune_local.workflow.expressions import FUNCTIONS, free_names, is_expression, syntax_problem

# A state as written; `load` has checked its fields, so the engine may index it.
State: TypeAlias = dict[str, Any]

INVOKE = "arn:aws:states:::lambda:invoke"
INVOKE_AND_WAIT = "arn:aws:states:::lambda:invoke.waitForTaskToken"
GET_OBJECT = "arn:aws:states:::s3:getObject"
INLINE = {"Mode": "INLINE"}
DISTRIBUTED = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}

_LEAVING = {"Assign", "Output", "Next", "End"}
_CATCHING = {"Retry", "Catch"}
# Required fields and the other fields of each type of state.
_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "Task": ({"Resource", "Arguments"}, {"TimeoutSeconds"} | _CATCHING | _LEAVING),
    "Map": ({"ItemProcessor"}, {"Items", "ItemReader", "ItemSelector", "MaxConcurrency"} | _CATCHING | _LEAVING),
    "Choice": ({"Choices"}, {"Default", "Assign", "Output"}),
    "Wait": ({"Seconds"}, _LEAVING),
    "Succeed": (set(), {"Output"}),
    "Fail": (set(), {"Error", "Cause"}),
}
_RETRIER = (
    {"ErrorEquals"},
    {"IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy"},
)
_CATCHER = ({"ErrorEquals", "Next"}, {"Assign", "Output"})
_RULE = ({"Condition", "Next"}, {"Assign", "Output"})
_PROCESSOR = ({"StartAt", "States"}, {"ProcessorConfig"})
_MACHINE = ({"StartAt", "States", "QueryLanguage"}, set[str]())
_ARGUMENTS = ({"FunctionName", "Payload"}, set[str]())
_READER = ({"Resource", "ReaderConfig", "Arguments"}, set[str]())
_CONTAINERS = {
    "Choices": list,
    "Catch": list,
    "Retry": list,
    "Assign": dict,
    "Arguments": dict,
    "ItemProcessor": dict,
    "ItemReader": dict,
}
_MAX_SECONDS = 99_999_999


class InvalidDefinition(Exception):
    """The definition cannot be run. `problems` has one line each, with the place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Machine:
    """A scope of states: the whole machine, or the inside of a Map."""

    start_at: str
    states: dict[str, State]


def load(text: str) -> Machine:
    """Parses and checks a definition. Raises InvalidDefinition with everything that is wrong with it."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidDefinition([f"the definition is not JSON: {error}"]) from error
    problems = list(_machine_problems(document))
    if problems:
        raise InvalidDefinition(problems)
    return Machine(document["StartAt"], document["States"])


def inner_machine(state: State) -> Machine:
    """The machine that a Map state runs for each item."""
    return Machine(state["ItemProcessor"]["StartAt"], state["ItemProcessor"]["States"])


def is_distributed(state: State) -> bool:
    """Whether a Map runs each item as an execution of its own."""
    return bool(state["ItemProcessor"].get("ProcessorConfig", INLINE) == DISTRIBUTED)


def targets(state: State) -> list[str]:
    """The states that may follow this one."""
    rules = [*state.get("Choices", []), *state.get("Catch", [])]
    return [state[key] for key in ("Next", "Default") if key in state] + [rule["Next"] for rule in rules]


def _machine_problems(document: object) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "the definition is not a JSON object"
        return
    yield from _field_problems(document, _MACHINE, "the machine")
    if document.get("QueryLanguage") != "JSONata":
        yield "QueryLanguage: only JSONata is run here"
    yield from _scope_problems(document, "", frozenset())


def _scope_problems(scope: State, place: str, outer: frozenset[str]) -> Iterator[str]:
    """Problems of the states of one scope; `outer` are the variables of the scopes around it."""
    states = scope.get("States")
    if not isinstance(states, dict) or not all(isinstance(state, dict) for state in states.values()):
        yield f"{place}States: must be an object of states"
        return
    malformed = [
        problem for name, state in states.items() for problem in _container_problems(state, f"{place}{name}")
    ]
    if malformed:
        yield from malformed
        return
    own = frozenset(name for state in states.values() for name in _assigned(state))
    for name in sorted(own & outer):
        yield f"{place}States: assigns ${name}, a name that belongs to the scope around it"
    for name in sorted(own & (FUNCTIONS | {"states"})):
        yield f"{place}States: assigns ${name}, which JSONata or Step Functions has taken"
    for name, state in states.items():
        yield from _state_problems(state, f"{place}{name}", own | outer)
    yield from _path_problems(scope, states, place)


def _container_problems(fields: object, place: str) -> Iterator[str]:
    """Fields that hold other fields must be lists or objects, or nothing inside them can be checked."""
    if not isinstance(fields, dict):
        yield f"{place}: must be an object"
        return
    for field, container in _CONTAINERS.items():
        value = fields.get(field, container())
        if not isinstance(value, container):
            yield f"{place}/{field}: must be {'a list' if container is list else 'an object'}"
        elif isinstance(value, list):
            for index, rule in enumerate(value):
                yield from _container_problems(rule, f"{place}/{field}[{index}]")


def _path_problems(scope: State, states: dict[str, State], place: str) -> Iterator[str]:
    try:
        follows = {name: targets(state) for name, state in states.items()}
    except KeyError:
        return  # a rule without Next, reported with its state
    start = scope.get("StartAt")
    if start not in states:
        yield f"{place}StartAt: there is no state '{start}'"
        return
    reached: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name in states and name not in reached:
            reached.add(name)
            todo.extend(follows[name])
    for name, state in states.items():
        for target in follows[name]:
            if target not in states:
                yield f"{place}{name}: goes on to '{target}', which does not exist here"
        if name not in reached:
            yield f"{place}{name}: cannot be reached from {start}"
        if state.get("Type") in ("Task", "Map", "Wait") and ("Next" in state) == (state.get("End") is True):
            yield f"{place}{name}: needs exactly one of Next and End: true"
    if not any(state.get("Type") in ("Succeed", "Fail") or state.get("End") is True for state in states.values()):
        yield f"{place}States: none of them ends the machine"


def _state_problems(state: State, place: str, variables: frozenset[str]) -> Iterator[str]:
    kind = state.get("Type")
    if kind not in _FIELDS:
        yield f"{place}: states of Type {kind} are not run here"
        return
    yield from _field_problems(state, (_FIELDS[kind][0] | {"Type"}, _FIELDS[kind][1]), place)
    yield from _expression_problems(state, place, variables)
    if kind == "Task":
        yield from _task_problems(state, place)
    if kind == "Choice":
        if not state.get("Choices"):
            yield f"{place}/Choices: must not be empty"
        for index, rule in enumerate(state.get("Choices", [])):
            yield from _field_problems(rule, _RULE, f"{place}/Choices[{index}]")
    if kind == "Wait":
        yield from _number_problems(state, "Seconds", place, least=0)
    if kind == "Map":
        yield from _number_problems(state, "MaxConcurrency", place, least=0)
        yield from _map_problems(state, place, variables)
    for field, shape in (("Retry", _RETRIER), ("Catch", _CATCHER)):
        rules = state.get(field, [])
        for index, rule in enumerate(rules):
            yield from _rule_problems(rule, shape, f"{place}/{field}[{index}]", last=index == len(rules) - 1)


def _task_problems(state: State, place: str) -> Iterator[str]:
    if state.get("Resource") not in (INVOKE, INVOKE_AND_WAIT):
        yield f"{place}/Resource: '{state.get('Resource')}' is not run here"
    yield from _number_problems(state, "TimeoutSeconds", place, least=1)
    arguments = state.get("Arguments", {})
    yield from _field_problems(arguments, _ARGUMENTS, f"{place}/Arguments")
    if "${" in str(arguments.get("FunctionName", "")):
        yield f"{place}/Arguments/FunctionName: '{arguments['FunctionName']}' was not substituted"


def _map_problems(state: State, place: str, variables: frozenset[str]) -> Iterator[str]:
    processor = state.get("ItemProcessor", {})
    yield from _field_problems(processor, _PROCESSOR, f"{place}/ItemProcessor")
    config = processor.get("ProcessorConfig", INLINE)
    if config not in (INLINE, DISTRIBUTED):
        yield f"{place}/ItemProcessor/ProcessorConfig: only {INLINE} and {DISTRIBUTED} are run here"
    if "ItemReader" in state:
        reader = state["ItemReader"]
        yield from _field_problems(reader, _READER, f"{place}/ItemReader")
        if config != DISTRIBUTED:
            yield f"{place}/ItemReader: belongs to a distributed Map"
        if "Items" in state:
            yield f"{place}: has both Items and ItemReader"
        if reader.get("Resource") != GET_OBJECT or reader.get("ReaderConfig") != {"InputType": "JSON"}:
            yield f"{place}/ItemReader: only a JSON array by {GET_OBJECT} is read here"
        yield from _field_problems(
            reader.get("Arguments"), ({"Bucket", "Key"}, set()), f"{place}/ItemReader/Arguments"
        )
    # A child execution sees its input, and no variable of its parent's.
    seen = frozenset[str]() if config == DISTRIBUTED else variables
    yield from _scope_problems(processor, f"{place}/", seen)


def _rule_problems(rule: State, shape: tuple[set[str], set[str]], place: str, *, last: bool) -> Iterator[str]:
    yield from _field_problems(rule, shape, place)
    errors = rule.get("ErrorEquals") if isinstance(rule, dict) else None
    if not isinstance(errors, list) or not errors:
        yield f"{place}/ErrorEquals: must be a list of error names"
        return
    if "States.ALL" in errors and (errors != ["States.ALL"] or not last):
        yield f"{place}/ErrorEquals: States.ALL must stand alone and last"
    for field, least in (("IntervalSeconds", 1), ("MaxAttempts", 0), ("MaxDelaySeconds", 1)):
        if is_expression(rule.get(field)):
            yield f"{place}/{field}: cannot be an expression"
        yield from _number_problems(rule, field, place, least=least)
    if not isinstance(rate := rule.get("BackoffRate", 2), int | float) or rate < 1:
        yield f"{place}/BackoffRate: must be a number from 1"
    if rule.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
        yield f"{place}/JitterStrategy: must be NONE or FULL"


def _number_problems(state: State, field: str, place: str, *, least: int) -> Iterator[str]:
    value = state.get(field, least)
    if is_expression(value):
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MAX_SECONDS:
        yield f"{place}/{field}: must be an integer from {least} to {_MAX_SECONDS}, found {value!r}"


def _field_problems(value: object, shape: tuple[set[str], set[str]], place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: must be an object"
        return
    required, optional = shape
    for field in sorted(required - value.keys()):
        yield f"{place}: lacks {field}"
    for field in sorted(value.keys() - required - optional - {"Comment"}):
        yield f"{place}: has the field {field}, which is not run here"


def _expression_problems(state: State, place: str, variables: frozenset[str]) -> Iterator[str]:
    for location, text in _strings({key: value for key, value in state.items() if key != "ItemProcessor"}, place):
        problem = syntax_problem(text)
        if problem:
            yield f"{location}: {problem}"
        elif is_expression(text):
            for name in sorted(free_names(text) - variables - FUNCTIONS - {"states"}):
                yield f"{location}: uses ${name}, which no state assigns"


def _strings(value: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{place}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "Comment":
                yield from _strings(item, f"{place}/{key}")


def _assigned(state: State) -> Iterator[str]:
    for fields in (state, *state.get("Choices", []), *state.get("Catch", [])):
        yield from fields.get("Assign", {})
