"""A small Hugging Face hub on loopback: what the client needs to upload a model, and its troubles.

It keeps repositories with their commits, and large files by their hash as the hub does: an upload
that was not committed is still there at the next attempt.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_stand_in"
LARGE = (".safetensors",)


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """The state, and what the tests ask of it.

    Attributes:
        objects: large files by SHA-256.
        sent: hash and bytes of every large file that arrived whole, in order.
        requests: method and path of every request.
        stall: how many bytes of a large file above `stall_over` to take before falling silent;
            None: all.
        drop: how many uploads to break off in the middle by closing the connection.
    """

    url: str = ""
    user: str = "me"
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    sent: list[tuple[str, int]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    stall: int | None = None
    stall_over: int = 0
    drop: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def environment(self) -> dict[str, str]:
        """For a process that is to use this hub. Xet speaks to servers of its own, so not it."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


@contextlib.contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """Serves until the end of the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
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


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments) -> None:
            pass

        def do_GET(self) -> None:
            path = self._begin()
            if path == "/api/whoami-v2":
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self._answer({"error": "Invalid credentials"}, 401)
                return self._answer({"name": hub.user, "type": "user", "orgs": []})
            if path.startswith("/api/models/"):
                repo = "/".join(path.split("/")[3:5])
                if repo in hub.repositories:
                    found = hub.repositories[repo]
                    return self._answer(
                        {"id": repo, "sha": found.commits[-1], "private": found.private,
                         "siblings": [{"rfilename": name} for name in found.files],
                         "tags": [], "downloads": 0, "likes": 0}
                    )  # fmt: skip
            return self._answer({"error": "Not found"}, 404)

        def do_POST(self) -> None:
            path = self._begin()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if path == "/api/repos/create":
                return self._create(json.loads(body))
            if path == "/api/validate-yaml":
                return self._validate(json.loads(body)["content"])
            if path == "/lfs/verify":
                known = json.loads(body)["oid"] in hub.objects
                return self._answer({} if known else {"error": "unknown"}, 200 if known else 404)
            if path.endswith(".git/info/lfs/objects/batch"):
                return self._batch(json.loads(body))
            parts = path.split("/")
            if path.startswith("/api/models/") and parts[5] in ("preupload", "commit"):
                repo = f"{parts[3]}/{parts[4]}"
                if repo not in hub.repositories:
                    return self._answer({"error": "Repository not found"}, 404)
                if parts[5] == "preupload":
                    return self._preupload(json.loads(body))
                return self._commit(repo, body)
            return self._answer({"error": "Not found"}, 404)

        def do_PUT(self) -> None:
            path = self._begin()
            length = int(self.headers.get("Content-Length", 0))
            if hub.drop and length > hub.stall_over:
                hub.drop -= 1
                self.rfile.read(length // 2)
                self.close_connection = True
                self.connection.close()
                return
            if hub.stall is not None and length > hub.stall_over:
                self.rfile.read(min(hub.stall, length))
                hub.stalled.set()
                hub.go_on.wait()
                self.close_connection = True
                return
            content = self.rfile.read(length)
            digest = hashlib.sha256(content).hexdigest()
            if len(content) != length or path != f"/lfs/{digest}":
                self.close_connection = True
                return
            hub.objects[digest] = content
            hub.sent.append((digest, length))
            self._answer({})

        def _begin(self) -> str:
            path = urlsplit(self.path).path
            hub.requests.append((self.command, path))
            return path

        def _answer(self, value, status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _create(self, asked: dict) -> None:
            repo = f"{asked.get('organization') or hub.user}/{asked['name']}"
            if not repo.startswith(f"{hub.user}/"):
                self._answer({"error": "You don't have the rights"}, 403)
                return
            known = repo in hub.repositories
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            hub.repositories.setdefault(repo, Repository(private))
            url = {"url": f"{hub.url}/{repo}", "name": repo, "id": repo}
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
                if item["oid"] not in hub.objects:
                    answer["actions"] = {
                        "upload": {"href": f"{hub.url}/lfs/{item['oid']}"},
                        "verify": {"href": f"{hub.url}/lfs/verify"},
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
                    files[value["path"]] = hub.objects[value["oid"]]
            found = hub.repositories[repo]
            found.files |= files
            found.commits.append(hashlib.sha1(body).hexdigest())
            oid = found.commits[-1]
            self._answer(
                {"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{repo}/commit/{oid}"}
            )

    return Handler
