"""The OpenAPI document, made from the same models and rules that check the requests."""

from __future__ import annotations

import functools
import json
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bentos.recommender.rooms import RoomsResponse
from recsys.policy.shelves import SHELVES
from recsys.serving.diff import DiffRequest, DiffResponse
from recsys.serving.inspected import InspectRequest, InspectResponse
from recsys.serving.rooms import FindRequest, FindResponse, ItemRequest, ItemResponse, RoomsRequest
from recsys.serving.schema import (
    BatchRequest,
    BatchResponse,
    BlockRequest,
    BlockResponse,
    BlocksRequest,
    BlocksResponse,
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
from recsys.vocabulary import RULES

_EVENT: Final = {"event_id": "e1", "kind": "click", "user_id": "u000001", "item_id": "i000001", "shelf": "feed"}
# path -> summary, request, response, an example of the request
_CALLS: Final[dict[str, tuple[str, type[BaseModel], type[BaseModel], dict[str, Any]]]] = {
    "/recommend": (
        "A slate for a user on a shelf",
        RecommendRequest,
        RecommendResponse,
        {"user_id": "u000001", "shelf": "feed", "k": 5, "context": {"device": "ios"}},
    ),
    "/recommend/batch": (
        "Several slates at once, each with a time and a rung of its own",
        BatchRequest,
        BatchResponse,
        {"requests": [{"user_id": "u000001", "k": 5}, {"user_id": "u000002", "k": 5}]},
    ),
    "/events": (
        "Record what happened; durable before it answers",
        EventsRequest,
        EventsResponse,
        {"events": [_EVENT]},
    ),
    "/items": (
        "Metadata of new or changed items; a new one is a candidate within seconds",
        ItemsRequest,
        ItemsResponse,
        {"items": [{"item_id": "i000001", "item_type": "video", "title": "A title", "duration_ms": 60_000}]},
    ),
    "/block": (
        "What a person never wants to see, from the next slate on",
        BlockRequest,
        BlockResponse,
        {"user_id": "u000001", "block": {"item_ids": ["i000001"]}},
    ),
    "/blocks": (
        "What is blocked for a person now",
        BlocksRequest,
        BlocksResponse,
        {"user_id": "u000001"},
    ),
    "/inspect": (
        "A recommend looked into: candidates, sources, what was left out, parts of the scores; writes nothing",
        InspectRequest,
        InspectResponse,
        {"user_id": "u000001", "k": 5},
    ),
    "/find": ("Users, items and past requests by a few letters", FindRequest, FindResponse, {"what": "users"}),
    "/item": (
        "All about one item: neighbours, counters by day, shelves",
        ItemRequest,
        ItemResponse,
        {"item_id": "i000001"},
    ),
    "/diff": (
        "The last requests on two bundles: how slates, predictions and time differ, by cohort; writes nothing",
        DiffRequest,
        DiffResponse,
        {"bundle": "0123456789abcdef", "other": "fedcba9876543210"},
    ),
    "/rooms": ("Shelves, versions and health, as the page shows them", RoomsRequest, RoomsResponse, {}),
    "/features": (
        "Exactly the float32 values that ranking would see",
        FeaturesRequest,
        FeaturesResponse,
        {"user_id": "u000001", "item_ids": ["i000001"]},
    ),
}
_GETS: Final = {  # path -> summary, statuses, content type
    "/livez": ("The process lives: start it again where this does not answer", ("200",), "application/json"),
    "/readyz": ("It answers, and what it does without; `?full` refuses where that is anything", ("200", "503"), None),
    "/healthz": ("As /readyz", ("200", "503"), None),
    "/version": ("Versions of the interface, the program and the bundle", ("200",), None),
    "/metrics": ("For Prometheus", ("200", "401", "429"), "text/plain"),
    "/openapi.json": ("This document", ("200",), None),
    "/": ("The page: see why, ask what if", ("200",), "text/html"),
}
_ERRORS: Final = {
    "400": "not JSON",
    "401": "no key, or none of this service's, where it asks for one",
    "403": "a key of another role; or, without keys, a look into people's data from another machine",
    "404": "there is no such path",
    "405": "the path takes another method",
    "408": "the body did not arrive in time",
    "413": "the body is too large",
    "415": "the body is not application/json",
    "422": "a field is missing, unknown or out of range",
    "429": "too many requests at once, or of this caller",
    "500": "a fault of the service",
    "503": "starting or ending, or a part it needs does not answer",
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
_SAID_ID: Final = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 128, "pattern": "^[!-~]+$"},
    "description": "the caller's own id of the request: logged and sent back, and nothing is drawn by it",
}


@functools.cache
def document() -> bytes:
    """OpenAPI 3.1 as JSON."""
    models = [(request, "validation") for _, request, _, _ in _CALLS.values()]
    models += [(Event, "validation")]
    models += [(response, "serialization") for _, _, response, _ in _CALLS.values()]
    names, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    definitions: dict[str, Any] = schemas["$defs"]
    # each event is checked by itself (a bad one costs only itself), so the request's own schema says only "a list"
    definitions["EventsRequest"]["properties"]["events"]["items"] = names[(Event, "validation")]
    _say_rules(definitions["Event"]["properties"])
    definitions["RecommendRequest"]["properties"]["shelf"]["examples"] = list(SHELVES)
    definitions["Error"] = _ERROR
    info = {
        "title": "Recommender",
        "version": "1",
        "description": "The same calls over gRPC: recsys.v1.Recommender. A path without /v1 is that of version 1.",
    }
    paths: dict[str, Any] = {
        path: {
            "post": {
                "summary": summary,
                "operationId": path[1:].replace("/", "_"),
                "parameters": [_SAID_ID],
                "requestBody": {"required": True, "content": _json(names[(request, "validation")], example)},
                "responses": {
                    "200": {"description": "the answer", "content": _json(names[(response, "serialization")])},
                    **_errors(*_ERRORS),
                },
            }
        }
        for path, (summary, request, response, example) in _CALLS.items()
    }
    for path, (summary, statuses, content_type) in _GETS.items():
        answer = {content_type or "application/json": {"schema": {"type": "string"} if content_type else {}}}
        paths[path] = {
            "get": {
                "summary": summary,
                "operationId": f"get_{path[1:].split('.')[0] or 'page'}",
                "responses": {"200": {"description": "the answer", "content": answer}, **_errors(*statuses[1:])},
                **({"security": [{}]} if path != "/metrics" else {}),
            }
        }
    key = {"type": "http", "scheme": "bearer", "description": "one of RECSYS_API_KEYS, where set"}
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": info,
            "servers": [{"url": "/v1"}],
            "paths": paths,
            "components": {"schemas": definitions, "securitySchemes": {"key": key}},
            "security": [{}, {"key": []}],
        }
    ).encode()


def _say_rules(properties: dict[str, Any]) -> None:
    """What an event may be, out of the rules by which it is taken in."""
    for rule in RULES:
        for branch in _branches(properties.get(rule.field, {})):
            if rule.test == "unknown":
                branch["enum"] = list(rule.bound)
            elif rule.test == "long" and branch.get("type") == "string":
                branch["maxLength"] = rule.bound
            elif rule.test == "below" and branch.get("type") == "integer":
                branch["minimum"] = max(rule.bound, branch.get("minimum", rule.bound))
            elif rule.test == "over" and branch.get("type") == "integer":
                branch["maximum"] = min(rule.bound, branch.get("maximum", rule.bound))


def _branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a schema, itself where it has none."""
    inner = [branch for part in schema.get("anyOf", ()) for branch in _branches(part)]
    return inner or [schema]


def _errors(*statuses: str) -> dict[str, Any]:
    content = _json({"$ref": "#/components/schemas/Error"})
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}


def _json(schema: dict[str, Any], example: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"application/json": {"schema": schema, **({"example": example} if example else {})}}
