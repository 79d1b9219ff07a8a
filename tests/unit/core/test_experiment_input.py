import pytest

from harness.core.experiment_input import Input, check_input
from harness.errors import UsageError

DIGEST = "sha256:" + "a" * 64
FILE = {"name": "text", "kind": "file", "reference": "data/text.txt", "sha256": DIGEST}
PACKAGE = {"name": "words", "kind": "deb", "reference": "wamerican", "version": "2020.12.07-2", "sha256": DIGEST}


@pytest.mark.parametrize("fields", [FILE, PACKAGE, {**PACKAGE, "kind": "pypi", "reference": "Some.Package"}])
def test_a_well_formed_input_is_taken_as_it_is(fields):
    value = Input(**fields)
    assert check_input(value) is value


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({**FILE, "name": "../x"}, "no such name"),
        ({**FILE, "name": ""}, "no such name"),
        ({**FILE, "kind": "ftp"}, "unknown kind"),
        ({**FILE, "sha256": "a" * 64}, "sha256 is"),
        ({**FILE, "sha256": "sha256:" + "A" * 64}, "sha256 is"),
        ({**FILE, "reference": "/etc/passwd"}, "no path below"),
        ({**FILE, "reference": "a/../../b"}, "no path below"),
        ({**FILE, "reference": ""}, "no path below"),
        ({**FILE, "version": "1"}, "no path below"),
        ({**PACKAGE, "reference": "a b"}, "no package name"),
        ({**PACKAGE, "reference": "--index-url=x"}, "no package name"),
        ({**PACKAGE, "version": ""}, "no exact version"),
        ({**PACKAGE, "version": ">=1"}, "no exact version"),
        ({**PACKAGE, "version": "1 --hash"}, "no exact version"),
    ],
)
def test_a_malformed_input_is_refused_by_name(fields, says):
    with pytest.raises(UsageError, match=says) as caught:
        check_input(Input(**fields))
    assert repr(fields["name"]) in str(caught.value)
