"""Refuses large bodies before they are read: documents do not travel through workflows."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import document

MAX_BODY = 64 * 1024  # bytes; the engine stalls on payloads of a few MiB, so stay far below


class _TooLarge(Exception):
    pass


class BodyLimit:
    """ASGI middleware: 413 as soon as more than `MAX_BODY` bytes are declared, or come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, counting what is read of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        received, started = 0, False

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise _TooLarge
            return message

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if declared.isdigit() and int(declared[:20]) > MAX_BODY:
                raise _TooLarge
            await self._app(scope, counting, noting)
        except _TooLarge:
            if started:
                raise
            response = document(
                413, "too-large", "Body too large", f"at most {MAX_BODY} bytes are accepted"
            )
            await response(scope, receive, send)
