"""What shell commands install and fetch: pip, conda, apt, curl, wget, git. Read from the words, nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.review.surroundings.requirements import INSTALLERS, Requirement, parse_conda_spec, parse_requirement
from harness.review.surroundings.shell import Command, Word


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PIP = re.compile(r"pip[0-9.]*")
_RUNNERS = re.compile(r"python[0-9.]*|uv|conda|mamba|micromamba|poetry|pipenv|pdm|pip[0-9.]*")
_PIP_VALUES = _set(
    "-i --index-url --extra-index-url --index --default-index -f --find-links -r --requirement -c --constraint -t "
    "--target --prefix --root --python -p --platform --python-version --no-binary --only-binary --progress-bar "
    "--timeout --cache-dir --trusted-host --config-settings -C --global-option --build-option --torch-backend "
    "--prerelease --upgrade-strategy --abi --implementation --src --proxy --retries --cert --log --index-strategy "
    "--exclude-newer --resolution --override --overrides --build-constraint --link-mode --extra --group "
    "--reinstall-package --upgrade-package -P --no-build-isolation-package --root-user-action --report"
)
_CONDA = frozenset(("conda", "mamba", "micromamba"))
_CONDA_VALUES = _set("-n --name -p --prefix -c --channel --file -f --solver --platform")
_APT = frozenset(("apt-get", "apt", "aptitude"))
_APT_VALUES = _set("-o --option -t --target-release -c --config-file -a --host-architecture")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:\w+)?(=.+)?")  # no file, no task
_REDIRECT = re.compile(r"[0-9]*(>>?|<|&>)(.*)", re.DOTALL)
_URL = re.compile(r"https?://([^/\s:\"']+)", re.IGNORECASE)
_HERE = re.compile(r"localhost|127\.|0\.0\.0\.0|169\.254\.|\[::1\]|host\.docker\.internal")
_KEY = re.compile(r"\.(asc|gpg|key|pub|list|sources|repo)\b|keyring|apt-key|/gpg\b", re.IGNORECASE)
_ADDRESSED = re.compile(r"[/@=:][0-9a-f]{40}([0-9a-f]{24})?(?![0-9a-f])")
_CHECKS = re.compile(r"(sha(1|224|256|384|512)|md5|b2)sum|shasum|cosign|sha256|sha512|minisign")
_PRINTS = _set("jq grep egrep head tail gpg gpg2 apt-key wc awk sed cut tr less")
_SENDS = re.compile(r"-X|--request|-d|--data.*|-F|--form.*|-T|--upload-file|-I|--head|--spider|--json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What a command of pip or conda installs: requirements, and the indexes it is told to take them from."""

    requirements: tuple[Requirement, ...]
    index_urls: tuple[tuple[int, str], ...] = ()


def by_pip(command: Command) -> Installed | None:
    """What `pip install` installs by name, or None if it is no such command, or all of it stands in files."""
    words = list(command.words)
    if not _RUNNERS.fullmatch(command.name):
        return None
    start = next((n for n, word in enumerate(words) if _PIP.fullmatch(word.text.rpartition("/")[2])), None)
    if start is None or not any(word.text == "install" for word in words[start + 1 : start + 4]):
        return None
    rest = words[start + 1 :]
    rest = rest[next(n for n, word in enumerate(rest) if word.text == "install") + 1 :]
    given = list(_positionals(rest, _PIP_VALUES))
    options = {name for name, _ in _options(rest, _PIP_VALUES)}
    if options & {"--require-hashes", "--no-index", "-c", "--constraint", "--dry-run"}:
        return Installed(requirements=())
    found = [one for word in given if (one := _requirement(word)) is not None and one.name not in INSTALLERS]
    names = ("-i", "--index-url", "--extra-index-url", "--index", "--default-index")
    urls = [(word.line, word.text) for name, word in _options(rest, _PIP_VALUES) if word is not None and name in names]
    return Installed(requirements=tuple(found), index_urls=tuple(urls))


def by_conda(command: Command) -> Installed | None:
    """What `conda install` and `conda create` install by name, or None if it is no such command."""
    words = command.arguments
    if command.name not in _CONDA or not words or words[0].text not in ("install", "create", "update"):
        return None
    found = []
    for word in _positionals(words[1:], _CONDA_VALUES):
        name = re.match(r"[A-Za-z0-9_.:-]*", word.text)
        if name is None or not name[0]:
            continue
        one = parse_conda_spec(word.text, word.line)
        if not word.is_literal and re.match(r"[A-Za-z0-9_.:-]+={1,2}\$", word.text):
            one = Requirement(name=name[0], text=word.text, line=word.line, is_pinned=True)
        if one is not None and one.name not in INSTALLERS and (word.is_literal or one.is_pinned):
            found.append(one)
    return Installed(requirements=tuple(found))


def by_apt(command: Command) -> tuple[Word, ...] | None:
    """The packages that `apt-get install` is given by name, or None if it is no such command."""
    words = [word for word in command.arguments if word.text != "install"]
    if command.name not in _APT or len(words) == len(command.arguments):
        return None
    packages = _positionals(words, _APT_VALUES)
    return tuple(word for word in packages if word.is_literal and _PACKAGE.fullmatch(word.text))


def fetched(commands: Sequence[Command]) -> Iterator[tuple[Word, str]]:
    """Addresses that commands fetch something from that nothing checks, with how: `curl`, `wget`, `git clone`.

    Args:
        commands: those among which a check of a checksum counts: one RUN step, or a whole script.
    """
    if any(_CHECKS.search(word.text) or word.text == "--verify" for one in commands for word in one.words):
        return
    of_git = {word.text for one in commands if one.name == "git" for word in one.words}
    checks_out = bool(of_git & {"checkout", "reset", "switch"})
    for number, command in enumerate(commands):
        if command.name in ("curl", "wget"):
            address = _download(command, _pipe(commands, number))
            if address is not None:
                yield address, command.name
        elif command.name == "git" and not checks_out and "clone" in {word.text for word in command.words[:4]}:
            options = {word.text.partition("=")[0] for word in command.words}
            url = next((word for word in command.words if re.match(r"(https?|git|ssh)://|git@", word.text)), None)
            if url is not None and url.is_literal and not options & {"-b", "--branch", "--revision"}:
                yield url, "git clone"


def _download(command: Command, pipe: Sequence[Command]) -> Word | None:
    words = command.arguments
    address = next((word for word in words if _URL.match(word.text)), None)
    if address is None or _HERE.search(address.text) or _ADDRESSED.search(address.text):
        return None
    if any(_SENDS.fullmatch(word.text) for word in words):
        return None
    everything = [word.text for one in (command, *pipe) for word in one.words]
    if any(_KEY.search(text) for text in everything):
        return None
    if pipe:
        return None if pipe[0].name in _PRINTS else address
    if command.name == "wget":
        return None if any(_is_stdout(words, number) for number in range(len(words))) else address
    writes = any(
        re.match(r"--output|--remote-name|-[A-Za-z]*[oO]", word.text) or _REDIRECT.match(word.text) for word in words
    )
    to_nowhere = any(word.text == "/dev/null" for word in words)
    return address if writes and not to_nowhere else None


def _is_stdout(words: Sequence[Word], number: int) -> bool:
    """Whether a word of wget's says that it prints what it fetches: `-O-`, `-qO -`, `--output-document=-`."""
    following = words[number + 1].text if number + 1 < len(words) else ""
    text = words[number].text
    return text in ("-O-", "-qO-", "--output-document=-") or (text in ("-O", "-qO") and following == "-")


def _pipe(commands: Sequence[Command], number: int) -> Sequence[Command]:
    """The commands that a command's output goes through."""
    end = number
    while commands[end].ends_with in ("|", "|&") and end + 1 < len(commands):
        end += 1
    return commands[number + 1 : end + 1]


def _requirement(word: Word) -> Requirement | None:
    if word.is_literal:
        return parse_requirement(word.text, word.line)
    if re.match(r"[A-Za-z0-9_.\[\],-]+={2,3}\$", word.text) or re.search(r"@\$\{?\w+\}?$", word.text):
        return Requirement(name=re.split(r"[\[=@]", word.text)[0], text=word.text, line=word.line, is_pinned=True)
    return None  # what a variable holds is not known here


def _positionals(words: Sequence[Word], with_values: frozenset[str]) -> Iterator[Word]:
    """The words that are neither options nor their values nor redirections."""
    skips = False
    for word in words:
        redirect = _REDIRECT.fullmatch(word.text)
        if skips:
            skips = False
        elif redirect and word.is_literal:
            skips = not redirect[2]
        elif word.text.startswith("-"):
            skips = word.text in with_values or word.text in ("-e", "--editable")
        else:
            yield word


def _options(words: Sequence[Word], with_values: frozenset[str]) -> Iterator[tuple[str, Word | None]]:
    for number, word in enumerate(words):
        if word.text.startswith("-"):
            name, equals, value = word.text.partition("=")
            if equals:
                yield name, Word(value, word.line, word.is_literal)
            elif name in with_values and number + 1 < len(words):
                yield name, words[number + 1]
            else:
                yield name, None
