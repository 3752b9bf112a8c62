"""The API's description: beside what FastAPI knows, every status that an operation may answer."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

MEANING = {
    "400": "The body is not JSON",
    "401": "There is no token or signature, or it is not good",
    "403": "The caller has not the role",
    "404": "Nothing has this id",
    "409": "Too late, or not in this state",
    "413": "The body is too large",
    "422": "Not valid, or used before for something else",
    "429": "Too many attempts",
    "503": "Something that is needed is away; try again",
}
EVERYWHERE = ("413", "503")

PROBLEM = {
    "title": "Problem",
    "description": "RFC 9457",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def install(app: FastAPI) -> None:
    """Makes the application describe every answer that it may give."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    _complete(path, method, operation)
            schemas = schema["components"]["schemas"]
            schemas["Problem"] = PROBLEM
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    for status in _statuses(path, method, operation):
        answer: dict[str, Any] = {
            "description": MEANING[status],
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
        if status in ("429", "503"):
            answer["headers"] = {
                "Retry-After": {"description": "seconds", "schema": {"type": "string"}}
            }
        operation["responses"].setdefault(status, answer)


def _statuses(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    found = list(EVERYWHERE)
    if "security" in operation:
        found += ["401", "403"]
    if "requestBody" in operation:
        found += ["400"]
    if "requestBody" in operation or "parameters" in operation:
        found += ["422"]
    if "{" in path:
        found += ["401", "404"]
    if "{" in path and method == "post":
        found += ["403", "409"]
    if path.startswith("/approvals/{id}/deci") and method == "post":
        found += ["429"]
    return found
