"""Responses that a script wants: errors, silence, and bodies that are never sent."""

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from downstream.problems import Problem
from downstream.script import Then


class LostResponse(Response):
    """Promises a body and sends none of it, so that the server cuts the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begins the response and ends without completing it."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})


def scripted(status: int, then: Then) -> Response:
    """An error that only the script wants: nothing has failed."""
    headers = {} if then.retry_after is None else {"Retry-After": str(then.retry_after)}
    return Problem(status, "scripted", "the script wants it so", headers).response()


async def client_disconnected(request: Request) -> None:
    """Waits until the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
