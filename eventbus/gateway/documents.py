"""Documents: what the gateway tells of itself: the types, OpenAPI's answers and bodies, AsyncAPI. Made from what is registered."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic_core import to_json

from eventbus import Event, event_types
from eventbus.gateway.bodies import TypeBody, Types
from eventbus.gateway.problems import MEDIA_TYPE, ProblemBody
from eventbus.gateway.settings import VERSION

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SAYS = {
    304: "As it was: the ETag that was sent is still true.",
    400: "It cannot be read.",
    401: "No token, or none that is valid.",
    403: "The token may not do this, or the page may not come in.",
    404: "There is no such thing.",
    409: "Not as things are.",
    410: "No longer kept.",
    413: "Too large.",
    415: "Not plain JSON.",
    421: "Another Host.",
    422: "A field is wrong.",
    429: "Too often: see Retry-After.",
    431: "The head is too large.",
    503: "Not now: see Retry-After.",
}

Answers = dict[int | str, dict[str, Any]]


def answers(*statuses: int) -> Answers:
    """What else a route may answer, for its OpenAPI document."""
    bodies: dict[str, Any] = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemBody.__name__}"}}}
    return {
        status: {"description": _SAYS[status]} | ({} if status == 304 else {"content": bodies}) for status in statuses
    }


EVERYWHERE = answers(400, 401, 403, 421, 429, 431, 503)
"""What any route may answer."""


def takes(model: type[BaseModel], *, several: int = 0) -> dict[str, Any]:
    """The body of a route that reads it itself, for its OpenAPI document; with `several`, a list of up to so many, too."""
    one = _flat(model)
    schema = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": several}]} if several else one
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _flat(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    if "payload" in schema["properties"]:
        schema["properties"]["payload"] |= {"additionalProperties": {"$ref": "#/components/schemas/JsonValue"}}
    return schema


_VALUE = {"$ref": "#/components/schemas/JsonValue"}
_JSON_VALUE = {
    "title": "JsonValue",
    "anyOf": [
        {"type": ["null", "boolean"]},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "number", "minimum": -sys.float_info.max, "maximum": sys.float_info.max},
        {"type": "string", "maxLength": 16_384},
        {"type": "array", "items": _VALUE},
        {"type": "object", "additionalProperties": _VALUE, "maxProperties": 256},
    ],
}
"""What a payload may hold: no integer beyond 64 bits, no text beyond 64 KiB."""


def as_it_is(document: dict[str, Any], *, asks: bool, metrics_ask: bool) -> dict[str, Any]:
    """FastAPI's document, with our problem bodies in place of its own, and no token where none is asked for."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas[ProblemBody.__name__] = ProblemBody.model_json_schema()
    schemas["JsonValue"] = _JSON_VALUE
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if "422" in operation["responses"]:
                operation["responses"]["422"] = answers(422)[422]
            if not (metrics_ask if path == "/metrics" else asks):
                operation.pop("security", None)
    if not asks:
        components.pop("securitySchemes", None)
    return document


def tagged(request: Request, document: Any) -> Response:
    """A document with its ETag; 304 for who has it."""
    body = to_json(document)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    asked = request.headers.get("if-none-match", "")
    if etag in (part.strip().removeprefix("W/") for part in asked.split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(body, media_type="application/json", headers={"ETag": etag})


def types_of(is_publishable: Callable[[str], bool]) -> Types:
    """Every registered type but those of the package itself that carry nothing."""
    return Types(
        types=[
            TypeBody(
                type=cls.type,
                version=cls.__event__.version,
                kind=cls.__event__.kind,
                key=cls.__event__.key,
                retain=cls.__event__.retain,
                publishable=is_publishable(cls.type),
                description=(cls.__doc__ or "").strip().partition("\n")[0],
                payload_schema=_payload_schema(cls),
            )
            for cls in event_types()
            if cls.__event__.type not in ("ad-hoc", "eventbus.request")
        ]
    )


@lru_cache(maxsize=10_000)
def _payload_schema(cls: type[Event]) -> dict[str, Any]:
    """The fields of the class without the header. A class that cannot be told so takes any object."""
    try:
        whole = cls.model_json_schema(mode="serialization", ref_template="#/$defs/{model}")
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return {"type": "object"}
    fields = set(cls.__event__.fields)
    schema: dict[str, Any] = {
        "$schema": _DIALECT,
        "type": "object",
        "properties": {name: field for name, field in whole.get("properties", {}).items() if name in fields},
        "required": [name for name in whole.get("required", []) if name in fields],
        "additionalProperties": False,
    }
    return schema | ({"$defs": whole["$defs"]} if "$defs" in whole else {})


def asyncapi(types: Types) -> dict[str, Any]:
    """The types as an AsyncAPI 3 document: a channel each, which the gateway sends, and those that may be published receives."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for one in types.types:
        name = "".join(character if character.isalnum() else "_" for character in one.type)
        while name in messages:
            name += "_"
        channels[name] = {
            "address": one.type,
            "title": one.type,
            "description": one.description,
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        channel = {"$ref": f"#/channels/{name}"}
        operations[f"send_{name}"] = {"action": "send", "channel": channel}
        if one.publishable:
            operations[f"receive_{name}"] = {"action": "receive", "channel": channel}
        messages[name] = {
            "name": one.type,
            "title": one.type,
            "summary": one.description,
            "contentType": "application/json",
            "payload": {"schemaFormat": "application/schema+json;version=draft-07", "schema": _defined(one)},
            "x-version": one.version,
            "x-kind": one.kind,
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "eventbus gateway",
            "version": VERSION,
            "description": "Events as they come over the WebSocket, and as POST /api/v1/events takes them.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _defined(one: TypeBody) -> dict[str, Any]:
    """The schema by itself: what it refers to is inside of it."""
    return {name: value for name, value in one.payload_schema.items() if name != "$schema"}
