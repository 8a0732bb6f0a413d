"""What all routes share: a request's JSON body and whole-number parameters, and one page of a list."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from pixtune_local.provider.refusals import Refused
from pixtune_local.provider.store import Document


async def json_body(request: Request) -> dict[str, Any]:
    """The body as an object; its fields are checked by whoever reads them. Raises Refused."""
    try:
        body = await request.json()
    except ValueError as error:
        raise Refused(f"We could not parse the JSON body of your request ({error}).") from error
    if not isinstance(body, dict):
        raise Refused("The body of your request must be a JSON object.")
    return body


def _integer(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refused(f"{name} is {text!r}, expected a number from 1 to {most}.", param=name)
    return int(text)


def page(request: Request, found: list[Document], default: int, most: int) -> JSONResponse:
    """One page of a list: `limit` items following the item whose id is `after`."""
    after = request.query_params.get("after")
    start = 0
    if after is not None:
        start = next((index + 1 for index, item in enumerate(found) if item["id"] == after), -1)
        if start < 0:
            raise Refused(f"No item with id {after} in this list.", param="after", status=404)
    shown = found[start : start + _integer(request, "limit", default, most)]
    ends = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
    return JSONResponse({"object": "list", "data": shown, "has_more": start + len(shown) < len(found), **ends})
