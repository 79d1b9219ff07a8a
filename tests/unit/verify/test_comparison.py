"""Documents that nobody has to trust: what is no document of ours is refused in words."""

import json

import pytest

from harness.documents.document import read_json
from harness.errors import TamperedError
from harness.verify.comparison import first_difference


def nested(levels):
    return json.dumps({"a": 1}).replace("1", "[" * levels + "]" * levels).encode()


@pytest.mark.parametrize("levels", [100, 400, 900, 100_000])
def test_a_document_that_is_nested_too_deeply_to_be_compared_is_refused(levels):
    with pytest.raises(TamperedError, match=r"nested deeper than 64 levels|is no JSON document"):
        read_json(nested(levels), "manifest.json")


def test_a_document_of_any_depth_that_is_read_can_be_compared():
    deepest = read_json(nested(63), "manifest.json")
    assert first_difference(deepest, json.loads(nested(63)), only_common=False) is None
