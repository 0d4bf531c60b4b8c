"""An S3 server on the loopback interface, whose answers can be made to fail."""

import logging
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"

#: What happens to a request: nothing, or the name of a fault.
Fault = Callable[[dict[str, Any]], str]


def _none(_environ: dict[str, Any]) -> str:
    return ""


class Server:
    """A server of moto behind faults.

    Attributes
    ----------
    fault
        Called with the WSGI environment of each request; returns ``""``, ``503``, ``403``, ``slow``, or ``cut``: the
        connection ends in the middle of the request.
    requests
        Methods and paths of the requests so far.
    """

    def __init__(self) -> None:
        self.fault: Fault = _none
        self.requests: list[tuple[str, str]] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT"))

    @property
    def options(self) -> dict[str, str]:
        """Options of the store."""
        return {"endpoint": self.endpoint, "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b"}

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Let requests fail for the length of a context."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = _none

    def stop(self) -> None:
        self._server.shutdown()

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        fault = self.fault(environ)
        if fault == "slow":
            time.sleep(0.2)
        elif fault == "cut":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            connection = environ["werkzeug.socket"]
            connection.shutdown(socket.SHUT_RDWR)
            return []
        elif fault:
            start({"503": "503 Slow Down", "403": "403 Forbidden"}[fault], [("Content-Length", "0")])
            return []
        answer: Iterable[bytes] = self._app(environ, start)
        return answer
