"""A server on 127.0.0.1 that stands for the Hugging Face Hub: the real hub is never asked by a test.

It answers what huggingface_hub asks for, with the hub's own addresses, headers and error codes: the description of a
commit, the pages of a commit's tree, `resolve` of a file with its commit and ETag, and for a large file a redirect to
another host (here another port) that stores it. The library is the real one.
"""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = 3


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server
        with hub.lock:
            hub.requests.append((self.command, self.path, {key.lower(): text for key, text in self.headers.items()}))
            failure = hub.failures.pop(0) if hub.failures else None
        if failure:
            return self.fail(failure, "")
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        is_api = parts[0] == "api"
        parts = parts[1:] if is_api else parts
        kind = parts.pop(0).removesuffix("s") if is_api or parts[0] == "datasets" else "model"
        if (kind, "/".join(parts[:2])) != (hub.kind, hub.name):
            return self.fail(401 if "Authorization" not in self.headers else 404, "RepoNotFound")
        verb, revision, *rest = parts[2:]
        if revision != COMMIT:
            return self.fail(404, "RevisionNotFound")
        if verb == "revision":
            return self.give_json({"id": hub.name, "sha": hub.commit, "private": False, "siblings": []})
        return self.give_page() if verb == "tree" else self.resolve("/".join(rest))

    def give_page(self):
        hub = self.server
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        rows = [hub.row(name) for name in sorted(hub.files)]
        link = {}
        if start + PAGE < len(rows):
            link["Link"] = f'<{hub.address}{self.path.split("?")[0]}?recursive=True&cursor={start + PAGE}>; rel="next"'
        self.give_json(rows[start : start + PAGE], link)

    def resolve(self, name):
        hub = self.server
        if hub.is_gated:
            return self.fail(401 if "Authorization" not in self.headers else 403, "GatedRepo")
        data = hub.files.get(name)
        if data is None:
            return self.fail(404, "EntryNotFound")
        common = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        if name in hub.large:
            digest = hashlib.sha256(data).hexdigest()
            linked = {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{digest}"', "Content-Length": "0"}
            return self.reply(302, {**common, **linked, "Location": f"{hub.storage.address}/{digest}?Signature=s1gned"})
        return self.send_file(data, common)

    def send_file(self, data, headers):
        stall = self.server.stall_after
        self.reply(200, {**headers, "Content-Length": str(len(data)), "Content-Type": "application/octet-stream"})
        if self.command == "GET" and stall is not None:
            self.wfile.write(data[:stall])
            self.wfile.flush()
            self.server.go_on.wait(60)
            data = data[stall:]
        if self.command == "GET":
            self.wfile.write(data)

    def give_json(self, value, headers=()):
        body = json.dumps(value).encode()
        self.reply(200, {"Content-Type": "application/json", "Content-Length": str(len(body)), **dict(headers)})
        self.wfile.write(body)

    def fail(self, status, code):
        headers = {"X-Error-Code": code} if code else {}
        if "Authorization" in self.headers:  # a careless server: what it repeats must not be shown
            headers["X-Error-Message"] = f"no access for {self.headers['Authorization']}"
        self.reply(status, {**headers, "Content-Length": "0", "Retry-After": "0"})

    def reply(self, status, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_):
        pass


class Storage(Handler):
    """The host that large files are stored at: it knows no commits, and needs no token."""

    def do_GET(self):
        with self.server.lock:
            headers = {key.lower(): text for key, text in self.headers.items()}
            self.server.requests.append((self.command, self.path, headers))
        digest = urlsplit(self.path).path.strip("/")
        if digest not in self.server.files:
            return self.fail(404, "")
        return self.send_file(self.server.files[digest], {"ETag": f'"{digest}"'})


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.files = {}
        self.requests = []
        self.failures = []
        self.lock = threading.Lock()
        self.stall_after = None
        self.go_on = threading.Event()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests


class Hub(Server):
    def __init__(self, storage):
        super().__init__(Handler)
        self.storage = storage
        self.kind, self.name, self.commit = "model", "someone/tiny", COMMIT
        self.large = set()
        self.sizes = {}  # what the tree says where it is not the truth
        self.is_gated = False

    def put(self, name, data, *, is_large=False):
        self.files[name] = data
        if is_large:
            self.large.add(name)
            self.storage.files[hashlib.sha256(data).hexdigest()] = data

    def row(self, name):
        data = self.files[name]
        row = {"type": "file", "path": name, "size": self.sizes.get(name, len(data))}
        row["oid"] = hashlib.sha1(data).hexdigest()
        if name in self.large:
            row["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return row

    def fetched(self):
        """The files that were really sent, by the hub or by the storage."""
        sent = [path.split("?")[0] for command, path, _ in self.requests if command == "GET" and "/resolve/" in path]
        return sorted(sent + [path.split("?")[0] for command, path, _ in self.storage.requests])


@contextlib.contextmanager
def running(server):
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()


@contextlib.contextmanager
def hub_server():
    with running(Server(Storage)) as storage, running(Hub(storage)) as hub:
        yield hub
