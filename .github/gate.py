"""What action.yml does around the harness: prepare a folder, collect what a certify left, and decide by its verdict.

Only the standard library is used, and nothing of the harness: when that cannot be set up, the gate still has to close.
Its subcommands read their arguments from the environment and write GITHUB_OUTPUT and GITHUB_STEP_SUMMARY.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
VERDICTS = ("CERTIFIED", "DIVERGED", "INCONCLUSIVE", "VETOED", "TAMPERED")
# Not the folders of the runs: they hold links to inputs, and the archive has what is needed of them.
DOCUMENTS = ("report.html", "summary.md", "junit.xml", "verdict.json", "manifest.json", "certificate.json")
DOCUMENTS += ("sbom.cdx.json", "badge.svg", "macros.tex", "ro-crate-metadata.json", "README.txt")
ENVIRONMENT = ("lockfiles/harness.lock", "pyproject.toml", "setup.py", "harness/recorder/ml128.c", ".ci/venv")
MAX_SUMMARY_BYTES = 1 << 20
MAX_DOCUMENT_BYTES = 256 << 20
WHY = {
    "DIVERGED": "the same training gave other bits; the report names the first difference and its cause",
    "VETOED": "the review forbids this training; its annotations name the lines",
    "TAMPERED": "something that was hashed or signed is not what it was",
    "INCONCLUSIVE": "it could not be decided: the report says what failed or is missing; mend it, and run the job again",
}


def begin() -> int:
    """Check the inputs, and make the folder that the other steps use."""
    experiment = os.environ["EXPERIMENT"]
    if not NAME.fullmatch(experiment):
        return _error("experiment: small letters, digits, - and _ only, as files in pipelines/experiments/ are called")
    for name, allowed in (("ARCHIVE", ("none", "evidence", "full")), ("CACHE", ("auto", "always", "never"))):
        if os.environ[name] not in allowed:
            return _error(f"{name.lower()}: one of {', '.join(allowed)}")
    if sys.version_info < (3, 11):
        return _error("python: 3.11 or later is needed; actions/setup-python has it")
    folder = Path(tempfile.mkdtemp(prefix="repro-harness-", dir=os.environ["RUNNER_TEMP"]))
    (folder / "artifact").mkdir()
    (folder / "runs-before.json").write_text(json.dumps(_runs(experiment)))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(Path.home(), ".cache")
    artifact = os.environ.get("ARTIFACT") or f"reproducibility-{experiment}"
    action = Path(os.environ["GITHUB_ACTION_PATH"]).resolve()
    _output(
        folder=folder,
        cache=os.environ.get("HARNESS_CACHE") or Path(cache) / "repro-harness",
        artifact=artifact,
        action=action,
        environment=_environment_key(action),
    )
    return 0


def _environment_key(action: Path) -> str:
    """All that the harness's own environment depends on; an environment holds for one place and one interpreter."""
    said = hashlib.sha256(f"{action} {os.path.realpath(sys.executable)} {sys.version}".encode())
    for name in ENVIRONMENT:
        said.update(hashlib.sha256((action / name).read_bytes()).digest())
    return said.hexdigest()[:32]


def results() -> int:
    """Find the run that this job made, copy its documents for the artifact, and write the job's summary."""
    experiment, folder = os.environ["EXPERIMENT"], Path(os.environ["FOLDER"])
    known = set(json.loads((folder / "runs-before.json").read_text()))
    new = [name for name in _runs(experiment) if name not in known]
    if not new:
        _summarise(f"## {experiment}: no verdict\n\nNo run was begun: see the steps before.\n")
        return 0
    run = _runs_folder(experiment) / new[-1]  # names begin with the time
    artifact = folder / "artifact"
    for name in DOCUMENTS:
        source = run / name
        if source.is_file() and not source.is_symlink() and source.stat().st_size <= MAX_DOCUMENT_BYTES:
            shutil.copyfile(source, artifact / name)
    verdict = _read_verdict(run / "verdict.json")
    word = verdict.get("verdict")
    summary = artifact / "summary.md"
    if summary.is_file():
        _summarise(summary.read_text(encoding="utf-8", errors="replace"))
    else:
        _summarise(f"## {experiment}: {word or 'no verdict'}\n\nIt ended before a report was written: see the log.\n")
    report = artifact / "report.html"
    _output(
        run=run,
        verdict=word or "",
        **{
            "exit-code": verdict.get("exit_code", ""),
            "verdict-file": run / "verdict.json",
            "report": report if report.is_file() else "",
            "is-complete": "true" if (run / "certificate.json").is_file() else "false",
            "archive-name": f"{experiment}-{run.name}.oci.tar",
        },
    )
    return 0


def gate() -> int:
    """Exit code 0 for CERTIFIED and nothing else."""
    experiment = os.environ["EXPERIMENT"]
    path = os.environ.get("VERDICT_FILE", "")
    verdict = _read_verdict(Path(path)) if path else {}
    word, code = verdict.get("verdict"), verdict.get("exit_code")
    if word is None:
        return _error(f"{experiment}: no verdict was written; the step that failed says why", title="No verdict")
    if word != "CERTIFIED":
        place, reason = _place(verdict), _reason(verdict)
        said = [f"{experiment}: {WHY[word]}", *([f"First difference: {place}"] if place else []), *reason]
        title = f"{word}: {place}" if place else word
        return _error(". ".join(said), title=title, file=_script(Path(path).parent, experiment))
    if code != 0 or os.environ.get("OUTCOME") != "success":
        problem = "verdict.json says CERTIFIED, and the command ended otherwise: see the step Certify"
        return _error(f"{experiment}: {problem}", title="No verdict")
    if os.environ.get("ARCHIVE") != "none" and not os.environ.get("ARCHIVED"):
        return _error(f"{experiment} is CERTIFIED, but it was not archived: see the step Archive", title="No archive")
    scope = verdict.get("scope")
    bounds = [f"the first {scope['steps']} of {scope['of']} steps"] if isinstance(scope, dict) else []
    bounds += map(str, verdict.get("overrides", ()))
    print(f"VERDICT: {word}" + (f" ({', '.join(bounds)})" if bounds else ""))
    return 0


def _place(verdict: dict) -> str:
    """Where it first differs, if the verdict says so."""
    first = verdict.get("first_divergence")
    if not isinstance(first, dict):
        return ""
    tensor = f", tensor {first['tensor']}" if first.get("tensor") else ""
    return f"{first.get('check')}, step {first.get('step')}, stream {first.get('stream')}{tensor}"


def _reason(verdict: dict) -> list[str]:
    """Why it differs and how to mend that, or what went wrong, if the verdict says so."""
    cause, problems = verdict.get("cause"), verdict.get("problems")
    if not isinstance(cause, dict):
        return [f"Problem: {one}" for one in problems[:3]] if isinstance(problems, list) else []
    fix = cause.get("fix")
    return [f"Cause: {cause.get('title')} ({cause.get('class')})", *([f"Fix: {fix}"] if fix else [])]


def _script(run: Path, experiment: str) -> str:
    """The file that an annotation is shown at: the script that the experiment runs, else the experiment."""
    workspace = Path(os.environ["GITHUB_WORKSPACE"])
    declared = _read_json(run / "manifest.json").get("experiment")
    command = declared.get("run") if isinstance(declared, dict) else None
    for name in command if isinstance(command, list) else []:
        if isinstance(name, str) and name.endswith(".py") and (workspace / name).is_file():
            return name
    return f"pipelines/experiments/{experiment}.yaml"


def _runs_folder(experiment: str) -> Path:
    return Path(os.environ["GITHUB_WORKSPACE"]) / "runs" / experiment


def _runs(experiment: str) -> list[str]:
    folder = _runs_folder(experiment)
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _read_verdict(path: Path) -> dict:
    """The verdict, or nothing if it is none: unknown words and what is no JSON count as missing."""
    verdict = _read_json(path)
    is_known = verdict.get("verdict") in VERDICTS and type(verdict.get("exit_code")) is int
    return verdict if is_known else {}


def _read_json(path: Path) -> dict:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _output(**values: object) -> None:
    with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as stream:
        for name, value in values.items():
            text = str(value)
            if "\n" in text or "\r" in text:
                raise SystemExit(_error(f"{name}: a line break in {text!r}"))
            stream.write(f"{name}={text}\n")


def _summarise(text: str) -> None:
    data = text.rstrip("\n").encode("utf-8")[: MAX_SUMMARY_BYTES - 1].decode("utf-8", "ignore")
    with open(os.environ["GITHUB_STEP_SUMMARY"], "a", encoding="utf-8") as stream:
        stream.write(data + "\n")


def _error(message: str, **properties: str) -> int:
    shown = {"title": "Reproducibility gate", **properties}
    pairs = ",".join(
        f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in shown.items()
    )
    print(f"::error {pairs}::{_escaped(message)}")
    return 1


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


if __name__ == "__main__":
    sys.exit({"begin": begin, "results": results, "gate": gate}[sys.argv[1]]())
