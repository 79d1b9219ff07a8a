"""An HTTPS server on 127.0.0.1 with a certificate of its own authority, that misbehaves on demand."""

import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme


class Served:
    """One file; each attribute is one way to misbehave.

    `cuts` are the numbers of body bytes after which the connection is dropped, one for each answer; `failures` the
    statuses that come before the first real answer; `stall_after` the bytes after which the server waits for `go_on`.
    """

    def __init__(self, data, **how):
        self.data = data
        self.etag = how.get("etag", '"v1"')
        self.ranges = how.get("ranges", True)
        self.cuts = list(how.get("cuts", ()))
        self.failures = list(how.get("failures", ()))
        self.announced = how.get("announced", len(data))
        self.redirect = how.get("redirect")
        self.stall_after = how.get("stall_after")
        self.headers = how.get("headers", {})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        served = self.server.files.get(self.path.split("?")[0])
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers)))
            failure = served.failures.pop(0) if served and served.failures else None
            cut = served.cuts.pop(0) if served and served.cuts and not failure else None
        if served is None or failure:
            return self.answer(failure or 404, {"Content-Length": "0", "Retry-After": "0"})
        if served.redirect:
            return self.answer(302, {"Location": served.redirect, "Content-Length": "0"})
        return self.send_body(served, cut)

    def answer(self, status, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def send_body(self, served, cut):
        start, asked = 0, self.headers.get("Range")
        if asked and served.ranges and self.headers.get("If-Range") == served.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = served.data[start:]
        headers = {**served.headers}
        if served.etag:
            headers["ETag"] = served.etag
        if served.announced is not None:
            headers["Content-Length"] = str(served.announced - start)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(served.data) - 1}/{len(served.data)}"
        if served.announced is None or cut is not None:
            self.close_connection = True
            headers["Connection"] = "close"
        self.answer(206 if start else 200, headers)
        if served.stall_after is not None:
            self.wfile.write(body[: served.stall_after])
            self.wfile.flush()
            self.server.go_on.wait(60)
            body = body[served.stall_after :]
        self.wfile.write(body if cut is None else body[:cut])

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.requests = []
        self.lock = threading.Lock()
        self.go_on = threading.Event()
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.bundle = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.bundle)

    def url(self, path):
        return f"https://127.0.0.1:{self.server_port}{path}"

    def serve(self, path, data=b"", **how):
        self.files[path] = Served(data, **how)
        return self.url(path)

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests


@contextlib.contextmanager
def https_server(folder):
    with Server(folder) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()


def closed_port():
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
