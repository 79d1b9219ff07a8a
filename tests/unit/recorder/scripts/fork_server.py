"""Import torch once, then fork a process for each script that a test asks for: importing takes seconds, forking none.

Each line of standard input is a request in JSON, each answered in one line. A request to start a script, with
`argv`, `environment`, `stdout` and `stderr`, is answered with its process id; one with `wait`, an id, with how that
ended.
"""

import json
import os
import runpy
import sys

import numpy  # noqa: F401
import safetensors.torch  # noqa: F401
import torch._dynamo  # noqa: F401 -- an optimizer would import it at its first step


def serve() -> dict:
    """Answer requests; returns only in a child, with what it is to run."""
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                return request
        print(answer, flush=True)
    os._exit(0)


def become(request: dict) -> None:
    """Make this process what a new interpreter would be when it comes to the script."""
    for descriptor, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(path, flags, 0o644), descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(os.path.join(request["inject"], "sitecustomize.py"), run_name="sitecustomize")
    if watcher := next((finder for finder in sys.meta_path if hasattr(finder, "awaited")), None):
        for name in [name for name in watcher.awaited if name in sys.modules]:
            watcher.awaited.pop(name)(sys.modules[name])


if __name__ == "__main__":
    become(serve())
    runpy.run_path(sys.argv[0], run_name="__main__")
