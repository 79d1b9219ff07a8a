import pytest

from harness.documents.dockerfile import read_steps
from harness.review.finding import Finding, Showing
from harness.review.rules import RULES
from harness.review.surroundings.dockerfiles import commands_of, substituted
from harness.review.surroundings.requirements import parse_conda_spec, parse_requirement, parse_requirements
from harness.review.surroundings.shell import read_commands
from harness.review.surroundings.surrounding_files import decode_text, is_surrounding
from harness.review.surroundings.tree import review_surroundings

DIGEST = "sha256:" + "0123456789abcdef" * 4
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def words(text):
    commands = read_commands(enumerate(text.splitlines(), 1))
    return [(command.line, [word.text for word in command.words], command.ends_with) for command in commands]


def found(files):
    said, _ = review_surroundings(files, RULES)
    return [(one.rule, one.certainty, str(one.place)) for one in said if isinstance(one, Finding) and not one.allowed]


def shown(files):
    said, _ = review_surroundings(files, RULES)
    return [one for one in said if isinstance(one, Showing)]


def unread(files):
    return review_surroundings(files, RULES)[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pip install a && b | sh", [(1, ["pip", "install", "a"], "&&"), (1, ["b"], "|"), (1, ["sh"], "\n")]),
        ("pip install \\\n  'a b' \"c\"d  # e", [(1, ["pip", "install", "a b", "cd"], "\n")]),
        ("if ! X=1 sudo pip list; then\n y; fi", [(1, ["pip", "list"], ";"), (2, ["y"], ";"), (2, ["fi"], "\n")]),
        ("cat <<-'END' >f\n\tpip install x\n\tEND\nls", [(1, ["cat", "<<-END", ">f"], "\n"), (4, ["ls"], "\n")]),
        ("echo 'one\npip install two'\nls", [(1, ["echo", "one\npip install two"], "\n"), (3, ["ls"], "\n")]),
        ("a 2>&1 $(b; c) (d)", [(1, ["a", "2>&1", "$(b; c)"], "("), (1, ["d"], ")")]),
        ("a#b # c\n# d", [(1, ["a#b"], "\n")]),
        ("'never closed", [(1, ["never closed\n"], "\n")]),
        ("", []),
    ],
)
def test_shell_commands_are_read_with_their_lines(text, expected):
    assert words(text) == expected


def test_a_word_of_a_continued_command_stands_on_its_own_line():
    (command,) = read_commands([(7, "pip install \\"), (8, "  torch \\"), (9, "  $MORE")])
    assert [(word.text, word.line, word.is_literal) for word in command.arguments] == [
        ("install", 7, True),
        ("torch", 8, True),
        ("$MORE", 9, False),
    ]


def test_the_steps_of_a_dockerfile_are_read_with_comments_and_here_documents_in_them():
    steps = read_steps(
        "# escape=`\nFROM a\nRUN pip install `\n# a comment\n\n    torch\nRUN <<EOF\npip install x\nEOF\n"
        'RUN ["pip", "install", "y"]\nRUN ["sh", "-c", "pip install z"]\nlabel a=b\n!\n'
    )
    assert [(step.line, step.name) for step in steps] == [
        (2, "FROM"),
        (3, "RUN"),
        (7, "RUN"),
        (10, "RUN"),
        (11, "RUN"),
        (12, "LABEL"),
    ]
    installed = [(word.line, word.text) for step in steps for one in commands_of(step) for word in one.words[2:]]
    assert installed == [(6, "torch"), (8, "x"), (10, "y"), (11, "z")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("$A-${A}", "1-1"), ("${B:-2}", "2"), ("${A:-2}", "1"), ("${A:+3}", "3"), ("$C", "$C"), ("${E}x", "x")],
)
def test_variables_are_put_in_where_they_are_known(value, expected):
    assert substituted(value, {"A": "1", "E": ""}) == expected


@pytest.mark.parametrize(
    ("text", "is_pinned"),
    [
        ("torch==2.4.1", True),
        ("torch===2.4.1+local", True),
        ("torch[all]==2.4.1 ; python_version > '3'", True),
        ("torch==2.4.*", False),
        ("torch>=2,==2.4.1", True),
        ("torch>=2", False),
        ("torch", False),
        (f"git+https://example.org/a.git@{COMMIT}", True),
        (f"git+https://example.org/a.git@{COMMIT}#egg=a", True),
        ("git+https://example.org/a.git@v1.0", False),
        ("git+ssh://git@example.org/a.git", False),
        (f"a @ git+https://example.org/a@{COMMIT}", True),
        ("a @ git+https://example.org/a", False),
        (f"a @ https://example.org/a.zip#sha256={'a' * 64}", True),
        ("https://example.org/a-1.0-py3-none-any.whl", True),
        ("https://example.org/latest.zip", False),
        (f"https://example.org/archive/{COMMIT}.zip", True),
    ],
)
def test_a_requirement_is_pinned_to_a_version_a_commit_or_a_file(text, is_pinned):
    assert parse_requirement(text, 1).is_pinned is is_pinned


@pytest.mark.parametrize("text", [".", "./pkg", "/code", "-e", "../x[extra]", "file:///x", "dist/a-1-py3-none-any.whl"])
def test_a_path_is_the_projects_own_code(text):
    parsed = parse_requirement(text, 1)
    assert parsed is None or parsed.is_local


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("numpy=1.26.4", "1.26.4"),
        ("numpy==1.26.4", "1.26.4"),
        ("conda-forge::numpy=1.26.4=py311_0", "1.26.4"),
        ("numpy 1.26.4", "1.26.4"),
        ("numpy", ""),
        ("numpy>=1.26", ""),
        ("numpy=1.26.*", ""),
        ("numpy[version='>=1']", ""),
    ],
)
def test_a_specification_of_conda_is_pinned_by_one_version(text, version):
    assert parse_conda_spec(text, 1).version == version


def test_requirements_files_are_read_with_options_hashes_and_continued_lines():
    file = parse_requirements(
        "# torch\n--index-url=https://a/simple\n-c ../pins.txt\n-r more.txt\n-e git+https://x/y.git\n"
        "numpy==1.0 \\\n    --hash=sha256:aa \\\n    --hash sha256:bb  # why\nno requirement at all\n",
        "sub/requirements.txt",
    )
    assert [(one.line, one.name, one.num_hashes) for one in file.requirements] == [
        (5, "git+https://x/y.git", 0),
        (6, "numpy", 2),
    ]
    assert (file.constraints, file.index_urls, file.unclear) == (("pins.txt",), ((2, "https://a/simple"),), (9,))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("requirements.txt", True),
        ("a/requirements-cuda.txt", True),
        ("a/gpu_requirements.txt", True),
        ("requirements/train.txt", True),
        ("notes.txt", False),
        ("environment.yml", True),
        ("conda-env.yaml", True),
        ("conda/environment-gpu.yaml", True),
        ("config.yaml", False),
        ("Dockerfile", True),
        ("Dockerfile.cuda", True),
        ("train.Dockerfile", True),
        ("Dockerfile-uv.jinja", False),
        ("run.sh", True),
        ("lockfiles/cpu.lock", True),
        ("yarn.lock", False),
        ("uv.lock", True),
    ],
)
def test_surroundings_are_known_by_their_names(path, expected):
    assert is_surrounding(path) is expected


@pytest.mark.parametrize(
    "name", ["requirements-dev.txt", "docs/requirements.txt", "tests/requirements.txt", ".github/setup.sh", "ci/run.sh"]
)
def test_what_does_not_train_is_told_and_not_judged(name):
    files = {name: "torch\npip install torch\n"}
    assert found(files) == []
    assert unread(files) == {name: "for development, tests or documents, by its name: not judged"}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("environment.yml", "dependencies: [", "no valid YAML"),
        ("environment.yml", "[" * 5000, "more brackets"),
        ("environment.yml", "- " * 5000, "no valid YAML"),
        ("environment.yml", "a: b\n" * 100_000, "more than 256 KiB"),
        ("pyproject.toml", "[project", "no valid TOML"),
        ("uv.lock", "package = 3", "no valid lock"),
        ("Pipfile.lock", "[]", "no valid lock"),
        ("requirements.txt", "torch==1.0\nwhat is this\n", "line 2: no requirement"),
        ("run.sh", "#" * (300 << 10), "scripts of more than 256 KiB"),
    ],
)
def test_what_is_malformed_is_told(name, text, reason):
    assert reason in unread({name: text})[name]


@pytest.mark.parametrize(
    "text",
    [
        "((((" * 1000,
        "$(" * 20_000,
        "<<" * 50_000,
        "a=" * 50_000,
        "\\" * 100_000,
        "RUN " + "x" * 200_000,
        "ENV " + "a" * 200_000,
        "FROM ${" * 1000,
        "RUN pip install " + "-" * 100_000,
        "RUN pip install https://" + "-0" * 50_000,
        "requirements" * 10_000,
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize("name", ["Dockerfile", "run.sh", "requirements.txt", "setup.cfg"])
@pytest.mark.timeout(20)
def test_strange_text_is_read_in_no_time(name, text):
    review_surroundings({name: text, "x/requirements.txt": "torch\n"}, RULES)


def test_text_is_read_in_utf_8_and_utf_16():
    assert decode_text("torch\n".encode("utf-16")) == "torch\n"
    assert decode_text(b"\xef\xbb\xbftorch\n") == "torch\n"


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "torch\n", "uv.lock": 'version = 1\n[[package]]\nname = "torch"\nversion = "2.4.1"\n'},
        {"requirements.txt": "torch\n", "requirements.lock": f"torch==2.4.1 --hash={DIGEST}\n"},
        {"requirements.txt": "torch\n", "setup.cfg": "install_requires = file: requirements.txt\n"},
        {"environment.yml": "dependencies: [torch]\n", "conda-lock.yml": "package: []\n"},
        {"Pipfile": '[packages]\ntorch = "*"\n', "Pipfile.lock": '{"default": {"torch": {"version": "==2.4.1"}}}'},
        {"pyproject.toml": '[build-system]\nrequires = []\n[project]\nname = "a"\ndependencies = ["torch"]\n'},
    ],
    ids=["uv.lock", "compiled", "packaging", "conda-lock", "Pipfile.lock", "library"],
)
def test_what_a_lock_pins_or_a_library_leaves_open_is_no_finding(files):
    assert found(files) == []


def test_what_pins_everything_shows_it():
    hashes = "".join(f" --hash=sha256:{digit * 64}" for digit in "ab")
    assert {(one.item, one.state, one.text) for one in shown({"requirements.txt": f"torch==2.4.1{hashes}\n"})} == {
        (item, "holds", "requirements.txt pins 1 distribution with one version each and 2 hashes")
        for item in ("E1", "V3")
    }
    other = {"requirements.txt": f"torch==2.4.1{hashes}\n", "more/requirements.txt": "numpy\n"}
    assert {one.item for one in shown(other)} == {"E1"}, "one file does not speak for the rest"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (("==", ">="), "is not pinned with =="),
        ((" --hash=", " --has="), "no requirement"),
        (("--hash=sha256:", "--hash=md5:"), "no sha256 hash"),
    ],
)
def test_a_damaged_lock_of_our_own_layout_is_an_unpinned_requirement(damage, expected):
    lock = f"numpy==1.26.4 --hash={DIGEST}\ntorch==2.4.1 --hash={DIGEST}\n"
    old, new = damage
    said, _ = review_surroundings({"lockfiles/cpu.lock": lock.replace(old, new)}, RULES)
    (finding,) = [one for one in said if isinstance(one, Finding)]
    assert (finding.rule, finding.certainty) == ("REP601", "proven")
    assert finding.place.path == "lockfiles/cpu.lock"
    if expected != "no requirement":
        assert expected in finding.message


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        ("torch  # harness: allow REP601 only a viewer of results is installed with it", []),
        ("# harness: allow REP601 only a viewer of results is installed with it\ntorch", []),
        ("torch  # harness: allow REP601", [("REP001", "proven"), ("REP601", "proven")]),
        ("torch  # harness: allow REP602 only a viewer of results", [("REP002", "proven"), ("REP601", "proven")]),
    ],
)
def test_a_line_of_requirements_is_allowed_with_a_reason(allow, expected):
    assert sorted((rule, certainty) for rule, certainty, _ in found({"requirements.txt": f"{allow}\n"})) == expected


@pytest.mark.parametrize(
    ("step", "rules"),
    [
        ("RUN wget -qO- https://example.org/a.sh | bash", ["REP607"]),
        ("RUN wget https://example.org/a.tar.gz", ["REP607"]),
        ("RUN wget -qO- https://example.org/version", []),
        ("RUN curl https://example.org/version", []),
        ("RUN curl -L https://example.org/a > a", ["REP607"]),
        ("RUN curl -fsSLo a https://example.org/a", ["REP607"]),
        ("RUN curl -fsSLo a https://example.org/a && sha256sum -c a.sums", []),
        (f"RUN curl -O https://example.org/{COMMIT}/a", []),
        ("RUN curl -X POST -d @a https://example.org/hook -o answer", []),
        ("RUN git clone https://example.org/a.git", ["REP607"]),
        ("RUN git clone --branch v1.0 https://example.org/a.git", []),
        ("RUN git clone https://example.org/a.git && cd a && git checkout v1", []),
        ("ADD a.tar.gz https.txt /", []),
        ("ADD https://example.org/a.git /a", ["REP607"]),
        ("RUN uv pip install --system torch", ["REP606"]),
        ("RUN conda run -n x pip install torch", ["REP606"]),
        ("RUN pip3.11 install -r requirements.txt", []),
        ("RUN pip install --upgrade pip setuptools wheel", []),
        ("RUN pip install . ./sub 'pkg[a] @ file:///x'", []),
        ("RUN pip install $PACKAGES", []),
        ("RUN pip install torch==$VERSION", []),
        ("RUN pip install -c pins.txt torch", []),
        ("RUN pip download torch && pip list", []),
        ("RUN pip install --target /x --index-url https://example.org/simple torch==1.0 > log 2>&1", []),
        ("RUN apt-get install -y git", ["REP605"]),
        ("RUN apt-get install -y git=1:2 -t bookworm ./local.deb $MORE", []),
        ("RUN apt-get update --snapshot=20240801T000000Z && apt-get install git", []),
        ("RUN micromamba create -n a -c b python", ["REP609"]),
        ("RUN conda install -y --file list.txt python=3.11", []),
        ("RUN conda env create -f environment.yml", []),
        ("COPY --from=ghcr.io/a/b:1 /x /y", ["REP604"]),
        (f"COPY --from=ghcr.io/a/b:1@{DIGEST} /x /y", []),
        ("RUN pip install torch==2.4.1+cu118", ["REP608"]),
        ("RUN pip install torch==2.4.1 --index-url https://download.pytorch.org/whl/cu118", ["REP608"]),
        ("RUN pip install torch==2.4.1+cu121", []),
        ("RUN apt-get install -y nvidia-driver-470=470.1", ["REP608"]),
        ("RUN apt-get install -y nvidia-driver-550=550.1", []),
    ],
)
def test_a_step_of_a_dockerfile_is_judged(step, rules):
    files = {"Dockerfile": f"FROM nvidia/cuda:12.4.1-base-ubuntu22.04@{DIGEST}\n{step}\n"}
    assert [(rule, place) for rule, _, place in found(files)] == [(rule, "Dockerfile:2") for rule in rules]
    assert bool(shown(files)) is not bool(rules)


def test_a_finding_is_told_once_a_file():
    text = f"FROM debian@{DIGEST}\nRUN pip install a\nRUN pip install b && apt-get install git\nRUN apt install vim\n"
    assert found({"Dockerfile": text}) == [
        ("REP605", "proven", "Dockerfile:3"),
        ("REP606", "proven", "Dockerfile:2"),
    ]


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ("torch==2.4.1+cpu\nnvidia-cublas-cu12==12.4.5.8", "torch 2.4.1+cpu is no CUDA build"),
        ("torch==2.4.1+cu121\nnvidia-cuda-runtime-cu12==12.4.127", "12.1, the locked runtime is CUDA 12.4"),
        ("torch==2.4.1\ntorchaudio==2.3.0", "torch 2.4.1 goes with torchaudio 2.4, and 2.3.0 is pinned"),
        ("-i https://download.pytorch.org/whl/cu118\ntorch==2.4.1+cu121", "the index named here is for CUDA 11.8"),
    ],
)
def test_versions_that_do_not_go_together_are_named(pins, message):
    said, _ = review_surroundings({"requirements.txt": f"{pins}\n"}, RULES)
    assert [message in one.message for one in said if isinstance(one, Finding) and one.rule == "REP608"] == [True]


def test_conda_and_pip_for_two_cudas_are_named():
    text = "dependencies:\n- pytorch-cuda=11.8\n- pip:\n  - torch==2.4.1+cu121\n"
    assert [rule for rule, _, _ in found({"environment.yml": text})] == ["REP608"]


HASH = f"--hash=sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        (f"-e .\nnumpy==1.0 {HASH}\n", "unknown", "pip would refuse requirements.txt: . has no hash"),
        (f"git+https://x.org/a.git@{'1' * 40}\nnumpy==1.0 {HASH}\n", "unknown", "pip would refuse"),
        (f"six==1.0\nnumpy==1.0 {HASH}\n", "unknown", "pip would refuse requirements.txt: six==1.0 has no hash"),
        ("-e .\nnumpy==1.0\n", "holds", "pins 1 distribution with one version each, without hashes"),
        ("numpy==1.0\nnumpy==2.0\n", "unknown", "does not say which version of numpy it pins on cp311-linux-x86_64"),
        (
            "numpy==1.0; python_version < '3.12'\nnumpy==2.0; python_version >= '3.12'\n",
            "holds",
            "pins 1 distribution with one version each, without hashes; "
            "split by environment markers, on cp311-linux-x86_64: numpy 1.0",
        ),
    ],
)
def test_what_pip_would_refuse_holds_nothing_and_a_split_names_the_targets_version(text, state, words):
    said, _ = review_surroundings({"requirements.txt": text}, RULES)
    shown = [one for one in said if isinstance(one, Showing) and one.item == "V3"]
    assert [one.state for one in shown] == [state]
    assert words in shown[0].text


def test_a_split_is_told_for_the_python_of_the_projects_own_locks():
    text = "numpy==1.0; python_version < '3.12'\nnumpy==2.0; python_version >= '3.12'\n"
    own = f"# target: cp312-linux-x86_64\nnumpy==2.0 {HASH}\n"
    said, _ = review_surroundings({"requirements.txt": text, "lockfiles/cpu.lock": own}, RULES)
    assert any("on cp312-linux-x86_64: numpy 2.0" in one.text for one in said if isinstance(one, Showing))


def test_a_lock_of_uv_that_is_split_names_the_targets_version():
    lock = """
[[package]]
name = "numpy"
version = "1.26.4"
resolution-markers = ["python_full_version < '3.12'"]
wheels = [{url = "https://x.org/a.whl", hash = "sha256:00"}]
[[package]]
name = "numpy"
version = "2.1.3"
resolution-markers = ["python_full_version >= '3.12'"]
[[package]]
name = "own"
version = "0"
source = {editable = "."}
"""
    said, _ = review_surroundings({"uv.lock": lock}, RULES)
    texts = [one.text for one in said if isinstance(one, Showing) and one.item == "V3"]
    assert texts == [
        "uv.lock locks 1 distribution with one version each and 1 hash; "
        "split by environment markers, on cp311-linux-x86_64: numpy 1.26.4"
    ]
