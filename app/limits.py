"""Refuses large bodies before they are read: documents do not travel through workflows."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import document

MAX_BODY = 64 * 1024  # bytes; the engine stalls on payloads of a few MiB, so stay far below


class BodyLimit:
    """ASGI middleware: 413 as soon as more than `MAX_BODY` bytes are declared, or come.

    It reads the whole body before the application sees any of it: a limit that struck in the
    middle would be caught there as a broken body, and answered as one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with its body, unless that is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = declared.isdigit() and int(declared[:20]) > MAX_BODY
        messages: list[Message] = []
        size, more = 0, True
        while more and not too_large:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            too_large = size > MAX_BODY
            more = message.get("more_body", False)
        if too_large:
            detail = f"at most {MAX_BODY} bytes are accepted"
            await document(413, "too-large", "Body too large", detail)(scope, receive, send)
            return

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)
