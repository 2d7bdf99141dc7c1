"""A small Hugging Face hub on loopback: what the client needs to upload and to download a model.

It keeps repositories with their commits, and large files by their hash as the hub does: an upload
that was not committed is still there at the next attempt. It can stall, break off and lie.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_stand_in"
LARGE = (".safetensors",)
PIECE = 65536


@dataclass
class Repository:
    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    def commit(self, files: Mapping[str, bytes]) -> str:
        self.files |= files
        state = "".join(f"{name} {_hash(content)}\n" for name, content in self.files.items())
        self.commits.append(hashlib.sha1(f"{len(self.commits)} {state}".encode()).hexdigest())
        return self.commits[-1]


@dataclass
class Hub:
    """State of the stand-in, and what the tests read and set.

    Attributes:
        objects: large files by SHA-256.
        received: hash and bytes of every large file that arrived whole, in order.
        requests: method and path of every request.
        stall: how many bytes of a large file above `stall_over` to take before falling silent;
            None: all.
        drop: how many uploads to break off in the middle by closing the connection.
        ranges: for each download its file and first byte.
        tags: entity tags of files, where they are not their hashes.
        sending: called with (file, bytes sent so far) between the pieces of a download.
        gated: repositories that list their files to everybody but refuse every download.
        failing: pattern of method and path (`GET /api/models/`), and the status, headers and
            seconds of silence before it with which such requests are answered.
    """

    url: str = ""
    user: str = "me"
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    received: list[tuple[str, int]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    stall: int | None = None
    stall_over: int = 0
    drop: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    ranges: list[tuple[str, int]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    sending: Callable[[str, int], None] = lambda name, count: None
    gated: set[str] = field(default_factory=set)
    failing: dict[str, tuple[int, dict[str, str], float]] = field(default_factory=dict)

    def fail(self, pattern: str, status: int, silence: float = 0.0, **headers: str) -> None:
        """Answer requests, method and path, that a pattern matches from their beginning."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.failing[pattern] = (status, named, silence)

    def add(self, repo: str, files: Mapping[str, bytes]) -> None:
        """A public repository with these files."""
        self.repositories[repo] = Repository()
        self.repositories[repo].commit(files)

    def environment(self) -> dict[str, str]:
        """Environment of a process that uses this hub; Xet needs other servers, so it is off."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


@contextlib.contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """Serve until the end of the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = hub
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tag(name: str, content: bytes) -> str:
    """SHA-256 of large files; of others Git's hash, which is not checked here."""
    return _hash(content) if name.endswith(LARGE) else hashlib.sha1(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request from the state of its server's hub."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def log_message(self, *arguments) -> None:
        pass

    # --- Requests ----------------------------------------------------------------------------

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._begin()
        for pattern, (status, headers, silence) in self.hub.failing.items():
            if re.match(pattern, f"{self.command} {path}"):
                if silence:
                    self.hub.go_on.wait(silence)
                return self._answer({"error": headers.get("X-Error-Message", "")}, status, headers)
        if path == "/api/whoami-v2":
            if not self._known():
                return self._answer({"error": "Invalid credentials"}, 401)
            return self._answer({"name": self.hub.user, "type": "user", "orgs": []})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/.*)?", path):
            found = self._repository(match[1])
            if found is None:
                return self._missing()
            if (match[2] or "").startswith("/tree/"):
                return self._tree(found)
            return self._about(match[1], found)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            found = self._repository(match[1])
            if match[1] in self.hub.gated:
                status = 403 if self._known() else 401
                return self._answer({"error": "gated"}, status, {"X-Error-Code": "GatedRepo"})
            if found is not None and match[2] in found.files:
                return self._file(found, match[2])
        return self._missing()

    def do_POST(self) -> None:
        path = self._begin()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if path == "/lfs/verify":
            known = json.loads(body)["oid"] in self.hub.objects
            return self._answer({} if known else {"error": "unknown"}, 200 if known else 404)
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/.*", path):
            if match[1] not in self.hub.repositories:
                return self._missing()
            if match[2] == "preupload":
                return self._preupload(json.loads(body))
            return self._commit(match[1], body)
        return self._missing()

    def do_PUT(self) -> None:
        path = self._begin()
        length = int(self.headers.get("Content-Length", 0))
        if self.hub.drop and length > self.hub.stall_over:
            self.hub.drop -= 1
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        if self.hub.stall is not None and length > self.hub.stall_over:
            self.rfile.read(min(self.hub.stall, length))
            self.hub.stalled.set()
            self.hub.go_on.wait()
            self.close_connection = True
            return
        content = self.rfile.read(length)
        digest = _hash(content)
        if len(content) != length or path != f"/lfs/{digest}":
            self.close_connection = True
            return
        self.hub.objects[digest] = content
        self.hub.received.append((digest, length))
        self._answer({})

    def _begin(self) -> str:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path))
        return path

    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, repo: str) -> Repository | None:
        """The repository, if the caller may see it."""
        found = self.hub.repositories.get(repo)
        return None if found is None or (found.private and not self._known()) else found

    def _missing(self) -> None:
        self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _answer(self, value, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self._head(
            status,
            {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **(headers or {}),
            },
        )
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    # --- Downloads ---------------------------------------------------------------------------

    def _about(self, repo: str, found: Repository) -> None:
        siblings = [{"rfilename": n, "size": len(c)} for n, c in found.files.items()]
        self._answer(
            {"id": repo, "sha": found.commits[-1] if found.commits else "0" * 40,
             "private": found.private, "siblings": siblings,
             "tags": [], "downloads": 0, "likes": 0}
        )  # fmt: skip

    def _tree(self, found: Repository) -> None:
        self._answer(
            [
                {"type": "file", "path": n, "size": len(c), "oid": _tag(n, c)}
                for n, c in found.files.items()
            ]
        )

    def _file(self, found: Repository, name: str) -> None:
        content, start = found.files[name], 0
        if given := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(given[1])
        headers = {
            "ETag": f'"{self.hub.tags.get(name) or _tag(name, content)}"',
            "X-Repo-Commit": found.commits[-1],
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(content) - start),
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._head(206 if start else 200, headers)
        if self.command == "HEAD":
            return
        self.hub.ranges.append((name, start))
        for at in range(start, len(content), PIECE):
            try:
                self.wfile.write(content[at : at + PIECE])
            except OSError:  # the client has disconnected
                self.close_connection = True
                return
            self.hub.sending(name, at + PIECE)

    # --- Uploads -----------------------------------------------------------------------------

    def _create(self, asked: dict) -> None:
        repo = f"{asked.get('organization') or self.hub.user}/{asked['name']}"
        if not repo.startswith(f"{self.hub.user}/"):
            self._answer({"error": "You don't have the rights"}, 403)
            return
        known = repo in self.hub.repositories
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories.setdefault(repo, Repository(private))
        url = {"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo}
        self._answer(url, 409 if known else 200)

    def _validate(self, content: str) -> None:
        fine = content.startswith("---\n") and "\n---\n" in content
        message = [] if fine else [{"message": "no front matter"}]
        self._answer({"errors": message, "warnings": []}, 200 if fine else 400)

    def _preupload(self, asked: dict) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in asked["files"]
        ]
        self._answer({"files": files})

    def _batch(self, asked: dict) -> None:
        objects = []
        for item in asked["objects"]:
            answer = {"oid": item["oid"], "size": item["size"], "authenticated": True}
            if item["oid"] not in self.hub.objects:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"},
                    "verify": {"href": f"{self.hub.url}/lfs/verify"},
                }
            objects.append(answer)
        self._answer({"transfer": "basic", "objects": objects})

    def _commit(self, repo: str, body: bytes) -> None:
        files = {}
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        oid = self.hub.repositories[repo].commit(files)
        self._answer(
            {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"}
        )
