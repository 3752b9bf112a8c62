"""Answers that are not the provider's: RFC 9457 problem details."""

import json
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from downstream.journal import JournalError


class Problem(Exception):
    """Raised to answer `status` with a problem of the type `urn:downstream:<word>`."""

    def __init__(
        self, status: int, word: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.word = word
        self.detail = detail
        self.headers = headers

    def response(self) -> Response:
        """The problem as it leaves."""
        body = {
            "type": f"urn:downstream:{self.word}",
            "title": _title(self.status),
            "status": self.status,
            "detail": self.detail,
        }
        return Response(json.dumps(body), self.status, self.headers, "application/problem+json")


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown status"


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, problem: Problem) -> Response:
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        return Problem(422, "invalid", "; ".join(lines)).response()

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return Problem(error.status_code, "http", str(error.detail), headers).response()

    @app.exception_handler(JournalError)
    async def _journal(_: Request, error: JournalError) -> Response:
        return Problem(503, "journal", str(error)).response()
