"""A tiny application: alive at once, ready once its sidecar answers. Shows what it was given."""

import json
import os
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def sidecar_status() -> int:
    connection = HTTPConnection("127.0.0.1", int(os.environ["DAPR_HTTP_PORT"]), timeout=1)
    try:
        headers = {"dapr-api-token": os.environ["DAPR_API_TOKEN"]}
        connection.request("GET", "/v1.0/metadata", headers=headers)
        return connection.getresponse().status
    except OSError:
        return 503
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = sidecar_status() if self.path == "/readyz" else 200
        shown = {"env": dict(os.environ), "argv": sys.argv[1:]}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(shown).encode())

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    """As the application, with its port in the environment; as the witness, with flags."""
    flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    host = flags.get("--host") or os.environ["STEADFAST_HOST"]
    port = flags.get("--port") or os.environ["STEADFAST_PORT"]
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
