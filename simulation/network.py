"""Messages between everybody: they take a moment, and meet what the schedule has for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import httpx

from simulation.idlers import failed
from simulation.loop import Loop, Process, current, spawn
from simulation.schedule import Message

T = TypeVar("T")

LATENCY = 0.004  # seconds, at most, one way


class Lost(Exception):
    """No answer came back; whether the other end did what it was asked is unknown."""


class Refused(Exception):
    """Nothing listens there."""


@dataclass
class Rule:
    """A disturbance of messages, and what is left of it."""

    spec: Message
    number: int
    seen: int = 0


class Network:
    """Every link between the parts."""

    def __init__(self, loop: Loop, chance: Random, fired: Callable[[int, str], None]) -> None:
        self._loop = loop
        self._chance = chance
        self._fired = fired
        self._rules: list[Rule] = []
        self._servers: list[Server] = []

    def add(self, server: Server) -> Server:
        """A server listens from now on."""
        self._servers.append(server)
        return server

    def cut(self, dead: Process) -> None:
        """A process is dead: everybody who is connected with it learns of it."""
        self._servers = [each for each in self._servers if not each.cut(dead)]

    def disturb(self, number: int, spec: Message) -> None:
        """From now on messages meet this."""
        self._rules.append(Rule(spec, number))

    async def ask(self, link: str, what: str, deliver: Callable[[], Awaitable[T]]) -> T:
        """Carries a request over a link, and its answer back.

        Raises:
            Lost: the request or the answer was lost.
        """
        fault, seconds = self._fault_on(link, what)
        await self._loop.delay(self._chance.random() * LATENCY)
        if fault == "delay":
            await self._loop.delay(seconds)
        if fault == "lose_request":
            await self._loop.delay(seconds)
            raise Lost(what)
        if fault == "repeat":
            again = asyncio.ensure_future(_silently(deliver()))
            again.add_done_callback(lambda _: None)
        answer = await deliver()
        await self._loop.delay(self._chance.random() * LATENCY)
        if fault == "lose_response":
            await self._loop.delay(seconds)
            raise Lost(what)
        return answer

    def _fault_on(self, link: str, what: str) -> tuple[str, float]:
        for rule in self._rules:
            if rule.spec.link != link or rule.spec.path not in what:
                continue
            rule.seen += 1
            left = rule.seen - rule.spec.nth
            if left == rule.spec.count - 1:
                self._rules.remove(rule)
            if left >= 0:
                self._fired(rule.number, f"{link} {rule.spec.fault} {what}")
                return rule.spec.fault, rule.spec.seconds
        return "", 0.0


async def _silently(work: Awaitable[Any]) -> None:
    try:
        await work
    except Exception:
        # The first copy's answer is the one that counts.
        return


@dataclass
class Reply:
    """An HTTP response, as far as it came: `whole` says whether it did."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False


class Server:
    """An ASGI application that runs in a context of its own, and may die while it serves."""

    def __init__(
        self,
        loop: Loop,
        app: Any,
        context: Context,
        process: Process | None = None,
        arrived: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.process = process
        self.changed_at = 0.0  # when anything else than a look at it was over
        self._loop = loop
        self._app = app
        self._context = context
        self._arrived = arrived
        self._open: dict[asyncio.Future[Reply], tuple[asyncio.Future[None], Process | None]] = {}

    async def serve(self, method: str, url: httpx.URL, headers: Any, body: bytes) -> Reply:
        """One request, served in the server's own context.

        Raises:
            Refused: nothing listens there.
            Lost: the server died while it served, or cut the connection.
        """
        if self.process is not None and self.process.dead:
            raise Refused(url.path)
        answered: asyncio.Future[Reply] = self._loop.create_future()
        gone: asyncio.Future[None] = self._loop.create_future()
        self._open[answered] = gone, current.get()
        work = self._work(method, url, headers, body, answered, gone)
        spawn(self._loop, self._context, work)
        try:
            reply = await answered
        finally:
            self._open.pop(answered, None)
            if not gone.done():
                gone.set_result(None)
        if not reply.whole:
            raise Lost(url.path)
        return reply

    def cut(self, dead: Process) -> bool:
        """A process is dead: its peers learn that the connection is closed.

        Returns:
            Whether it was the server itself.
        """
        for answered, (gone, client) in list(self._open.items()):
            if dead is self.process and not answered.done():
                answered.set_result(Reply())
            if dead is client:
                del self._open[answered]
                if not gone.done():
                    gone.set_result(None)
        return dead is self.process

    async def _work(
        self,
        method: str,
        url: httpx.URL,
        headers: Any,
        body: bytes,
        answered: asyncio.Future[Reply],
        gone: asyncio.Future[None],
    ) -> None:
        if self._arrived is not None:
            await self._arrived(f"{method} {url.path}")
        reply, sent = Reply(), False
        scope = _scope(method, url, headers)

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.shield(gone)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = list(message.get("headers", ()))
            elif message["type"] == "http.response.body":
                reply.body += message.get("body", b"")
                reply.whole = not message.get("more_body", False)

        try:
            await self._app(scope, receive, send)
        except Exception:
            # The framework has answered 500 already, and raises for the server's own log.
            reply.whole = reply.status > 0
        if method != "GET":
            self.changed_at = self._loop.time()
        if not answered.done():
            answered.set_result(reply)


def _scope(method: str, url: httpx.URL, headers: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.split(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in headers],
        "server": (url.host, url.port),
        "client": ("127.0.0.1", 1),
    }


def _as_httpx(error: Exception, request: httpx.Request) -> httpx.TransportError:
    if isinstance(error, TimeoutError):
        return httpx.ReadTimeout("no answer", request=request)
    if isinstance(error, Refused):
        return httpx.ConnectError("connection refused", request=request)
    return httpx.RemoteProtocolError("connection closed", request=request)


class Transport(httpx.AsyncBaseTransport):
    """httpx over the simulated network: a link to the server of that moment."""

    def __init__(
        self,
        network: Network,
        link: str,
        server: Callable[[httpx.Request], Server | None],
        around: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self._network = network
        self._link = link
        self._server = server
        self._around = around

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange.

        Raises:
            ConnectError: nothing listens there.
            ReadTimeout: no answer within the client's own timeout.
            RemoteProtocolError: no whole answer.
        """
        what = f"{request.method} {request.url.path}"
        if self._around is not None:
            await self._around("request", what)
        body = await request.aread()
        timeout = request.extensions.get("timeout", {}).get("read")
        try:
            async with asyncio.timeout(timeout):
                reply = await self._network.ask(
                    self._link, what, lambda: self._exchange(request, body)
                )
        except (TimeoutError, Refused, Lost) as error:
            failed()
            raise _as_httpx(error, request) from error
        if reply.status >= 500:
            failed()
        if self._around is not None:
            await self._around("response", what)
        return httpx.Response(reply.status, headers=reply.headers, content=reply.body)

    async def _exchange(self, request: httpx.Request, body: bytes) -> Reply:
        server = self._server(request)
        if server is None:
            raise Refused(request.url.path)
        return await server.serve(request.method, request.url, request.headers.raw, body)
