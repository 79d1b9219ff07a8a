"""Python runs this at every start because its folder is on PYTHONPATH: load the recorder, if one was asked for.

With `HARNESS_RUN_DIR` unset nothing happens but chaining: a `sitecustomize` that this one hides is run as if this one
were not there. A recorder that cannot be loaded says so on stderr and leaves the process as it is; the missing ledger
is then missing evidence.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _load_recorder() -> None:
    folder = os.path.dirname(_HERE)
    name = "_harness_recorder"
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None  # as for every file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        module.start(os.environ["HARNESS_RUN_DIR"], os.environ.get("HARNESS_FAULTS") or "[]")
    except Exception as error:
        sys.stderr.write(f"recorder: not recording: {type(error).__name__}: {error}\n")


def _chain_hidden() -> None:
    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if os.environ.get("HARNESS_RUN_DIR"):
    _load_recorder()
_chain_hidden()
