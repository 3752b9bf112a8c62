"""Errors as RFC 9457 problem documents. No input makes a 500, and no document echoes its input."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import exc
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from store import unavailable
from store.records import Conflict
from workflows import UnknownKind

log = logging.getLogger(__name__)

RETRY_AFTER = "5"  # seconds
TYPE = "https://steadfast.dev/problems/"


class Problem(Exception):
    """An error that knows its status and its `type`."""

    def __init__(
        self,
        status: int,
        name: str,
        title: str,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.headers = headers


def document(
    status: int, name: str, title: str, detail: str | None = None, **more: Any
) -> JSONResponse:
    """The response for a problem."""
    content = {"type": TYPE + name, "title": title, "status": status, **more}
    if detail:
        content["detail"] = detail
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else None
    return JSONResponse(content, status, headers, media_type="application/problem+json")


async def _problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    answer = document(error.status, error.name, error.title, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _conflict(_: Request, error: Exception) -> JSONResponse:
    return document(422, "conflict", "Used before for something else", str(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # Only where and why, never the value: it may be secret, huge, or not encodable at all.
    errors = [
        {"at": ".".join(str(part) for part in item["loc"])[:200], "why": item["msg"][:500]}
        for item in error.errors()[:20]
    ]
    malformed = any(item["type"] == "json_invalid" for item in error.errors())
    title = "Not JSON" if malformed else "Not valid"
    return document(400 if malformed else 422, "invalid", title, errors=_encodable(errors))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    answer = document(error.status_code, f"http-{error.status_code}", str(error.detail))
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(sorted(_allowed(request)))
    return answer


def _allowed(request: Request) -> set[str]:
    # Each route knows its own methods alone; a path may have several.
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [one for one in routes if one.matches(request.scope)[0] is not Match.NONE]
    return {method for route in matching for method in route.methods or ()}


async def _store(_: Request, error: Exception) -> JSONResponse:
    if not unavailable(error):
        raise error
    log.warning("the store is away: %s", type(error).__name__)
    return document(503, "store-unavailable", "Try again", "the store does not answer")


async def _unknown_kind(_: Request, error: Exception) -> JSONResponse:
    # While replicas are replaced: one that has the newer release knows it.
    return document(503, "unknown-kind", "Try again", str(error))


async def _bug(_: Request, error: Exception) -> JSONResponse:
    return document(500, "internal", "Our mistake")


def _encodable(errors: list[dict[str, str]]) -> list[dict[str, str]]:
    return [
        {name: text.encode("utf-8", "replace").decode() for name, text in item.items()}
        for item in errors
    ]


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(Conflict, _conflict)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (exc.SQLAlchemyError, OSError):
        app.add_exception_handler(kind, _store)
    app.add_exception_handler(UnknownKind, _unknown_kind)
    app.add_exception_handler(Exception, _bug)
