from pathlib import Path

import pytest

from harness.archive.licences import licence_of

APACHE = (Path(__file__).resolve().parents[3] / "LICENSE").read_text(encoding="utf-8")
MIT = """\
MIT License

Copyright (c) 2026 The authors

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def test_the_apache_licence_is_told_with_and_without_its_appendix():
    assert licence_of(APACHE) == "Apache-2.0"
    end = APACHE.index("END OF TERMS AND CONDITIONS") + len("END OF TERMS AND CONDITIONS")
    assert licence_of(APACHE[:end]) == "Apache-2.0"


def test_the_mit_licence_is_told_whoever_holds_the_copyright():
    assert licence_of(MIT) == "MIT"
    assert licence_of(MIT.replace("\n", " \n").replace("The authors", "Somebody else")) == "MIT"
    assert licence_of("Copyright 2001 A\nCopyright 2002 B\n\n" + MIT[MIT.index("Permission") :]) == "MIT"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "All rights reserved.",
        MIT + "\nThe Software may not be used for military purposes.\n",
        "Commons Clause: you may not sell the Software.\n" + MIT,
        MIT.replace("sell", "give away"),
        APACHE + "\nExcept on Sundays.\n",
        "Only for research.\n" + APACHE,
        APACHE.replace("irrevocable", "revocable"),
        MIT + APACHE,
        "copyright " * 20_000,
    ],
)
def test_anything_else_is_not_told(text):
    assert licence_of(text) is None


def test_a_first_line_that_names_a_licence_is_believed():
    assert licence_of("SPDX-License-Identifier: GPL-3.0-or-later\n\nThe text ...") == "GPL-3.0-or-later"
    assert licence_of("# SPDX-License-Identifier: BSD-3-Clause") == "BSD-3-Clause"


@pytest.mark.parametrize(
    "text",
    [
        "SPDX-License-Identifier: Whatever-1.0\n",
        "SPDX-License-Identifier: MIT OR Apache-2.0\n",
        "Fonts:\nSPDX-License-Identifier: OFL-1.1\n",
        "SPDX-License-Identifier: MIT\n...\nSPDX-License-Identifier: OFL-1.1\n",
    ],
)
def test_a_name_that_is_unknown_ambiguous_or_further_down_is_not_believed(text):
    assert licence_of(text) is None
