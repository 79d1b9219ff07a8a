"""Documents and evidence that somebody garbled and signed: an answer or a clear error, never a traceback."""

import contextlib
import copy
import json
import random

import pytest

from harness.errors import HarnessError
from harness.signing.certificate import build_certificate
from harness.verify.verify import verify
from harness.workflow.verify import rendered_again
from tests.made.documents import manifest_of, read_documents, verdict_of
from tests.tamper.made_archive import BUNDLE, KEY, documents, silent

TEXTS = ("", "../..", "\x1b[2J", "sha256:" + "0" * 64, "é" * 300)
VALUES = (None, True, -1, 0, 1 << 70, 1.5, *TEXTS, [], {}, [None], {"a": {}}, [[]])
EVIDENCE = ("ledger.jsonl", "events.jsonl", "tensors.jsonl", "progress.jsonl")


def places(value, path=()):
    """Every path in a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def garbled(value, rng):
    """A copy in which one place is another value, is gone, or has a stranger beside it."""
    value = copy.deepcopy(value)
    path = rng.choice([path for path in places(value) if path])
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    how = rng.randrange(3)
    if how == 0 and isinstance(parent, dict):
        del parent[path[-1]]
    elif how == 1 and isinstance(parent, dict):
        parent["stranger"] = rng.choice(VALUES)
    else:
        parent[path[-1]] = rng.choice(VALUES)
    return value


def verified(honest, titles):
    """The word, or the error's exit code; anything but an error of ours is a failure of the test."""
    try:
        return verify(honest.rewritten(titles), None, None, silent, rendered_again).word
    except HarnessError as error:
        assert error.exit_code in (2, 3, 5), error
        return error.exit_code


def signed(honest, titles, manifest, verdict):
    """The titles with these documents, a certificate that lists them as they are, and signatures that fit.

    A certificate that cannot be made of such documents stays what it was.
    """
    import rfc8785

    from harness.documents.digest import sha256
    from harness.signing.statements import statements

    titles = dict(titles)
    titles["manifest.json"] = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    titles["verdict.json"] = json.dumps(verdict, indent=1, sort_keys=True).encode() + b"\n"
    digests = {name: str(sha256(data)) for name, data in titles.items() if name not in (BUNDLE, KEY)}
    old = json.loads((honest.folder / "certificate.json").read_text())
    listed = [{"name": name, "digest": {"sha256": digest[7:]}} for name, digest in sorted(digests.items())]
    old["predicate"]["evidence"] = listed
    certificate = rfc8785.dumps(old)
    payloads = statements(certificate, *reversed(read_documents(honest.folder)))
    with contextlib.suppress(HarnessError, ValueError):
        models = verdict_of(verdict), manifest_of(manifest)
        payloads = statements(build_certificate(*models, digests), *models)
    titles[BUNDLE], titles[KEY] = honest.attacker.sign(payloads), honest.attacker.key.render()
    return titles


def fuzz_documents(honest, seed, number, is_other_version):
    rng = random.Random(seed)
    titles = honest.titles()
    manifest, verdict = documents(honest.folder)
    if is_other_version:
        manifest["harness"]["sources"] = "sha256:" + "0" * 64
    assert verified(honest, signed(honest, titles, manifest, verdict)) == (
        "PARTIAL" if is_other_version else "CONSISTENT"
    )
    for _ in range(number):
        which = rng.randrange(2)
        pair = (garbled(manifest, rng), verdict) if which else (manifest, garbled(verdict, rng))
        word = verified(honest, signed(honest, titles, *pair))
        is_same = pair == (manifest, verdict)
        assert which or is_same or is_other_version or word != "CONSISTENT", pair[1]


def fuzz_evidence(honest, seed, number):
    rng = random.Random(seed)
    titles = honest.titles()
    manifest, verdict = documents(honest.folder)
    names = [name for name in titles if name.endswith(EVIDENCE) or "/output/" in name or name.endswith("code.tar")]
    for _ in range(number):
        name = rng.choice(names)
        data = bytearray(titles[name])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            how = rng.randrange(3)
            if how == 0:
                data[at] = rng.randrange(256)
            elif how == 1:
                del data[at : at + rng.randrange(1, 60)]
            else:
                data[at:at] = data[max(0, at - 40) : at]
        word = verified(honest, signed(honest, {**titles, name: bytes(data)}, manifest, verdict))
        # What a run reported for plots decides nothing; all else does.
        assert word != "CONSISTENT" or bytes(data) == titles[name] or "progress.jsonl" in name, name


@pytest.mark.parametrize("is_other_version", [False, True])
def test_garbled_documents_are_answered_in_words(honest, is_other_version):
    fuzz_documents(honest, 5, 40, is_other_version)


def test_garbled_evidence_is_answered_in_words(honest):
    fuzz_evidence(honest, 6, 40)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_garbled_documents_and_files_are_answered_in_words(honest, seed):
    fuzz_documents(honest, 100 + seed, 400, False)
    fuzz_documents(honest, 200 + seed, 400, True)
    fuzz_evidence(honest, 300 + seed, 400)
