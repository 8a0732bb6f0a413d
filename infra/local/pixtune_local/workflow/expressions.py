"""JSONata in, plain JSON out: the part of the language that states write between `{%` and `%}`."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, TypeAlias

from jsonata.jsonata import Jsonata
from jsonata.utils import Utils

from pixtune_local.workflow.faults import DATA_LIMIT_EXCEEDED, QUERY_EVALUATION, Fault

# A JSON value whose shape only the definition knows: Any, because every state decides it anew.
Value: TypeAlias = Any

PAYLOAD_BYTES = 262_144  # Step Functions quota: input or output of a task, state or execution, UTF-8
# Step Functions leaves `$eval` out of JSONata 2.0.6; its own additions ($parse, $uuid, ...) are not implemented here.
FUNCTIONS = frozenset(Jsonata.static_frame.bindings) - {"eval"}


class _Compiled(threading.local):
    """Parsed expressions. The library keeps evaluation state per thread, so each thread parses its own."""

    def __init__(self) -> None:
        self.by_text: dict[str, Jsonata] = {}


_compiled = _Compiled()


def is_expression(value: object) -> bool:
    return isinstance(value, str) and value.startswith("{%") and value.endswith("%}")


def syntax_problem(value: str) -> str | None:
    """Why a string cannot be evaluated, or None when it can, or is plain text."""
    if not is_expression(value):
        broken = value.startswith("{%") or value.endswith("%}")
        return "has only one of the two marks {% and %}" if broken else None
    try:
        Jsonata(value[2:-2])
    except Exception as error:  # noqa: BLE001 - the library raises its own and Python's errors alike
        return f"is not JSONata: {error}"
    return None


def free_names(value: str) -> set[str]:
    """The `$names` a well-formed expression takes from outside: variables and functions."""
    used: set[str] = set()
    bound: set[str] = set()
    seen: set[int] = set()
    # Any: the library's syntax tree has no types.
    todo: list[Any] = [Jsonata(value[2:-2]).ast]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
        elif hasattr(node, "type") and id(node) not in seen:
            seen.add(id(node))
            if node.type == "variable":
                used.add(node.value)
            if node.type == "bind":
                bound.add(node.lhs.value)
            if node.type == "lambda":
                bound.update(argument.value for argument in node.arguments)
            todo.extend(vars(node).values())
    return used - bound - {"", "$"}


def evaluate(template: Value, variables: Mapping[str, Value], states: Mapping[str, Value], location: str) -> Value:
    """The template with each expression in it replaced by its value.

    `states` is what `$states` holds here (input, result, errorOutput, context); `location` names the field in the
    cause. Raises Fault(States.QueryEvaluationError) for an expression that fails or has no JSON value.
    """
    if isinstance(template, dict):
        return {key: evaluate(item, variables, states, f"{location}/{key}") for key, item in template.items()}
    if isinstance(template, list):
        return [evaluate(item, variables, states, f"{location}[{index}]") for index, item in enumerate(template)]
    if not is_expression(template):
        return template
    text = template[2:-2]
    try:
        expression = _compiled.by_text.get(text)
        if expression is None:
            expression = _compiled.by_text[text] = Jsonata(text)
            expression.set_output_convert_nulls(False)  # or null and undefined would both come back as None
        bound = {name: Utils.NULL_VALUE if value is None else value for name, value in variables.items()}
        value = expression.evaluate(None, {**bound, "states": dict(states)})
    except Exception as error:
        raise _failed(text, location, f"threw an error: {error}") from error
    if value is None:
        raise _failed(text, location, "returned nothing (undefined)")
    try:
        return json.loads(json.dumps(value, default=_null, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise _failed(text, location, "returned something that is not JSON") from error


def encode(value: Value, what: str) -> str:
    """The value as JSON text. Raises Fault(States.DataLimitExceeded) above 256 KiB; `what` names it there."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > PAYLOAD_BYTES:
        raise Fault(
            DATA_LIMIT_EXCEEDED, f"{what} has {size} bytes, more than the {PAYLOAD_BYTES} a payload may have."
        )
    return text


def _null(value: object) -> None:
    if value is not Utils.NULL_VALUE:
        raise TypeError(f"{type(value).__name__} is not JSON")


def _failed(text: str, location: str, how: str) -> Fault:
    return Fault(QUERY_EVALUATION, f"The JSONata expression '{text.strip()}' of the field '{location}' {how}.")
