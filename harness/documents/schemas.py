"""The published JSON Schemas, generated from the models: `python -m harness.documents.schemas docs/schemas`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from harness.documents.bisection import Bisection
from harness.documents.certificate import Certificate
from harness.documents.diagnosis import OperatorDiagnosis
from harness.documents.experiment import Experiment
from harness.documents.history import History
from harness.documents.manifest import Manifest
from harness.documents.plan import Plan
from harness.documents.run import RunRecord
from harness.documents.verdict import Verdict


def rendered() -> dict[str, str]:
    """Every schema by its file's name; what this program writes has every key, what people write only some."""
    written: JsonSchemaMode = "serialization"
    documents: dict[str, type[BaseModel]] = {
        "bisection": Bisection,
        "diagnosis": OperatorDiagnosis,
        "history": History,
        "manifest": Manifest,
        "plan": Plan,
        "run": RunRecord,
        "training-reproducibility-v2": Certificate,
        "verdict": Verdict,
    }
    schemas = {name: model.model_json_schema(by_alias=True, mode=written) for name, model in documents.items()}
    schemas["experiment"] = of_people = Experiment.model_json_schema(by_alias=True)
    of_people["anyOf"] = [{"required": of_people.pop("required")}, {"required": ["extends"]}]
    return {
        f"{name}.schema.json": json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1
        )
        + "\n"
        for name, schema in schemas.items()
    }


if __name__ == "__main__":
    for name, text in rendered().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
