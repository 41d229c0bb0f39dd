"""A small hub on the loopback: repositories made in a test, a log of every request, and failures on order.

It speaks what `huggingface_hub` asks for when it downloads: a revision's commit, lists of files, and the files, small
ones from the hub itself and large ones by way of another address (another port: another origin).
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".parquet")


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repository:
    """files: path -> bytes at `commit`. token: who may read its files; gated: it says why not."""

    kind: str
    name: str
    files: dict[str, bytes]
    refs: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False

    @property
    def commit(self) -> str:
        listed = sorted((path, git_sha1(content)) for path, content in self.files.items())
        return hashlib.sha1(repr(listed).encode()).hexdigest()

    @classmethod
    def of_folder(cls, kind: str, name: str, folder: Path) -> Repository:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return cls(kind, name, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})

    def entry(self, path: str) -> dict[str, Any]:
        content = self.files[path]
        about = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
        if path.endswith(LARGE):
            about["oid"] = git_sha1(f"pointer to {sha256(content)}".encode())
            about["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
        return about


@dataclass(frozen=True)
class Request:
    """One request as it came in. at_cdn: whether at the other address."""

    method: str
    path: str
    headers: dict[str, str]
    at_cdn: bool
    seconds: float


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer. kind: status, cut, corrupt, loop, malformed, or a text to send.

    status: of the answer. after: bytes of the body that still come. headers: of the answer.
    """

    kind: str
    status: int = 200
    after: int = 0
    headers: dict[str, str] = field(default_factory=dict)


class Hub:
    """The server; `with Hub() as hub`. Order a failure by `hub.fail("part of a path", Fault(...), ...)`."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[Request] = []
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        self._servers = [self._server(at_cdn) for at_cdn in (False, True)]

    def _server(self, at_cdn: bool) -> http.server.ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"hub": self, "at_cdn": at_cdn})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        return server

    def __enter__(self) -> Hub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._servers[0].server_port}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def add(self, repository: Repository) -> Repository:
        self.repositories[repository.kind, repository.name] = repository
        return repository

    def fail(self, path: str, *faults: Fault) -> None:
        """The next answers to requests for content whose path holds `path` go wrong, each in its way."""
        self._faults[path].extend(faults)

    def fault(self, path: str) -> Fault | None:
        for part, waiting in self._faults.items():
            if part in path and waiting:
                return waiting.pop(0)
        return None

    def reset(self) -> None:
        """Forget the log and what was to go wrong."""
        self.requests.clear()
        self._faults.clear()

    def asked(self, method: str = "GET", part: str = "") -> list[Request]:
        """The requests of a method whose path holds `part`."""
        return [request for request in self.requests if request.method == method and part in request.path]


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    at_cdn: bool
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._serve()

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, self.path, headers, self.at_cdn, time.monotonic()))
        fault = None if self.command == "HEAD" else self.hub.fault(self.path)
        try:
            if fault is not None and fault.kind == "status":
                self._send(b"{}", fault.status, fault.headers)
            elif fault is not None and fault.kind == "loop":
                self._send(b"", 302, {"Location": self.path})
            elif fault is not None and fault.kind == "malformed":
                self._send(b"<html>", headers={"Content-Type": "application/json"})
            else:
                self._answer(urlsplit(self.path).path.strip("/"), fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self, path: str, fault: Fault | None) -> None:
        parts = [unquote(part) for part in path.split("/")]
        if self.at_cdn:
            content = next(
                (
                    content
                    for repository in self.hub.repositories.values()
                    for content in repository.files.values()
                    if sha256(content) == parts[-1]
                ),
                b"",
            )
            self._content(content, {}, fault)
        elif parts[0] == "api":
            self._api(parts[1].removesuffix("s"), parts[2:], fault)
        else:
            kind = "dataset" if parts[0] == "datasets" else "model"
            rest = parts[1:] if kind == "dataset" else parts
            self._file(kind, rest, fault)

    def _repository(self, kind: str, name: str, revision: str) -> Repository | None:
        """The repository, or None after an answer that says why not."""
        found = self.hub.repositories.get((kind, name))
        if found is None:
            self._send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in {"main", found.commit, *found.refs}:
            self._send(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return found
        return None

    def _api(self, kind: str, parts: list[str], fault: Fault | None) -> None:
        name, (what, revision) = "/".join(parts[:2]), parts[2:4] if len(parts) > 3 else ("revision", "main")
        found = self._repository(kind, name, revision)
        if found is None:
            return
        if what == "tree":
            entries = [found.entry(path) for path in sorted(found.files)]
            after = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
            pages = f"{self.hub.endpoint}{urlsplit(self.path).path}"
            link = f'<{pages}?recursive=true&cursor={after + 5}>; rel="next"'
            headers = {"Link": link} if after + 5 < len(entries) else {}
            value: Any = entries[after : after + 5]
        elif what == "paths-info":
            headers, wanted = {}, json.loads(self._body)["paths"]
            value = [found.entry(path) for path in wanted if path in found.files]
        else:
            siblings = [{"rfilename": path} for path in sorted(found.files)]
            headers, value = {}, {"id": name, "sha": found.refs.get(revision, found.commit), "siblings": siblings}
        self._content(json.dumps(value).encode(), {"Content-Type": "application/json", **headers}, fault)

    def _file(self, kind: str, parts: list[str], fault: Fault | None) -> None:
        at = parts.index("resolve")
        found = self._repository(kind, "/".join(parts[:at]), parts[at + 1])
        if found is None:
            return
        path = "/".join(parts[at + 2 :])
        if found.token and self.headers.get("Authorization") != f"Bearer {found.token}":
            code = {"X-Error-Code": "GatedRepo"} if found.gated else {}
            self._send(b"{}", 403 if self.headers.get("Authorization") else 401, code)
        elif path not in found.files:
            self._send(b"{}", 404, {"X-Error-Code": "EntryNotFound"})
        elif path.endswith(LARGE):
            digest = sha256(found.files[path])
            about = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(found.files[path]))}
            location = {"Location": f"{self.hub.cdn}/cdn/{found.name}/{path}/{digest}"}
            self._send(b"", 302, {"X-Repo-Commit": found.commit, **about, **location})
        else:
            content = found.files[path]
            self._content(content, {"X-Repo-Commit": found.commit, "ETag": f'"{git_sha1(content)}"'}, fault)

    def _content(self, content: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        """An answer's body, or the part that a range asks for, as the fault has it."""
        status, start = 200, 0
        asked = self.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self._send(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
            status = 206
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        body, kind = content[start:], fault.kind if fault else ""
        if kind == "corrupt":
            body = bytes(byte ^ 1 for byte in body)
        self._send(b"", status, headers, len(body))
        if self.command == "HEAD":
            return None
        if kind == "cut":
            assert fault is not None
            self.wfile.write(body[: fault.after])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(body)
        return None

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, length: int = -1) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
