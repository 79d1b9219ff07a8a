"""The record of a replay: its folder holds what the record published, so both sides of its comparison are there."""

from __future__ import annotations

from harness.documents.document import REMEDY
from harness.documents.verdict import Verdict
from harness.errors import EvidenceError, TamperedError
from harness.judge.verdict_inputs import RecordedTraining
from harness.signing.certificate import read_certificate
from harness.signing.public_key import KEY_FILE, PublicKey, verify_bundle
from harness.verify.comparison import first_difference
from harness.verify.evidence import read_straight
from harness.verify.material import BUNDLE, Material
from harness.verify.record import read_record, recorded_training
from harness.verify.statements import check_evidence_list

FOLDER = "record"


def read_replayed(material: Material, verdict: Verdict) -> RecordedTraining:
    """The record that a replay was compared with, from below `record/`; its signature is verified where it has one.

    Raises:
        TamperedError: the record is not what its signature says, or another than the verdict names.
    """
    published = _published(material)
    if published.is_signed:
        key = published.key()
        if key is None:
            raise TamperedError(f"{FOLDER}/{KEY_FILE} is missing", REMEDY)
        payloads = verify_bundle(published.bundle(), PublicKey.parse(key))
        check_evidence_list(read_certificate(payloads[0]), published)
    record = read_record(published.document("manifest.json"), published.document("verdict.json"))
    if verdict.replay is None or "straight" not in record.runs:
        raise TamperedError(f"{FOLDER} has no straight run, or the verdict names no record", REMEDY)
    told = verdict.replay.record
    try:
        straight, _ = read_straight(record, published.files)
        recorded = recorded_training(record, straight, source=told.source, key=told.key)
    except EvidenceError as error:
        raise TamperedError(f"the record of this replay cannot be read: {error}", REMEDY) from error
    known, named = (one.model_dump(exclude={"finished"}) for one in (recorded.record, told))
    if different := first_difference(known, named, only_common=False):
        raise TamperedError(f"verdict.json names another record than it holds: {different}", REMEDY)
    return recorded


def _published(material: Material) -> Material:
    """The record's part of the evidence, as a published folder of its own."""
    prefix = f"{FOLDER}/"
    digests = {
        name.removeprefix(prefix): digest
        for name, digest in material.digests.items()
        if name.startswith(prefix) and name not in (prefix + BUNDLE, prefix + KEY_FILE)
    }
    return Material(kind="published", files=material.files.below(FOLDER), digests=digests, size_bytes=0)
