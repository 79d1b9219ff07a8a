"""REP604 to REP607 and REP609: what a Dockerfile stands on, installs and fetches; and what shell scripts install."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.documents.dockerfile import Step, read_steps
from harness.review.finding import Finding, Place, finding
from harness.review.surroundings.installing import Installed, by_apt, by_conda, by_pip, fetched
from harness.review.surroundings.requirements import Requirement, judge_pins
from harness.review.surroundings.shell import Command, Word, read_commands

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?[-+])([^{}]*))?\}|(\w+))")
_SNAPSHOT = re.compile(r"snapshot\.(debian\.org|ubuntu\.com)|--snapshot|repro-sources-list|snapshot-cloudflare")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A Dockerfile as read: its steps, and the base of each stage with `ARG` defaults put in."""

    path: str
    text: str
    steps: tuple[Step, ...]
    bases: tuple[tuple[int, str], ...]

    @property
    def commands(self) -> tuple[Command, ...]:
        """Everything that its RUN steps run."""
        return tuple(command for step in self.steps if step.name == "RUN" for command in commands_of(step))


def read_recipe(text: str, path: str) -> Recipe:
    """Read a Dockerfile, whoever wrote it."""
    steps = read_steps(text)
    variables = _arguments(steps)
    bases = tuple((step.line, substituted(_image(step.value), variables)) for step in steps if step.name == "FROM")
    return Recipe(path=path, text=text, steps=steps, bases=bases)


def review_recipe(recipe: Recipe, locks: frozenset[str]) -> Iterator[Finding]:
    """What is wrong with a Dockerfile.

    Args:
        recipe: the Dockerfile.
        locks: names of this project's own base locks, which a base may be.
    """
    yield from _bases(recipe, locks)
    yield from _apt(recipe)
    yield from _installs(recipe.commands, recipe.path)
    addresses = [(word, "ADD") for step in recipe.steps if step.name == "ADD" for word in _added(step)]
    clones = any("checkout" in {word.text for word in one.words} for one in recipe.commands if one.name == "git")
    for step in recipe.steps:
        if step.name == "RUN":
            addresses += [
                (word, how) for word, how in fetched(commands_of(step)) if not (clones and how == "git clone")
            ]
    yield from _unchecked(addresses, recipe.path)


def review_script(text: str, path: str) -> Iterator[Finding]:
    """What a shell script installs without a pin; whether a training runs in what it made cannot be told."""
    commands = read_commands(enumerate(text.splitlines(), 1))
    yield from _installs(commands, path, proven=False)


def pip_installs(commands: Sequence[Command]) -> list[Installed]:
    """What the commands install with pip."""
    return [one for one in map(by_pip, commands) if one is not None]


def apt_packages(commands: Sequence[Command]) -> list[Word]:
    """What the commands install with apt."""
    return [word for words in map(by_apt, commands) for word in words or ()]


def substituted(value: str, variables: dict[str, str]) -> str:
    """A value with `$NAME`, `${NAME}` and `${NAME:-default}` replaced where they are known."""

    def one(match: re.Match[str]) -> str:
        name = match[1] or match[4]
        known = variables.get(name)
        if match[2] in ("+", ":+"):
            return match[3] if known else ""
        if match[2] in ("-", ":-") and not known:
            return str(match[3])
        return match[0] if known is None else known

    return _VARIABLE.sub(one, value)


def commands_of(step: Step) -> tuple[Command, ...]:
    """What a RUN runs."""
    first, *rest = step.lines
    text = re.sub(r"^\s*\S+\s+(--\S+\s+)*", "", first[1])
    if text.lstrip().startswith("["):
        return _exec_form(step)
    if text.lstrip().startswith("<<"):
        return read_commands(rest[:-1] if len(rest) > 1 else rest)
    return read_commands(((first[0], text), *rest))


def _exec_form(step: Step) -> tuple[Command, ...]:
    try:
        words = json.loads(step.value)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        return ()
    if len(words) == 3 and words[0].rpartition("/")[2] in ("sh", "bash") and words[1].endswith("c"):
        return read_commands(((step.line, words[2]),))
    return (Command(tuple(Word(word, step.line) for word in words), "\n", 0),)


def _bases(recipe: Recipe, locks: frozenset[str]) -> Iterator[Finding]:
    stages: set[str] = set()
    loose: list[tuple[int, str, str]] = []
    bases = iter(recipe.bases)
    for step in recipe.steps:
        if step.name == "FROM":
            line, image = next(bases)
            if not _is_pinned(image, stages, locks):
                loose.append((line, _image(step.value), image))
            words = step.value.split()
            if len(words) > 2 and words[-2].upper() == "AS":
                stages.add(words[-1].lower())
        elif step.name == "COPY":
            for word in re.findall(r"--from=(\S+)", step.value):
                if re.search(r"[/:.]", word) and "$" not in word and not _is_pinned(word, stages, locks):
                    loose.append((step.line, word, word))
    if loose:
        line, written, image = loose[0]
        more = f", and {len(loose) - 1} more" if len(loose) > 1 else ""
        is_open = "$" in image
        if is_open:
            message = f"nothing in this file says which image {written} is{more}"
        elif written != image:
            message = f"{written} defaults to {image}, which has no digest{more}"
        else:
            message = f"the base {image} has no digest{more}"
        if not is_open and ":" not in image.rpartition("/")[2]:
            message += "; without a tag it is the newest one"
        yield finding("REP604", Place(path=recipe.path, line=line), message, proven=not is_open)


def _is_pinned(image: str, stages: set[str], locks: frozenset[str]) -> bool:
    return image.lower() in stages or image == "scratch" or image in locks or bool(_DIGEST.search(image))


def _apt(recipe: Recipe) -> Iterator[Finding]:
    if _SNAPSHOT.search(recipe.text):
        return
    packages = apt_packages(recipe.commands)
    loose = [word for word in packages if "=" not in word.text]
    if loose:
        what = f"{_count(len(loose), len(packages), 'packages')} installed by apt in whatever version is current"
        message = f"{what}: {_listed([word.text for word in loose])}"
        yield finding("REP605", Place(path=recipe.path, line=loose[0].line), message)


def _installs(commands: Sequence[Command], path: str, *, proven: bool = True) -> Iterator[Finding]:
    by_rule: dict[str, list[Requirement]] = {"REP606": [], "REP609": []}
    for command in commands:
        for rule, found in (("REP606", by_pip(command)), ("REP609", by_conda(command))):
            by_rule[rule] += found.requirements if found is not None else ()
    yield from judge_pins(by_rule["REP606"], path, "requirements that pip installs here", rule="REP606", proven=proven)
    yield from judge_pins(by_rule["REP609"], path, "packages that conda installs here", rule="REP609", proven=proven)


def _added(step: Step) -> Iterator[Word]:
    """Addresses that an ADD fetches without a checksum or a commit."""
    if "--checksum=" in step.value:
        return
    for word in step.value.split()[:-1]:
        is_git = re.match(r"git@|https?://\S+\.git(#|$)", word)
        if (is_git or re.match(r"https?://", word)) and not re.search(r"[#/@=][0-9a-f]{40}\b", word):
            yield Word(word, step.line)


def _unchecked(addresses: Sequence[tuple[Word, str]], path: str) -> Iterator[Finding]:
    if addresses:
        word, how = addresses[0]
        more = f", and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        address = word.text[:100]
        message = f"{how} fetches {address}, and no checksum is compared{more}"
        if how == "git clone":
            message = f"git clone takes whatever the default branch of {address} is at{more}"
        yield finding("REP607", Place(path=path, line=word.line), message)


def _arguments(steps: Sequence[Step]) -> dict[str, str]:
    """The defaults of the ARGs above the first FROM."""
    found: dict[str, str] = {}
    for step in steps:
        if step.name == "FROM":
            break
        if step.name == "ARG":
            for name, value in re.findall(r"\b(\w+)=(\"[^\"]*\"|'[^']*'|\S*)", step.value):
                found[name] = substituted(value.strip("\"'"), found)
    return found


def _image(value: str) -> str:
    return next((word for word in value.split() if not word.startswith("--")), "")


def _count(number: int, every: int, what: str) -> str:
    return f"{number} of {every} {what} are" if number > 1 else f"{number} of {every} {what} is"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
