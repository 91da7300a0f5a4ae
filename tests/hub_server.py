"""As much of the Hugging Face hub as the package asks of it, and its cache as the client keeps it."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "0123456789" * 4


@dataclass
class Hub:
    """What the server publishes: bytes by `repository/filename`, and the SHA-256 that it states for them.

    Attributes:
        refused: repositories that it does not show, with its code for why.
        told: what it was told by whoever publishes: path and content.
        tokens: that came with what it was told.
        forbidden: whether those tokens may only read.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    stated: dict[str, str] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    forbidden: bool = False

    def publish(
        self,
        repository: str,
        filename: str,
        content: bytes,
        sha256: str | None = None,
        revision: str = "main",
    ) -> None:
        key = f"/{repository}/resolve/{revision}/{filename}"
        self.files[key] = content
        self.stated[key] = sha256 or hashlib.sha256(content).hexdigest()

    def reply(self, path: str, content: Any) -> Any:
        """Take what is published as the hub does: https://huggingface.co/docs/hub/api."""
        self.told.append((path, content))
        if path == "/api/repos/create":
            return {"url": f"http://127.0.0.1/{content['organization']}/{content['name']}"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        repository = "/".join(path.split("/")[3:5])
        if path.endswith("/preupload/main"):
            # a small file goes into the commit itself
            whole = [{"uploadMode": "regular", "shouldIgnore": False, "oid": None}] * len(content["files"])
            named = zip(whole, content["files"], strict=True)
            return {"files": [{**mode, "path": file["path"]} for mode, file in named]}
        for line in content:
            if line["key"] == "file":
                self.publish(repository, line["value"]["path"], base64.b64decode(line["value"]["content"]))
        return {
            "success": True,
            "commitOid": COMMIT,
            "commitUrl": f"http://127.0.0.1/{repository}/commit/{COMMIT}",
        }


@contextmanager
def serve(cache: Path) -> Iterator[Hub]:
    """Let the client ask a server of this machine, with a cache of its own."""
    published = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            content = published.files.get(self.path)
            repository = "/".join(self.path.split("/")[1:3])
            if content is None:
                code = published.refused.get(repository, "EntryNotFound")
                self.send_response(403 if code == "GatedRepo" else 404)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{published.stated[self.path]}"')
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            if self.path in published.files:
                published.downloads.append(self.path)
                self.wfile.write(published.files[self.path])

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            published.tokens.add(self.headers.get("Authorization", ""))
            if published.forbidden:
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            lines = self.headers.get("Content-Type") == "application/x-ndjson"
            content = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
            there = self.path == "/api/repos/create" and (self.path, content) in published.told
            reply = json.dumps(published.reply(self.path, content)).encode()
            self.send_response(409 if there else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        use_hub(f"http://127.0.0.1:{server.server_port}", cache, patch)
        yield published
    server.shutdown()
    server.server_close()


def use_hub(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def go_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client without a network, as `HF_HUB_OFFLINE=1` makes it, with this cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def fill_cache(cache: Path, repository: str, files: Mapping[str, bytes], commit: str = COMMIT) -> Path:
    """Write a repository as the client keeps it, of which `main` is at a commit.

    Its layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Large files are named by
    their SHA-256, small ones by git's hash.

    Returns:
        The folder of the commit.
    """
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    for folder in (home / "refs", home / "blobs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    for name, content in files.items():
        if name.endswith((".safetensors", ".bin")):
            blob = hashlib.sha256(content).hexdigest()
        else:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        (home / "blobs" / blob).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    return snapshot
