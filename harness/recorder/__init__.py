"""Record a training process from the inside, without a changed line in its script.

`inject/sitecustomize.py` loads this package under the private name `_harness_recorder`. `hooks` wraps torch once the
script itself has imported it, `session` and `steps` turn calls into records, `streams` says what a stream consists
of, `digest` hashes it, `numbering` finds the step that a restored state stands after, `records` and `ledger` write,
`faults` kills, `variation` varies what is incidental.
What is written where is in `pipelines/README.md`.
"""

import os

from _harness_recorder import faults, hooks, ledger, steps, variation


def start(run_dir: str, faults_json: str) -> None:
    """Arm the recorder in this process; files appear only once the process trains, writes a checkpoint or ends.

    Args:
        run_dir: the run's folder, `<trajectory>/runs/<n>`.
        faults_json: a JSON list of faults.

    Raises:
        ValueError: the list of faults is malformed.
    """
    recording = steps.TrainingSession(ledger.RunFolder(run_dir), faults.due(faults.parse(faults_json), run_dir))
    recording.pace = variation.start(os.environ.get("HARNESS_VARY") or "{}")
    hooks.install(recording)
