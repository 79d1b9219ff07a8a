"""An engine on localhost in front of the real one: it hands everything on, but for the few answers that need a GPU.

No machine of CI has one, so an engine that can hand GPUs out is made of the real engine and of answers that public
issues quote. Containers are real; device requests are kept here and never reach the real engine.
"""

import http.client
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

SOCKET = "/var/run/docker.sock"
# As https://github.com/NVIDIA/nvidia-container-toolkit/pull/2028 quotes it.
HOOK_CANNOT_WRITE = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: error running createContainer hook #6: exit "
    "status 1, stdout: , stderr: failed to create directory: mkdirat etc/nvidia/x: read-only file system"
)


class EngineInFront:
    """Serves on a port of 127.0.0.1 until it is closed.

    Attributes:
        needs_writable_root: whether a container below a read-only root fails to start as the toolkit's hook fails.
        forgets_requests: whether device requests are dropped without a word.
        started: of each container that was started: whether its root was read-only, and its device requests.
    """

    def __init__(self, real, *, needs_writable_root=False, forgets_requests=False):
        self.real = urlparse(real) if real else None
        self.needs_writable_root = needs_writable_root
        self.forgets_requests = forgets_requests
        self.requests = {}
        self.roots = {}
        self.created = []
        self.started = []
        handler = type("Handler", (_Handler,), {"front": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.host = f"tcp://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def connect(self):
        """A connection to the real engine."""
        if self.real is not None and self.real.scheme == "tcp":
            return http.client.HTTPConnection(self.real.hostname, self.real.port, timeout=120)
        connection = http.client.HTTPConnection("localhost", timeout=120)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(unquote(self.real.path) if self.real is not None and self.real.path else SOCKET)
        return connection


class _Handler(BaseHTTPRequestHandler):
    front = None

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        asked = None
        if self.command == "POST" and path.endswith("/containers/create"):
            document = json.loads(body)
            asked = document["HostConfig"].pop("DeviceRequests", None) or []
            body = json.dumps(document).encode()
            self.front.created.append((document["HostConfig"]["ReadonlyRootfs"], asked))
        started = re.search(r"/containers/([0-9a-f]+)/start$", path)
        if started and self._refuses(started[1]):
            return
        status, headers, answer = self._ask(body)
        if asked is not None and status == 201:
            self._remember(json.loads(answer)["Id"], asked)
        shown = re.search(r"/containers/([0-9a-f]+)/json$", path)
        if self.command == "GET" and shown and status == 200:
            answer = self._with_requests(shown[1], answer)
        self._answer(status, headers.get("Content-Type", "application/json"), answer)

    do_GET = do_POST = do_DELETE = do_HEAD = _serve

    def _refuses(self, container):
        is_read_only, asked = self.front.roots[container], self.front.requests[container]
        self.front.started.append((is_read_only, asked))
        if not (self.front.needs_writable_root and is_read_only):
            return False
        self._answer(500, "application/json", json.dumps({"message": HOOK_CANNOT_WRITE}).encode())
        return True

    def _remember(self, container, asked):
        self.front.requests[container] = [] if self.front.forgets_requests else asked
        self.front.roots[container] = self.front.created[-1][0]

    def _with_requests(self, container, answer):
        document = json.loads(answer)
        if self.front.requests.get(container):
            document["HostConfig"]["DeviceRequests"] = self.front.requests[container]
        return json.dumps(document).encode()

    def _ask(self, body):
        connection = self.front.connect()
        try:
            kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            connection.request(self.command, self.path, body or None, {**kept, "Content-Length": str(len(body))})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def _answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass
