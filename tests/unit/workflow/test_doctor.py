"""What doctor says of GPUs, the toolkit and runc: by programs and a local server that answer as the real ones do."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from harness.system.gpu import inventory
from harness.workflow import doctor

HASH = "--hash=sha256:" + "ab" * 32


def finding(root, name):
    (found,) = [one for one in doctor.examine(root, root / "cache") if one.name == name]
    return found


@pytest.fixture
def no_engine(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.fixture
def engine_with(monkeypatch):
    """An engine on localhost that answers `GET /version` with these components, and nothing else."""
    servers = []

    def start(components):
        version = {"Version": "28.5.1", "ApiVersion": "1.51", "MinAPIVersion": "1.24", "Components": components}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answers = {"version": version, "info": {"host": {"security": {"rootless": True}}}}
                body = json.dumps(answers.get(self.path.rpartition("/")[2], {})).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def toolkit(tmp_path, monkeypatch):
    """Put an `nvidia-ctk` on the PATH that says this version."""

    def put(said):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "nvidia-ctk").write_text(f"#!/bin/sh\necho 'NVIDIA Container Toolkit CLI version {said}'\n")
        (folder / "nvidia-ctk").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return put


def runc(version, commit):
    return {"Name": "runc", "Version": version, "Details": {"GitCommit": commit}}


def test_the_version_of_runc_is_named(tmp_path, engine_with):
    engine_with([runc("1.1.5+ds1", "1.1.5+ds1-1+deb12u1")])
    found = finding(tmp_path, "runc")
    assert found.level == "ok" and "1.1.5+ds1-1+deb12u1" in found.found


@pytest.mark.parametrize("components", [[], None, [{"Name": "crun", "Version": "1.14"}]])
def test_an_engine_without_runc_is_fine(tmp_path, engine_with, components):
    engine_with(components)
    assert finding(tmp_path, "runc").level == "ok"


def test_the_version_of_the_toolkit_is_named(tmp_path, no_engine, toolkit):
    toolkit("1.17.3")
    found = finding(tmp_path, "toolkit")
    assert found.level == "ok" and "1.17.3" in found.found


@pytest.mark.skipif(not inventory().problem, reason="this machine has a driver")
def test_a_machine_without_a_gpu_is_told_what_is_missing_and_nothing_ends_it(tmp_path, no_engine):
    found = finding(tmp_path, "gpu")
    assert found.level == "warning" and "no NVIDIA driver answers" in found.found and found.remedy
    assert finding(tmp_path, "toolkit").level in ("ok", "warning")
    assert finding(tmp_path, "gpu access").level == "ok"


def test_podman_is_called_by_its_name(tmp_path, engine_with):
    engine_with([{"Name": "Podman Engine"}, {"Name": "OCI Runtime (runc)", "Version": "runc version 1.1.5\ncommit: x"}])
    assert finding(tmp_path, "engine").found == "Podman 28.5.1, rootless, API 1.51"
    assert finding(tmp_path, "runc").found == "runc 1.1.5"


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert finding(tmp_path, "disk").found == f"the cache {tmp_path / 'cache'} cannot be written"


@pytest.mark.parametrize(("gpus", "level"), [((), "ok"), (("a GPU",), "missing")])
def test_with_a_gpu_more_disk_is_needed(tmp_path, monkeypatch, gpus, level):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=20e9))
    monkeypatch.setattr(doctor.gpu, "inventory", lambda: SimpleNamespace(gpus=gpus))
    assert doctor._disk(tmp_path).level == level
