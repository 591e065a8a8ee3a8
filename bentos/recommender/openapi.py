"""The OpenAPI document, made from the same models that check the requests."""

from __future__ import annotations

import functools
import json
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recsys.serving.schema import (
    BlockRequest,
    BlockResponse,
    Event,
    EventsRequest,
    EventsResponse,
    FeaturesRequest,
    FeaturesResponse,
    ItemsRequest,
    ItemsResponse,
    RecommendRequest,
    RecommendResponse,
)

_CALLS: Final[dict[str, tuple[str, type[BaseModel], type[BaseModel]]]] = {
    "/recommend": ("A slate for a user on a shelf", RecommendRequest, RecommendResponse),
    "/events": ("Record what happened; durable before it answers", EventsRequest, EventsResponse),
    "/items": (
        "Metadata of new or changed items; a new one is a candidate within seconds",
        ItemsRequest,
        ItemsResponse,
    ),
    "/block": ("What a person never wants to see, from the next slate on", BlockRequest, BlockResponse),
    "/features": ("Exactly the float32 values that ranking would see", FeaturesRequest, FeaturesResponse),
}
_ERRORS: Final = {
    "400": "not JSON",
    "401": "no key, or none of this service's, where it asks for one",
    "408": "the body did not arrive in time",
    "413": "the body is too large",
    "415": "the body is not application/json",
    "422": "a field is missing, unknown or out of range",
    "429": "too many requests at once, or of this caller",
    "500": "a fault of the service",
    "503": "starting, or a part it needs does not answer",
}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "request_id")},
        }
    },
}


@functools.cache
def document() -> bytes:
    """OpenAPI 3.1 as JSON."""
    models = [(model, "validation") for _, request, _ in _CALLS.values() for model in [request]]
    models += [(Event, "validation")]
    models += [(response, "serialization") for _, _, response in _CALLS.values()]
    names, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    definitions: dict[str, Any] = schemas["$defs"]
    # each event is checked by itself (a bad one costs only itself), so the request's own schema says only "a list"
    definitions["EventsRequest"]["properties"]["events"]["items"] = names[(Event, "validation")]
    definitions["Error"] = _ERROR
    security = {"key": {"type": "http", "scheme": "bearer", "description": "one of RECSYS_API_KEYS, where set"}}
    paths = {
        path: {
            "post": {
                "summary": summary,
                "operationId": path[1:],
                "requestBody": {"required": True, "content": _json(names[(request, "validation")])},
                "responses": {
                    "200": {"description": "the answer", "content": _json(names[(response, "serialization")])},
                    **{
                        status: {"description": words, "content": _json({"$ref": "#/components/schemas/Error"})}
                        for status, words in _ERRORS.items()
                    },
                },
            }
        }
        for path, (summary, request, response) in _CALLS.items()
    }
    info = {"title": "Recommender", "version": "1", "description": "The same calls over gRPC: recsys.v1.Recommender."}
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": info,
            "paths": paths,
            "components": {"schemas": definitions, "securitySchemes": security},
            "security": [{}, {"key": []}],
        }
    ).encode()


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
