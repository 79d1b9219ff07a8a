"""A package index on 127.0.0.1 with the simple API (PEP 691): files, hashes, upload times, yanked ones.

It stands for one on the network, so that a test decides what it has.
"""

import hashlib
import http.server
import json
import threading
import urllib.parse
from contextlib import contextmanager

from tests.made.archives import wheel


def release(name, version, requires=(), content=b"", python=">=3", tag="py3-none-any"):
    """The bytes and the file name of a wheel."""
    info = f"{name}-{version}.dist-info"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", f"Requires-Python: {python}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    data = wheel(
        (f"{name}.py", content),
        (f"{info}/METADATA", ("\n".join(lines) + "\n").encode()),
        (f"{info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: %s\n" % tag.encode()),
        (f"{info}/RECORD", b""),
    )
    return f"{name}-{version}-{tag}.whl", data


class Index:
    def __init__(self):
        self.files = {}  # file name -> [bytes, upload time or None, yanked or False]
        self.asked = []
        self.url = ""

    def add(self, name, version, uploaded="2026-01-01T00:00:00Z", yanked=False, **what):
        filename, data = release(name, version, **what)
        self.files[filename] = [data, uploaded, yanked]
        return data

    def add_source(self, name, version):
        self.files[f"{name}-{version}.tar.gz"] = [b"no archive", "2026-01-01T00:00:00Z", False]

    def project(self, name):
        own = {file: value for file, value in self.files.items() if file.split("-")[0].replace("_", "-") == name}
        if not own:
            return None
        rows = []
        for file, (data, uploaded, yanked) in own.items():
            row = {"filename": file, "url": f"{self.url}/files/{file}", "yanked": yanked, "size": len(data)}
            row["hashes"] = {"sha256": hashlib.sha256(data).hexdigest()}
            rows.append(row | ({"upload-time": uploaded} if uploaded else {}))
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": rows, "versions": []}).encode()


@contextmanager
def serving():
    index = Index()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            index.asked.append(self.path)
            kind, _, name = urllib.parse.unquote(self.path).strip("/").partition("/")
            found = index.files.get(name, [None])[0] if kind == "files" else index.project(name)
            self.send_response(200 if found is not None else 404)
            is_page = kind == "simple"
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json" if is_page else "application/zip")
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
