"""A server of this machine with the pages of an index, or of anything else that is asked for by its path."""

import threading
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WHEEL = "toy_thing-1.0-py3-none-any.whl"
DATA = b"a wheel"
DIGEST = "sha256:" + sha256(DATA).hexdigest()
LINK = f'<a href="../../files/{WHEEL}#sha256={DIGEST[7:]}">{WHEEL}</a>'


@contextmanager
def server(pages, status=200, connections=None):
    """Pages by path: (media type, text); everything else is not there."""
    asked = []
    connections = [] if connections is None else connections

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # a connection stays open for more questions

        def setup(self):
            connections.append(self.client_address)
            super().setup()

        def do_GET(self):
            asked.append((self.path, self.headers.get("Accept"), self.headers.get("Authorization")))
            kind, text = pages.get(self.path, ("text/plain", None))
            code = 404 if text is None and status == 200 else status
            body = (text or "").encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", asked
    finally:
        running.shutdown()
        running.server_close()


@contextmanager
def refusing_head(data):
    """A server that gives ranges of some bytes, and answers no HEAD."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(405)

        def do_GET(self):
            assert self.headers["Range"] == "bytes=0-0"
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-0/{len(data)}")
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(data[:1])

        def log_message(self, *arguments):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
