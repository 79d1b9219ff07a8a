"""Runs the steps of a composite action as GitHub's runner does, but for those that use another action.

Steps with `run:` are given to bash with the options that the runner gives it. Of the expressions there is as much as
action.yml needs: operators, strings, contexts, `always`, `success` and `hashFiles`.

Sources: https://docs.github.com/en/actions/reference/workflows-and-actions/expressions and, for bash's options,
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#defaultsrunshell
"""

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import yaml

_TOKEN = re.compile(
    r"(?P<text>'(?:[^']|'')*')|(?P<call>(?:always|success|hashFiles)(?=\())"
    r"|(?P<name>[a-z][\w.-]*)|(?P<operator>&&|\|\||==|!=|[(),!])|(?P<space>\s+)"
)
_OPERATORS = {"&&": " and ", "||": " or ", "!": " not "}


@dataclass
class Step:
    """What became of a step; `outcome` is before `continue-on-error`, `conclusion` after it."""

    outcome: str = "skipped"
    conclusion: str = "skipped"
    outputs: dict = field(default_factory=dict)
    log: str = ""


class CompositeAction:
    """One use of an action, with the files and variables that a job of the service would have.

    `root` is the workspace, `place` where the action lies: in the workspace, or in a folder of the service's.
    """

    def __init__(self, root, temp, inputs, used=None, place=None):
        self.root, self.temp = Path(root), Path(temp)
        self.place = f"{root}/." if place is None else str(place)  # as the service writes it for `uses: ./`
        self.action = yaml.safe_load((Path(self.place) / "action.yml").read_text())
        defaults = {name: str(value.get("default", "")) for name, value in self.action["inputs"].items()}
        assert set(inputs) <= set(defaults), "an input that the action does not have"
        self.inputs = {**defaults, **inputs}
        self.steps, self.named, self.skipped_uses, self.has_failed = [], {}, [], False
        self.used = used or {}  # the outputs of steps that use another action, by id
        self.summary = self.temp / "summary.md"
        self.runner_temp = self.temp / "runner"
        self.runner_temp.mkdir(parents=True)
        self.summary.touch()

    def run(self, start=subprocess.run):
        """Run every step whose condition holds; `start` is called as subprocess.run is."""
        for number, declared in enumerate(self.action["runs"]["steps"]):
            step = Step()
            condition = str(declared.get("if", "success()")).removeprefix("${{").removesuffix("}}").strip()
            # Without a status function a condition holds only while nothing has failed.
            if self.evaluate(condition) and ("always()" in condition or not self.has_failed):
                self._run_step(declared, step, number, start)
            self.steps.append((declared["name"], step))
            if "id" in declared:
                self.named[declared["id"]] = step
        return self

    def __getitem__(self, name):
        return dict(self.steps)[name]

    @property
    def outputs(self):
        return {name: self.render(value["value"]) for name, value in self.action["outputs"].items()}

    @property
    def log(self):
        return "".join(step.log for _, step in self.steps)

    def _run_step(self, declared, step, number, start):
        if "uses" in declared:
            step.outcome = step.conclusion = "success"
            step.outputs = self.used.get(declared.get("id"), {})
            given = {key: self.render(str(value)) for key, value in declared.get("with", {}).items()}
            self.skipped_uses.append((declared["uses"], given))
            return
        assert declared["shell"] == "bash"
        script, outputs = self.temp / f"{number}.sh", self.temp / f"{number}.output"
        script.write_text(declared["run"])  # verbatim: an expression in a script would be an injection
        outputs.touch()
        own = {key: self.render(str(value)) for key, value in declared.get("env", {}).items()}
        service = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.root),
            "GITHUB_ACTION_PATH": self.place,
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_ENV": os.devnull,
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(self.runner_temp),
        }
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        result = start(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.root,
            env={**kept, **service, **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        step.log = result.stdout
        step.outcome = "success" if result.returncode == 0 else "failure"
        step.conclusion = "success" if declared.get("continue-on-error") else step.outcome
        self.has_failed |= step.conclusion == "failure"
        step.outputs = dict(line.split("=", 1) for line in outputs.read_text().splitlines())

    def render(self, text):
        """A value with every `${{ }}` evaluated."""
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: _text(self.evaluate(found[1].strip())), text)

    def evaluate(self, expression):
        code, place = [], 0
        while place < len(expression):
            token = _TOKEN.match(expression, place)
            assert token, f"not understood here: {expression[place:]!r}"
            place = token.end()
            if text := token["text"]:
                code.append(repr(text[1:-1].replace("''", "'")))
            elif name := token["name"]:
                code.append(f"look_up({name!r})")
            else:
                code.append(_OPERATORS.get(token[0], token[0]))
        functions = {
            "look_up": self._look_up,
            "always": lambda: True,
            "success": lambda: not self.has_failed,
            "hashFiles": self._hash_files,
        }
        return eval("".join(code), {"__builtins__": {}}, functions)

    def _hash_files(self, *globs):
        """As the service does it: only files below the workspace count, and none give nothing."""
        found = sorted({path for glob in globs for path in self.root.glob(f"{glob}/*") if path.is_file()})
        data = b"".join(path.read_bytes() for path in found)
        return hashlib.sha256(data).hexdigest() if found else ""

    def _look_up(self, name):
        kind, *rest = name.split(".")
        if kind == "inputs":
            return self.inputs[rest[0]]
        if kind == "runner":
            return {"os": "Linux", "arch": "X64", "environment": "self-hosted"}[rest[0]]
        assert kind == "steps", name
        step = self.named.get(rest[0], Step())
        return step.outputs.get(rest[2], "") if rest[1] == "outputs" else getattr(step, rest[1])


def _text(value):
    return {True: "true", False: "false", None: ""}.get(value, value) if not isinstance(value, str) else value
