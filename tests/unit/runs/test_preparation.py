"""What was converted before: found again as it was, or made again."""

import dataclasses

import pytest

from harness.documents.digest import sha256
from harness.errors import EvidenceError
from harness.runs.preparation import prepare
from harness.system.store import open_store
from tests.unit.runs.test_trajectory import context_of

KEY = sha256(b"conversion")
CONVERTS = "import sys; open(sys.argv[1] + '/data.txt', 'w').write('converted')"


def prepared(tmp_path, code=CONVERTS):
    context = context_of(tmp_path, code)
    argv = ("python", "job.py", "{prepared}")
    return dataclasses.replace(context, experiment=context.experiment.model_copy(update={"prepare": argv}))


def test_what_somebody_changed_in_the_cache_is_made_again(tmp_path):
    context, store = prepared(tmp_path), open_store(tmp_path / "cache", {})
    tree, digests = prepare(context, store, KEY)
    (tree / "data.txt").write_text("something else")
    again, same = prepare(context, store, KEY)
    assert (again / "data.txt").read_text() == "converted" and same == digests


def test_a_link_is_refused(tmp_path):
    context = prepared(tmp_path, CONVERTS + "; import os; os.symlink('/etc/passwd', sys.argv[1] + '/link')")
    with pytest.raises(EvidenceError, match="no file, such as a link"):
        prepare(context, open_store(tmp_path / "cache", {}), KEY)
