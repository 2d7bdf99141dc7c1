"""A stand-in for the Hugging Face hub on this machine, enough of it to download from."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What is served, and what was asked for.

    Attributes:
        repositories: OWNER/NAME: file name: content.
        ranges: for each download its file and first byte.
        tags: entity tags of files, where they are not made from the content.
        sent: called with (file, bytes sent so far) between the pieces of a download.
    """

    def __init__(self, repositories: dict[str, dict[str, bytes]]):
        self.repositories = repositories
        self.ranges: list[tuple[str, int]] = []
        self.sent: Callable[[str, int], None] = lambda name, count: None
        self.tags: dict[str, str] = {}
        self.address = ""


@contextmanager
def download_stand_in(repositories: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """Serve `repositories` on a free port of this machine."""
    hub = Hub(repositories)

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    piece = 65536

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_) -> None:
        pass

    def _answer(self, body: bool) -> None:
        if match := re.match(r"/api/models/([^/]+/[^/]+)(?:/revision/.*)?$", self.path):
            files = self.hub.repositories.get(match[1])
            if files is not None:
                siblings = [{"rfilename": name, "size": len(files[name])} for name in files]
                about = {"id": match[1], "sha": COMMIT, "siblings": siblings, "private": False}
                return self._send(200, json.dumps(about).encode(), body)
        if match := re.match(r"/api/models/([^/]+/[^/]+)/tree/", self.path):
            files = self.hub.repositories.get(match[1])
            if files is not None:
                tree = [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for name, content in files.items()
                ]
                return self._send(200, json.dumps(tree).encode(), body)
        if match := re.match(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)$", self.path):
            content = self.hub.repositories.get(match[1], {}).get(match[2])
            if content is not None:
                return self._file(match[2], content, body)
        return self._send(404, b"{}", body)

    def _file(self, name: str, content: bytes, body: bool) -> None:
        start = 0
        if given := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(given[1])
        headers = {
            "ETag": f'"{self.hub.tags.get(name, hashlib.sha1(content).hexdigest())}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(content) - start),
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if start else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        self.hub.ranges.append((name, start))
        for at in range(start, len(content), self.piece):
            try:
                self.wfile.write(content[at : at + self.piece])
            except OSError:  # whoever fetched it is gone
                self.close_connection = True
                return
            self.hub.sent(name, at + self.piece)

    def _send(self, status: int, content: bytes, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
