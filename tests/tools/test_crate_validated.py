"""The RO-Crate of a run, held against its profile by the community's own validator, in an environment of its own."""

import json
import os
import subprocess
import sys

import pytest

from harness.archive.crate import CRATE, write_crate
from harness.documents.manifest import ImageFacts
from tests import ROOT
from tests.crate_run import make_run

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
# The validator fetches the JSON-LD context, unless its cache has it. The locked rocrate brings that very document.
FILL_CACHE = f"""
import io, sys
from importlib import resources
import requests, requests_cache, urllib3
from requests.adapters import BaseAdapter

class Packaged(BaseAdapter):
    def send(self, request, **_):
        body = resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url, request
        response.headers["Content-Type"] = "application/ld+json"
        headers = dict(response.headers)
        response.raw = urllib3.HTTPResponse(body=io.BytesIO(body), headers=headers, status=200, preload_content=False)
        return response

    def close(self):
        pass

session = requests_cache.CachedSession(cache_name=sys.argv[1], expire_after=-1, backend="sqlite")
session.mount("{CONTEXT}", Packaged())
assert session.get("{CONTEXT}").json()["@id"] == "{CONTEXT}"
"""


# One process for all crates: the validator takes longer to start than to validate.
VALIDATE = """
import json, sys
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.services import validate

found = {}
for crate in sys.argv[2:]:
    result = validate(ValidationSettings(
        rocrate_uri=crate, profile_identifier="process-run-crate", requirement_severity=Severity.REQUIRED,
        offline=True, cache_path=sys.argv[1],
    ))
    profiles = sorted(one.identifier for one in result.statistics.profiles)
    assert profiles == ["process-run-crate-0.5", "ro-crate-1.1"], profiles
    found[crate] = {"passed": result.passed(), "messages": [one.message for one in result.get_issues()]}
print("FOUND " + json.dumps(found))
"""


def install(folder):
    """An environment of exactly what lockfiles/crate-validator.lock pins."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    lock = ROOT / "lockfiles" / "crate-validator.lock"
    options = ["--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", lock]
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", *options]
    subprocess.run(pip, check=True, capture_output=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """What the validator says of each crate: nothing, or the messages. Every name of a host leads nowhere."""
    base = tmp_path_factory.mktemp("crates")
    crates = {name: make(base / name) for name, make in CRATES.items()}
    real = sorted((ROOT / "runs").glob(f"*/2*/{CRATE}"))  # what this checkout certified, if anything
    crates |= {"real": real[-1].parent} if real else {}
    python = install(base / "environment")
    cache = base / "cache"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "HOME": str(base)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([python, "-c", FILL_CACHE, cache], check=True, env=environment)
    command = [python, "-c", VALIDATE, cache, *crates.values()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.partition("FOUND ")[2])
    assert all(one["passed"] == (one["messages"] == []) for one in found.values())
    return {name: found[str(crate)]["messages"] for name, crate in crates.items()}


def in_containers(folder):
    write_crate(folder, *make_run(folder))
    return folder


def on_the_host(folder):
    write_crate(folder, *make_run(folder, runner="host"))
    return folder


def nothing_ran(folder):
    verdict, manifest = make_run(folder)
    (folder / "code" / "LICENSE").unlink()
    nothing = {"runs": (), "trajectories": {}, "image": ImageFacts(name="cpu"), "inputs": {}}
    inconclusive = verdict.model_copy(update={"verdict": "INCONCLUSIVE", "dirty": True})
    write_crate(folder, inconclusive, manifest.model_copy(update=nothing))
    return folder


def without_instruments(folder):
    crate = json.loads((in_containers(folder) / CRATE).read_text())
    for entity in crate["@graph"]:
        entity.pop("instrument", None)
    (folder / CRATE).write_text(json.dumps(crate))
    return folder


def without_a_ledger(folder):
    (in_containers(folder) / "straight" / "runs" / "1" / "ledger.jsonl").unlink()
    return folder


CRATES = {
    make.__name__: make for make in (in_containers, on_the_host, nothing_ran, without_instruments, without_a_ledger)
}


@pytest.mark.parametrize("name", ["in_containers", "on_the_host", "nothing_ran"])
def test_a_runs_folder_is_a_process_run_crate(validated, name):
    assert validated[name] == []


def test_the_validator_sees_what_is_missing(validated):
    assert {message for message in validated["without_instruments"] if "MUST have an instrument" in message}


def test_the_validator_looks_for_the_files(validated):
    assert [message for message in validated["without_a_ledger"] if "straight/runs/1/ledger.jsonl" in message]


def test_the_crate_of_a_real_run_is_valid(validated):
    if "real" not in validated:
        pytest.skip("nothing was certified in this checkout yet: `make certify EXP=tiny`")
    assert validated["real"] == []
