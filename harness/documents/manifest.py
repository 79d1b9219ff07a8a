"""`manifest.json`: everything that one certify stood on; what may differ next time stands under `volatile`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, JsonValue

from harness.documents.document import Document, Model, check_schema, read_json
from harness.documents.environment import EnvironmentFacts
from harness.documents.run import RunFacts
from harness.documents.scope import Prefix
from harness.documents.verdict import ReviewFinding

SCHEMA = 1


class Open(Model):
    """A part that another version may have written more into; what is not known here is kept."""

    model_config = ConfigDict(extra="allow")


class HarnessFacts(Model):
    """The program that certified; `sources` is the digest of its own code, None where it did not say."""

    version: str
    recorder: str
    sources: str | None = None


class CodeFacts(Model):
    """The exported code: `sha256:<hex>` over its sorted paths and contents."""

    sha256: str


class ImageFacts(Open):
    """The image; None for `id` without a container. `locks` has the digest of each lock by its file name."""

    name: str | None = None
    id: str | None = None
    key: str | None = None
    locks: dict[str, str] = Field(default_factory=dict)


class GpuFacts(Open):
    """A GPU of the machine, by NVML."""

    name: str
    uuid: str
    memory_bytes: int
    driver: str
    cuda: str
    compute_capability: str | None = None


class HostFacts(Open):
    """The machine."""

    cpu: str = ""
    isa: tuple[str, ...] | None = None
    machine_id: str | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    kernel: str = ""
    machine: str = ""
    system: str = ""
    gpus: tuple[GpuFacts, ...] = ()


class GpuAccess(Open):
    """The GPUs that every process was given, and how; no UUIDs for none."""

    uuids: tuple[str, ...] = ()


class ManifestEnvironment(Model):
    """The machine, what the first process said of itself, and the GPUs."""

    host: HostFacts
    process: dict[str, JsonValue]
    gpu: GpuAccess
    interpreter: EnvironmentFacts | None = None


class ManifestReview(Model):
    """The states of the checklist by item, and what was allowed."""

    checklist: dict[str, str]
    allowed: tuple[ReviewFinding, ...]
    num_files: int


class InputFacts(Open):
    """An input as the experiment pins it: exactly one of `file`, `folder`, `pypi`, `deb`, `hf` and `https`."""

    sha256: str
    file: str | None = None
    folder: str | None = None
    pypi: str | None = None
    deb: str | None = None
    hf: str | None = None
    https: str | None = None
    version: str = ""
    revision: str | None = None


class FileFacts(Model):
    """A declared file that a trajectory left: digests of its bytes and of its content."""

    role: str
    size_bytes: int
    sha256: str | None
    content: str | None


class TrajectoryFacts(Model):
    """The heads of a trajectory's ledgers, run by run, and its files."""

    ledgers: tuple[str | None, ...]
    files: dict[str, FileFacts]


class VolatileRun(Open):
    """What of a run depends on the clock or on chance."""

    run: str
    seconds: float


class Volatile(Open):
    """What of a certify depends on the clock or on chance; times are RFC 3339, `seconds` are by stage."""

    run_id: str
    runs: tuple[VolatileRun, ...]
    started: str = ""
    finished: str = ""
    seconds: dict[str, float] = Field(default_factory=dict)


class Manifest(Document):
    """The manifest of a certify or of a replay.

    `experiment` is what was run, with every default, what it extends, and the `overrides` of this run (`--set`).
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    harness: HarnessFacts
    name: str
    overrides: tuple[str, ...] = Field(default=(), exclude_if=lambda overrides: not overrides)
    experiment: dict[str, JsonValue]
    experiment_digest: str
    scope: Prefix | None
    runner: str
    commit: str
    dirty: bool
    code: CodeFacts
    image: ImageFacts
    inputs: dict[str, InputFacts] = Field(default_factory=dict)
    prepared: dict[str, str] = Field(default_factory=dict)
    environment: ManifestEnvironment
    review: ManifestReview | None = None
    runs: tuple[RunFacts, ...]
    trajectories: dict[str, TrajectoryFacts]
    volatile: Volatile

    @classmethod
    def load(cls, data: bytes | memoryview, name: str) -> Self:
        """Read `manifest.json`.

        Raises:
            TamperedError: it is malformed.
            UsageError: a newer version of this program wrote it in another format.
        """
        document = read_json(data, name)
        check_schema(document, SCHEMA, name)
        return cls.from_json(document, name)
