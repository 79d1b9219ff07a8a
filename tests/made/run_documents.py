"""Verdict, manifest and certificate of one made-up run, as they are read from JSON."""

from harness.documents.digest import Digest
from harness.documents.experiment import parse_experiment
from harness.judge.manifest import Materials, build_manifest
from harness.judge.verdict import judge
from harness.signing.certificate import build_certificate
from tests.made.documents import manifest_of, verdict_of
from tests.made.synthetic import case

EXPERIMENT = """\
schema: 1
image: cpu
run: [python, train.py]
resume: [python, train.py, --resume]
steps: 8
outputs: [adapter.safetensors, metrics.jsonl]
checkpoints: ["checkpoints/*.safetensors"]
interruptions: [{kind: micro_batch, step: 6, micro_batch: 1}]
inputs:
  words: {deb: wordnet-base, version: "1:3.0-37", sha256: "sha256:%(hex)s"}
  model: {hf: owner/name, revision: "%(commit)s", sha256: "sha256:%(hex)s"}
  page: {https: "https://example.org/data.txt", sha256: "sha256:%(hex)s"}
  wheel: {pypi: some-data, version: "1.2", sha256: "sha256:%(hex)s"}
  local: {file: data/words.txt, sha256: "sha256:%(hex)s"}
policy: {volatile: [seconds]}
""" % {"hex": "6" * 64, "commit": "7" * 40}
HOST = {
    "cpu": "a model",
    "cores": 2,
    "memory_bytes": 1 << 34,
    "kernel": "6.1",
    "machine": "x86_64",
    "system": "Debian",
    "gpus": [],
}
VOLATILE = {"started": "2026-11-23T16:06:46+00:00", "finished": "2026-11-23T17:07:25+01:00", "seconds": {"runs": 37.0}}
EVIDENCE = ("code.tar", "config.json", "manifest.json", "straight/runs/1/ledger.jsonl", "verdict.json")


def run_documents(**changes):
    """The documents of `case(**changes)`: certificate (bytes), and the models of verdict and manifest."""
    judged = case(**changes)
    verdict = judge(judged).to_json()
    experiment = parse_experiment(EXPERIMENT, "tiny.yaml")
    digest = Digest("sha256", "1" * 64)
    image = {
        "name": "cpu",
        "id": "sha256:" + "2" * 64,
        "locks": dict.fromkeys(("base-bookworm.lock", "cpu.lock", "cuda.lock"), "sha256:" + "3" * 64),
        "size_bytes": 1 << 60,
    }
    materials = Materials(
        commit=judged.commit, is_dirty=judged.dirty, code=digest, recorder=digest, image=image, prepared={}, host=HOST
    )
    evidence = tuple(one for one in (judged.straight, judged.resumed, judged.rerun) if one is not None)
    manifest = build_manifest(
        name="tiny",
        run_id=judged.run_id,
        runner="docker",
        version="1.2.3",
        sources=digest,
        experiment=experiment,
        materials=materials,
        trajectories=evidence,
        volatile=VOLATILE,
        scope=judged.scope,
        review=verdict["review"],
    )
    verdict, manifest = verdict_of(verdict), manifest_of(manifest)
    return build_certificate(verdict, manifest, dict.fromkeys(EVIDENCE, "sha256:" + "4" * 64)), verdict, manifest
