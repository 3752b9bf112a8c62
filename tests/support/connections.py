"""A server that says what a test has it say, and leaves nothing behind when the test is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[str]:
    """The address of a server that gives each connection to `serve`, and then closes it.

    A connection that outlives its event loop is collected in some later test, which fails for it.
    """
    connections: dict[asyncio.Future[None], asyncio.StreamWriter] = {}

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(serve(reader, writer))
        serving.add_done_callback(lambda _: writer.close())
        connections[serving] = writer

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for serving, writer in connections.items():
            serving.cancel()
            writer.transport.abort()
        closed = (writer.wait_closed() for writer in connections.values())
        for each in await asyncio.gather(*connections, *closed, return_exceptions=True):
            if isinstance(each, Exception) and not isinstance(each, OSError | EOFError):
                raise each
