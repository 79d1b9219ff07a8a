"""A finished run made for the tests: the evidence of `synthetic` on disk, with documents and a certificate to match."""

import json
from datetime import UTC, datetime

from harness.archive.full import Full, Source, bytes_source
from harness.archive.run_folder import list_evidence, note_left_out
from harness.archive.writing import write_archive
from harness.documents.digest import Digest
from harness.documents.experiment import parse_experiment
from harness.documents.lockfile import digest_of
from harness.images import oci_documents
from harness.images.image import canonical_config
from harness.images.layer import Entry
from harness.images.layer_tar import encode, encoded_size
from harness.judge.manifest import Materials, build_manifest
from harness.judge.verdict import judge
from harness.runs.load_evidence import load_trajectory
from harness.signing.certificate import build_certificate
from harness.signing.keys import create_key, load_signer
from tests.made.documents import read_documents
from tests.made.project import make_project
from tests.made.synthetic import Files, Process, State, canonical, case, chain, record_of

OUTPUTS, CHECKPOINTS = ("adapter.safetensors", "metrics.jsonl"), ("checkpoints/*.safetensors",)
RUN_ID = "20261123T160646Z-abcdef0-7938"
FINISHED = datetime(2026, 11, 23, 16, 7, 25, tzinfo=UTC)


def silent(_):
    pass


def signer(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HARNESS_KEY", raising=False)
    create_key("default")
    return load_signer(None)


def make_run(root, runner="host", image=None):
    """The folder of a certified run; returns it with the bytes of the wheel and the Debian package of its locks."""
    folder = root / "runs" / "exp" / RUN_ID
    folder.mkdir(parents=True)
    wheel, package = make_project(folder / "code")
    (folder / "code" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "code" / "run.sh").chmod(0o755)
    (folder / "code" / "link").symlink_to("data.txt")
    (folder / "inputs").mkdir()
    (folder / "config.json").write_text("{}\n")
    straight = make_straight(folder / "straight")
    certify(folder, straight, runner, image)
    return folder, wheel, package


def make_straight(folder):
    """A straight trajectory on disk, and as it is read."""
    files = Files()
    process = Process(files)
    process.train(State())
    own = folder / "runs" / "1"
    own.mkdir(parents=True)
    (own / "ledger.jsonl").write_bytes(chain(process.ledger))
    (own / "events.jsonl").write_bytes(chain(process.events))
    (own / "tensors.jsonl").write_bytes(b"".join(canonical(line) + b"\n" for line in process.sidecar))
    (own / "progress.jsonl").write_bytes(b'{"loss":1.5,"step":1}\n')
    (folder / "run-1.json").write_text("{}\n")
    for path, data in files.files.items():
        if isinstance(data, bytes):
            (folder / "output" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "output" / path).write_bytes(data)
    return load(folder)


def load(source):
    return load_trajectory(source, "straight", (record_of("straight", 1, None),), OUTPUTS, CHECKPOINTS, ("seconds",))


def certify(folder, straight, runner, image):
    """Write the documents, and last the certificate, as a certify does."""
    judged = case(experiment="exp", run_id=RUN_ID, runner=runner)
    verdict = judge(judged).to_json()
    digest = Digest("sha256", "1" * 64)
    materials = Materials(
        commit=judged.commit,
        is_dirty=False,
        code=digest,
        recorder=digest,
        prepared={},
        host={},
        image={"name": "tiny", "id": image, "locks": {}, "size_bytes": 1},
    )
    text = (folder / "code" / "pipelines" / "experiments" / "exp.yaml").read_text()
    manifest = build_manifest(
        name="exp",
        run_id=RUN_ID,
        runner=runner,
        version="1",
        experiment=parse_experiment(text, "exp.yaml"),
        materials=materials,
        trajectories=(straight,),
        review=None,
        sources=digest,
        volatile={"started": "2026-11-23T16:06:46+00:00", "finished": FINISHED.isoformat(), "seconds": {}},
    )
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "verdict.json").write_text(json.dumps(verdict))
    recertify(folder)


def recertify(folder):
    """The certificate for what lies in the folder now."""
    note_left_out(folder)
    digests = {name: str(one) for name, one in list_evidence(folder).items()}
    manifest, verdict = read_documents(folder)
    (folder / "certificate.json").write_bytes(build_certificate(verdict, manifest, digests))


def made_image(tmp_path):
    """An image of one layer: its id, its manifest, and the sources of its blobs."""
    (tmp_path / "hello").write_bytes(b"hello")
    entries = (Entry(path="hello", kind="file", size=5, archive=str(tmp_path / "hello")),)
    layer = b"".join(encode(entries))
    config = canonical_config({"architecture": "amd64", "os": "linux", "config": {}}, (digest_of(layer),))
    blob = oci_documents.Blob(digest_of(layer), encoded_size(entries))
    document = oci_documents.render_image(oci_documents.blob_of(config), [blob])
    sources = (bytes_source(document), bytes_source(config), Source(blob, lambda: iter((layer,))))
    return digest_of(config), oci_documents.parse_image(document), sources


def write(folder, target, key, full: Full | None = None):
    write_archive(folder, target, key, full=full, progress=silent)
    return target
