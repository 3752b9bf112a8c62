"""The proxy: every call goes through as raw bytes, and what the rules mean meets its rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc

from conformance.gates.board import Board
from conformance.gates.calls import READ, Calls
from conformance.gates.uplink import CUT, UNLIMITED, Metadata, Sidecar, Uplink
from conformance.gates.work import Work

SERVER = [
    *UNLIMITED,
    ("grpc.so_reuseport", 0),
    # Who pings often is none of the gate's business.
    ("grpc.http2.max_ping_strikes", 0),
]
OWN = ("user-agent", "content-type", "te")  # of each connection


class Proxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Stands between workers and one sidecar; counts calls and messages by method."""

    def __init__(self, listen: str, upstream: str, board: Board) -> None:
        self.calls: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.sidecar = Sidecar(upstream, board)
        self.work = Work(self.sidecar, board, self.messages)
        self._calls = Calls(self.sidecar, board, self.messages)
        self._server = grpc.aio.server(options=SERVER)
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(listen)

    async def start(self) -> None:
        """Begins to take calls."""
        await self._server.start()

    async def stop(self) -> None:
        """Ends at once; what is under way is lost."""
        await self._server.stop(None)
        await self.sidecar.close()

    def service(self, details: Any) -> Any:
        """How a call is handled, as grpc asks for it."""
        method: str = details.method
        name = method.rpartition("/")[2]
        self.calls[name] += 1
        link = self.sidecar.link
        if link is None:
            return grpc.stream_stream_rpc_method_handler(_refuse)
        metadata = tuple(
            (key, value)
            for key, value in details.invocation_metadata
            if not key.startswith((":", "grpc-")) and key not in OWN
        )
        given = (link, method, metadata)
        if name == "GetWorkItems":
            return grpc.unary_stream_rpc_method_handler(partial(self.work.serve, *given))
        if name in READ:
            return grpc.unary_unary_rpc_method_handler(partial(self._calls.serve, *given))
        return grpc.stream_stream_rpc_method_handler(partial(self._any, *given))

    async def _any(
        self, link: Uplink, method: str, metadata: Metadata, requests: Any, context: Any
    ) -> None:
        name = method.rpartition("/")[2]

        async def counted() -> AsyncIterator[bytes]:
            async for request in requests:
                self.messages[name] += 1
                yield request

        async with link.carries(context):
            call = link.channel.stream_stream(method)(
                counted(), metadata=metadata, timeout=context.time_remaining()
            )
            async for response in call:
                self.messages[name] += 1
                await context.write(response)
            context.set_trailing_metadata(tuple(await call.trailing_metadata() or ()))


async def _refuse(_: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, CUT)
