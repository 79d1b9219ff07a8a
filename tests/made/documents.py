"""Documents as models, from JSON values of whichever version."""

import json

from harness.documents.manifest import Manifest
from harness.documents.verdict import Verdict, upgraded


def verdict_of(value):
    return Verdict.from_json(upgraded(json.loads(json.dumps(value)), "verdict.json"), "verdict.json")


def manifest_of(value):
    return Manifest.from_json(value, "manifest.json")


def read_documents(folder):
    """Manifest and verdict of a run's folder."""
    return (
        Manifest.load((folder / "manifest.json").read_bytes(), "manifest.json"),
        Verdict.load((folder / "verdict.json").read_bytes(), "verdict.json"),
    )


def replaced(model, path, value):
    """A copy of a model in which one place, told as `key.key.0`, has another value."""
    document = model.to_json()
    *before, last = (int(key) if key.isdigit() else key for key in path.split("."))
    place = document
    for key in before:
        place = place[key]
    place[last] = value
    return type(model).from_json(document, type(model).__name__)
