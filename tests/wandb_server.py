"""As much of a W&B server as a run needs: it knows a user, makes runs, takes what is sent, can go away."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROJECT = {"id": "project", "name": "fm_unroll", "entity": {"id": "entity", "name": "me"}}
VIEWER = {"viewer": {"id": "viewer", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}


class WandbServer(ThreadingHTTPServer):
    """Listens on a free port of this machine.

    Attributes:
        url: for ``WANDB_BASE_URL``.
        status: with which every question is answered.
        leaves_with_first_rows: go away as soon as a run's first rows come, and do not answer them.
        gone: whether it went.
    """

    daemon_threads = True

    def __init__(self, status: int = 200, leaves_with_first_rows: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.status = status
        self.leaves_with_first_rows = leaves_with_first_rows
        self.gone = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def leave(self) -> None:
        """Close everything; who connects from now on is refused."""
        self.gone = True
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *message: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.reply({})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/file_stream") and self.server.leaves_with_first_rows and not self.server.gone:
            self.server.leave()
        if self.server.gone:
            self.close_connection = True
            return
        if self.path != "/graphql":
            self.reply({})
        elif b"upsertBucket" in content:
            bucket = {"id": "run", "name": json.loads(content)["variables"]["name"], "project": PROJECT}
            self.reply({"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}})
        else:
            self.reply({"data": {**VIEWER, "serverInfo": {"features": []}, "model": {"bucket": None}}})

    def reply(self, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
