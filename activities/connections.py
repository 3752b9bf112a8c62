"""How providers are reached over the network: aiohttp's connections behind httpx's transport.

httpx looks through its whole pool at each request, in Python. With 64 requests at once that took
most of what a call cost us.
"""

from __future__ import annotations

from functools import cache
from ssl import SSLContext

import aiohttp
import httpx

KEPT = 5.0  # seconds that an idle connection is kept


class Connections(httpx.AsyncBaseTransport):
    """At most `limit` connections, of the event loop that first uses them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request, and reads the whole answer.

        Raises:
            TransportError: there is no answer, or not in time.
        """
        limits = request.extensions.get("timeout", {})
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=limits.get("pool"),
            sock_connect=limits.get("connect"),
            sock_read=limits.get("read"),
        )
        self._session = self._session or _session(self._limit)
        try:
            async with self._session.request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=await request.aread(),
                allow_redirects=False,
                timeout=timeout,
            ) as answer:
                content = await answer.read()
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error), request=request) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(str(error), request=request) from error
        return httpx.Response(answer.status, headers=list(answer.raw_headers), content=content)

    async def aclose(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()


def _session(limit: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, keepalive_timeout=KEPT, ssl=_tls()),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # httpx does
        skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
        trust_env=True,  # proxies, as httpx had them
    )


@cache
def _tls() -> SSLContext:
    # Reading the certificates takes 20 ms; a context may serve any number of clients.
    return httpx.create_ssl_context()
