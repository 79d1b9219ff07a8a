import ast

import pytest

from harness.review.source.meaning import absolute
from harness.review.source.module import read_module
from harness.review.source.program import Program


def program_of(**files):
    """A tree of files, `a__b` for a/b.py."""
    texts = {f"{name.replace('__', '/')}.py": text for name, text in files.items()}
    texts = {path.replace("/init", "/__init__"): text for path, text in texts.items()}
    return Program(texts, lambda path: read_module(path, texts[path].encode()))


def meaning_of(expression, text="", path="main.py", **files):
    """What the last statement of main.py means."""
    program = program_of(main=f"{text}\n{expression}\n", **files)
    module = program.module(path)
    node = module.tree.body[-1].value
    return program.resolver.resolve(node, module.scope)


@pytest.mark.parametrize(
    ("text", "expression", "name"),
    [
        ("import torch", "torch.nn.Linear", "torch.nn.Linear"),
        ("import torch.utils.data as tud", "tud.DataLoader", "torch.utils.data.DataLoader"),
        ("from torch import nn as layers", "layers.Linear", "torch.nn.Linear"),
        ("import numpy as np\nrng = np.random.default_rng()", "rng.shuffle", "numpy.random.default_rng().shuffle"),
        ("from datasets import load_dataset", "load_dataset('x')['a'].shuffle", "datasets.load_dataset()[].shuffle"),
        ("", "set", "builtins.set"),
        ("import random\nr = random\ns = r", "s.random", "random.random"),
    ],
)
def test_names_are_written_out_in_full(text, expression, name):
    found = meaning_of(expression, text)
    assert found.name == name
    assert found.is_certain


def test_a_builtin_that_the_file_defines_is_none():
    assert meaning_of("hash", "def hash(x): return 1").name == "main.py::hash"


def test_what_the_tree_defines_carries_its_file():
    found = meaning_of("set_seed", "from tools import set_seed", tools="def set_seed(s): pass")
    assert found.name == "tools.py::set_seed"
    assert found.definition.name == "set_seed"


def test_a_name_is_followed_through_a_package_that_hands_it_on():
    inner = "from torch import manual_seed as fix"
    found = meaning_of("fix", "from lib import fix", lib__init="from .inner import fix", lib__inner=inner)
    assert found.name == "torch.manual_seed"


def test_a_submodule_of_a_package_is_found_by_its_attribute():
    found = meaning_of("lib.inner.f", "import lib.inner", lib__init="", lib__inner="def f(): pass")
    assert found.name == "lib/inner.py::f"


def test_a_star_import_of_the_tree_is_followed():
    assert meaning_of("np.random.rand", "from lib import *", lib="import numpy as np").name == "numpy.random.rand"


def test_two_assignments_make_a_meaning_uncertain():
    found = meaning_of("f", "import a, b\nif a.x:\n    f = a.f\nelse:\n    f = b.f")
    assert not found.is_certain


def test_an_import_in_a_handler_makes_a_meaning_uncertain():
    found = meaning_of("f", "try:\n    from a import f\nexcept ImportError:\n    from b import f")
    assert not found.is_certain


def test_a_name_of_the_module_that_is_bound_twice_is_uncertain_inside_a_function():
    program = program_of(main="import a, b\ndraw = a.f\ndraw = b.f\ndef f():\n    draw()\n")
    (site,) = program.sites(program.module("main.py"))
    assert site.name == "a.f"
    assert not site.is_certain


def test_the_same_import_twice_stays_certain():
    assert meaning_of("torch.rand", "import torch\nimport torch.nn").is_certain


def test_a_parameter_means_nothing():
    program = program_of(main="def f(torch):\n    torch.rand(1)\n")
    module = program.module("main.py")
    ((call, scope),) = module.calls
    assert program.resolver.resolve(call.func, scope) is None


def test_what_refers_to_itself_means_nothing():
    assert meaning_of("x", "x = y\ny = x") is None


def test_self_is_looked_up_in_the_class_and_its_bases():
    text = "import random\nclass A:\n    def __init__(self):\n        self.rng = random.Random(1)\n"
    text += "    def draw(self): pass\nclass B(A):\n    def f(self):\n        self.draw(self.rng.random())\n"
    program = program_of(main=text)
    names = [site.name for site in program.sites(program.module("main.py"))]
    assert "main.py::A.draw" in names


def test_a_method_of_an_object_is_the_one_of_its_class():
    found = meaning_of("a.f", "class A:\n    def f(self): pass\na = A()")
    assert found.name == "main.py::A.f"


def test_a_class_attribute_is_no_name_inside_its_methods():
    program = program_of(main="import random\nclass A:\n    random = 3\n    def f(self):\n        random.random()\n")
    module = program.module("main.py")
    ((call, scope),) = module.calls
    assert program.resolver.resolve(call.func, scope).name == "random.random"


@pytest.mark.parametrize(
    ("text", "expression", "value"),
    [
        ("", "3", 3),
        ("", "-1", -1),
        ("seed = 4", "seed", 4),
        ("from config import SEED", "SEED", 5),
        ("import sys\nseed = 1\nseed = 2", "seed", ...),
        ("", "f()", ...),
        ("", "None", None),
    ],
)
def test_constants_are_followed_to_the_one_literal(text, expression, value):
    program = program_of(main=f"{text}\n{expression}\n", config="SEED = 5")
    module = program.module("main.py")
    assert program.resolver.constant(module.tree.body[-1].value, module.scope) == value


def test_relative_names_are_counted_from_the_package():
    program = program_of(a__b__init="", a__b__c="")
    package, inside = program.module("a/b/__init__.py"), program.module("a/b/c.py")
    assert [absolute(name, package) for name in (".x", "..x", "x")] == ["a.b.x", "a.x", "x"]
    assert [absolute(name, inside) for name in (".x", "..x.y")] == ["a.b.x", "a.x.y"]


def test_resolving_an_expression_of_no_kind_that_is_known_gives_nothing():
    program = program_of(main="1 + 1\n")
    module = program.module("main.py")
    assert program.resolver.resolve(ast.parse("1 + 1").body[0].value, module.scope) is None
