"""A WSGI application served on the loopback interface, whose answers can be made to fail."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import make_server

#: What happens to a request: nothing, or the name of a fault.
Fault = Callable[[dict[str, Any]], str]

STATUS = {
    "401": "401 Unauthorized",
    "403": "403 Forbidden",
    "404": "404 Not Found",
    "429": "429 Too Many Requests",
    "500": "500 Internal Server Error",
    "503": "503 Slow Down",
}


def _none(_environ: dict[str, Any]) -> str:
    return ""


class Serving:
    """An application behind faults.

    Attributes
    ----------
    fault
        Called with the WSGI environment of each request; returns ``""``, a key of `STATUS`, ``slow``, ``cut``: the
        connection ends in the middle of the request, or ``lost``: it is done, and the connection ends before the
        answer.
    requests
        Methods and paths of the requests so far.
    """

    def __init__(self, app: Any) -> None:
        self.fault: Fault = _none
        self.requests: list[tuple[str, str]] = []
        self._app = app
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        # It looks for the end that often, in seconds.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

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
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        fault = self.fault(environ)
        if fault in STATUS:
            start(STATUS[fault], [("Content-Length", "0")])
            return []
        if fault == "slow":
            time.sleep(0.2)
        elif fault == "cut":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            _end(environ)
            return []
        elif fault == "lost":
            list(self._app(environ, lambda *_: None))
            _end(environ)
            return []
        answer: Iterable[bytes] = self._app(environ, start)
        return answer


def _end(environ: dict[str, Any]) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
