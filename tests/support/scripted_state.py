"""A service on a socket that answers as it is told: lists, and streams that break off.

For what the real service does only by accident: a stream that ends in the middle of a line,
silence, a position that has expired.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from support.state_items import Item

NDJSON: Final = "application/x-ndjson"


class Scripted:
    """What is answered, and what was asked."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Item]] = {"tasks": [], "instances": [], "clusters": []}
        """The items of each list."""
        self.position = "k3f9p2.10"
        self.page = 1000
        self.streams: list[Sequence[Item | bytes] | Item] = []
        """What each stream says before it is cut; an object is a problem instead of a stream."""
        self.answers: dict[str, tuple[int, Item]] = {}
        """METHOD PATH → status and body, in place of a list."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        """Paths and their queries, in order."""
        self.stay = threading.Event()
        """Set: streams with nothing left to say are cut."""

    def streamed(self) -> list[dict[str, str]]:
        """The queries of the streams that were asked for."""
        return [query for path, query in self.asked if path == "/v2/stream"]

    def answer(self, method: str, target: str) -> tuple[int, Item]:
        """Status and body of anything but a stream."""
        path, query = _split(target)
        self.asked.append((path, query))
        if f"{method} {path}" in self.answers:
            return self.answers[f"{method} {path}"]
        name = path.removeprefix("/v2/")
        if name not in self.lists:
            return 404, {"title": "Not Found", "detail": f"There is nothing at {path}."}
        begin = int(query.get("nextToken", "0"))
        items = self.lists[name]
        body: Item = {"items": items[begin : begin + self.page], "position": self.position}
        if begin + self.page < len(items):
            body["nextToken"] = str(begin + self.page)
        return 200, body


def _split(target: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(target)
    return parts.path, dict(parse_qsl(parts.query))


class _Server(ThreadingHTTPServer):
    """Plays a script."""

    daemon_threads = True

    def __init__(self, script: Scripted) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script


class _Handler(BaseHTTPRequestHandler):
    """Answers one request as the script says."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path.startswith("/v2/stream"):
            self._stream()
        else:
            self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        status, body = self.server.script.answer(self.command, self.path)
        self._whole(status, body)

    def _whole(self, status: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        problem = "problem+" if status >= 400 else ""
        self.send_header("Content-Type", f"application/{problem}json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        script = self.server.script
        script.asked.append(_split(self.path))
        said = script.streams.pop(0) if script.streams else None
        if isinstance(said, dict):
            self._whole(int(said["status"]), said)
            return
        self.send_response(200)
        self.send_header("Content-Type", NDJSON)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for one in said or ():
            data = one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()
        if said is None:
            script.stay.wait(30.0)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing between the lines of a test."""


@contextmanager
def scripted(script: Scripted | None = None) -> Iterator[tuple[Scripted, str]]:
    """The script, and where it is played."""
    script = script or Scripted()
    server = _Server(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script, f"http://127.0.0.1:{server.server_port}"
    finally:
        script.stay.set()
        server.shutdown()
        server.server_close()
        thread.join()
