import pytest

from harness.review.source.execution import is_script
from harness.review.source.module import read_module
from harness.review.source.program import Program


def program_of(texts):
    return Program(texts, lambda path: read_module(path, texts[path].encode()))


def entry_of(texts, path="main.py"):
    program = program_of(texts)
    return program.entry(program.module(path))


def steps(texts, path="main.py"):
    """The names of the calls in the order in which they happen, a question mark behind those that may be left out."""
    return [f"{site.name}{'?' if site.is_conditional else ''}" for site in entry_of(texts, path).execution]


def test_functions_are_entered_where_they_are_called():
    main = "from a import f\nfrom b import g\ng()\ndef main():\n    f(1)\n    h()\ndef h():\n    i()\nmain()\n"
    texts = {"main.py": main, "a.py": "import torch\ndef f(x): torch.rand(x)\n", "b.py": "def g(): pass\n"}
    assert steps(texts) == ["b.py::g", "main.py::main", "a.py::f", "torch.rand", "main.py::h", ""]


def test_a_function_is_entered_once():
    assert steps({"main.py": "def f(): g(1)\nf()\nf()\n"}) == ["main.py::f", "", "main.py::f"]


def test_a_recursion_ends():
    assert steps({"main.py": "def f(): f()\nf()\n"}) == ["main.py::f", "main.py::f"]


@pytest.mark.parametrize(
    "text",
    [
        "if x:\n    print()",
        "for x in y:\n    print()",
        "while x:\n    print()",
        "x and print()",
        "a = print() if x else 0",
        "a = [print() for x in y]",
        "try:\n    pass\nexcept ValueError:\n    print()",
        "match x:\n    case 1:\n        print()",
    ],
)
def test_what_may_be_left_out_is_conditional(text):
    assert steps({"main.py": text}) == ["builtins.print?"]


@pytest.mark.parametrize(
    "text",
    [
        "if print():\n    pass",
        "with print():\n    pass",
        "try:\n    print()\nfinally:\n    pass",
        "a = [x for x in print()]",
    ],
)
def test_what_happens_in_any_case_is_not_conditional(text):
    assert steps({"main.py": text}) == ["builtins.print"]


def test_what_a_conditional_call_enters_is_conditional():
    assert steps({"main.py": "def f(): print()\nif x:\n    f()\n"}) == ["main.py::f?", "builtins.print?"]


def test_the_main_guard_is_the_entrys_own():
    texts = {"main.py": "import tool\nif __name__ == '__main__':\n    print()\n"}
    texts["tool.py"] = "len('')\nif __name__ == '__main__':\n    repr('')\n"
    assert steps(texts) == ["builtins.len", "builtins.print"]


def test_building_an_object_enters_its_constructor():
    texts = {"main.py": "class A:\n    def __init__(self): print()\nclass B(A): pass\nB()\n"}
    assert steps(texts) == ["main.py::B", "builtins.print"]


def test_what_runs_a_function_for_somebody_enters_it():
    assert steps({"main.py": "import fire\ndef main(): print()\nfire.Fire(main)\n"}) == ["fire.Fire", "builtins.print"]


def test_callbacks_and_methods_come_later():
    main = "class Data:\n    def __getitem__(self, i): print()\ndef collate(rows): len(rows)\nload(Data(), collate)\n"
    entry = entry_of({"main.py": main})
    assert "builtins.print" not in [site.name for site in entry.execution]
    assert {site.name for site in entry.later} == {"builtins.print", "builtins.len"}
    assert all(site.is_conditional for site in entry.later)


def test_the_closure_holds_what_is_imported_directly_or_not():
    texts = {"main.py": "import a\n", "a.py": "def f():\n    from p import b\n", "p/__init__.py": "", "p/b.py": ""}
    texts["other.py"] = ""
    assert entry_of(texts).closure[0].path == "main.py"
    assert {module.path for module in entry_of(texts).closure} == {"main.py", "a.py", "p/__init__.py", "p/b.py"}


def test_a_script_finds_what_lies_beside_it_and_in_src():
    texts = {"scripts/main.py": "import near\nimport lib\n", "scripts/near.py": "", "src/lib/__init__.py": ""}
    entry = entry_of(texts, "scripts/main.py")
    assert {module.path for module in entry.closure} == {"scripts/main.py", "scripts/near.py", "src/lib/__init__.py"}


def test_a_file_inside_a_package_does_not_find_its_neighbours_by_their_bare_names():
    texts = {"p/__init__.py": "", "p/random.py": "", "p/main.py": "import random\nrandom.random()\n"}
    program = program_of(texts)
    assert [site.name for site in program.sites(program.module("p/main.py"))] == ["random.random"]


def test_a_file_does_not_import_itself():
    texts = {"random.py": "import random\nrandom.random()\n"}
    program = program_of(texts)
    assert [site.name for site in program.sites(program.module("random.py"))] == ["random.random"]


def test_files_that_import_each_other_end():
    texts = {"main.py": "import a\n", "a.py": "import main\n"}
    assert len(entry_of(texts).closure) == 2


def test_libraries_are_what_the_tree_does_not_hold():
    main = "import a\nimport torch.nn\nfrom numpy import random\nfrom . import a\n"
    texts = {"main.py": main, "a.py": "import yaml\n"}
    entry = entry_of(texts)
    assert entry.program.libraries(entry.closure) == {"torch", "numpy", "yaml"}


def test_a_file_that_cannot_be_read_is_no_module():
    main = read_module("main.py", b"import bad\nbad.f()\n")
    program = Program(["main.py", "bad.py"], {"main.py": main, "bad.py": None}.get)
    module = program.module("main.py")
    assert program.imports(module) == ()
    assert [site.name for site in program.sites(module)] == ["bad.f"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("print()\n", True),
        ("if __name__ == '__main__':\n    pass\n", True),
        ("if '__main__' == __name__:\n    pass\n", True),
        ("def f(): print()\nx = 1\n", False),
        ("if x == 1:\n    pass\n", False),
    ],
)
def test_a_script_is_a_file_that_does_something(text, expected):
    assert is_script(read_module("main.py", text.encode())) is expected


def test_arguments_are_found_by_name_and_by_place():
    program = program_of({"main.py": "f(1, *rest, x=2)\ng(1, 2, y=None)\n"})
    first, second = program.sites(program.module("main.py"))
    assert first.is_open
    assert first.constant(first.argument("x")) == 2
    assert first.argument("z", 1) is None
    assert not second.is_open
    assert second.constant(second.argument("z", 1)) == 2
    assert second.constant(second.argument("y")) is None


def test_what_is_found_in_a_file_is_asked_once():
    asked = []

    def find(program, module):
        asked.append(module.path)
        return len(asked)

    program = program_of({"main.py": ""})
    module = program.module("main.py")
    assert [program.remember(find, module), program.remember(find, module)] == [1, 1]
