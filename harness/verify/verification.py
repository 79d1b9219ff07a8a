"""The result of a verification: what was recomputed, what the archive says, and what no verification can show.

Its word is CONSISTENT, PARTIAL or TAMPERED, never CERTIFIED: that the training gives the same bits is shown by running
it again. PARTIAL is what another version of this program wrote: its evidence is judged again, its review and its words
are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.errors import EXIT_DIVERGED
from harness.verify.record import Record

Word = Literal["CONSISTENT", "PARTIAL", "TAMPERED"]
Level = Literal["certificate", "manifest", "evidence"]
Kind = Literal["archive", "run", "published", "certificate"]
LEVELS: Mapping[Kind, Level] = {
    "archive": "evidence",
    "run": "evidence",
    "published": "manifest",
    "certificate": "certificate",
}
"""How far each kind of material reaches."""
EXIT_CODES: Mapping[Word, int] = {"CONSISTENT": 0, "PARTIAL": 3, "TAMPERED": 5}

RELEASED: Mapping[str, str] = {
    "sha256:3cc00bfbfeb915f9a3f0d1214f7aee18e86e1b19d3443ee4dfea130230f01343": "0.1.0",
    "sha256:ddefe2d68cf99daaed42c3501f2de1524488dd9b34876bb44c71e5970f293769": "0.2.0",
}
"""Versions that were released by the digest of their sources, as manifests have it; a release adds the one before."""

NEVER_CHECKED = (
    "that the runs took place: a signer can make evidence up (`harness replay` trains again)",
    "the commit, the clean tree and the times: only the signer vouches for them",
    "that the image was built twice: only the signer vouches for the ids of both builds",
    "the machine, the driver and the flags of the sandbox: only the signer vouches for them",
)
_WITHOUT_EVIDENCE = ("the verdict: checkpoints, outputs and the other ledgers are in the archive, not here",)
_WITHOUT_DOCUMENTS = (
    "manifest and verdict: only the certificate is here, which lists their digests",
    *_WITHOUT_EVIDENCE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """One thing that was recomputed and matches; `amount` says how much, in words."""

    name: str
    text: str
    amount: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Whose key signed.

    Attributes:
        key_id: 64 hex digits; compare them with what the signer publishes elsewhere.
        name: what this machine, or the checkout, calls that key; None for a key that nobody here knows.
    """

    key_id: str
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of it.

    Attributes:
        path: what was looked at.
        level: how far the material reaches: the certificate alone, with its documents, or with all evidence.
        kind: how it lies there: an archive, a run's folder, a published folder, a certificate alone.
        signer: None for a run's folder that nobody signed yet.
        record: manifest and verdict, or None where they are not there, or must not be believed.
        claimed: the verdict's word in the certificate, or "".
        bounds: what it is said of, where that is not the whole training of a commit as it is declared there.
        problem: what does not fit, for TAMPERED; with `remedy`.
        unmet: what somebody required of it beside that, and is not so.
    """

    word: Word
    path: str
    level: Level
    kind: Kind = "archive"
    signer: Signer | None = None
    record: Record | None = None
    claimed: str = ""
    bounds: tuple[str, ...] = ()
    checks: tuple[Recomputed, ...] = ()
    not_checked: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""
    unmet: str = ""
    amounts: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_consistent(self) -> bool:
        """Whether everything that was recomputed is as it was told."""
        return self.word != "TAMPERED"

    @property
    def exit_code(self) -> int:
        """Of the process."""
        return EXIT_DIVERGED if self.unmet else EXIT_CODES[self.word]

    @property
    def summary(self) -> str:
        """The word and what it means here, in one or two sentences."""
        if self.word == "TAMPERED":
            return f"TAMPERED: {self.problem}"
        follows = {
            "evidence": "and that follows from its evidence",
            "manifest": "and verdict, straight ledger and certificate fit it",
            "certificate": "and its statements fit each other",
        }[self.level]
        by = f" by the rules of this version; {self.writer} wrote it by its own" if self.word == "PARTIAL" else ""
        of = "".join(f" {bound}" for bound in self.bounds)
        return f"{self.word}: the {self.what} says {self.claimed}{of}, {follows}{by}. {self.signature}"

    def held_to(self, verdict: str | None, key_id: str | None) -> Verification:
        """The same, held to a verdict and to the key that must have signed; None asks for nothing.

        What is TAMPERED stays that, whatever is required.
        """
        unmet = ""
        if verdict is not None and self.claimed != verdict:
            unmet = f"the {self.what} says {self.claimed}, and {verdict} is required"
        elif key_id is not None and (self.signer is None or self.signer.key_id != key_id):
            unmet = f"a signature of key {key_id} is required. {self.signature}"
        return dataclasses.replace(self, unmet=unmet) if self.is_consistent else self

    @property
    def what(self) -> str:
        """What lies there, in a word."""
        return "manifest" if self.kind == "published" else self.kind

    @property
    def writer(self) -> str:
        """Which version wrote it: one that was released is known by the digest of its sources."""
        harness = self.record.manifest.harness if self.record is not None else None
        version = RELEASED.get(harness.sources or "") if harness is not None else None
        if version is not None:
            return f"version {version}, as it was released,"
        named = ascii(harness.version[:40]) if harness is not None else "an unknown one"
        return f"a version that nobody released (it calls itself {named})"

    @property
    def signature(self) -> str:
        """Who signed, as far as this machine knows."""
        if self.signer is None:
            return "Nobody signed it."
        if self.signer.name is None:
            return f"Signed by key {self.signer.key_id}, which nobody here knows."
        return f"Signed by {self.signer.name} (key {self.signer.key_id})."

    def to_json(self) -> dict[str, Any]:
        """What `harness verify --json` prints."""
        return {
            "schema": 1,
            "word": self.word,
            "exit_code": self.exit_code,
            "path": self.path,
            "level": self.level,
            "kind": self.kind,
            "claimed": self.claimed,
            "bounds": list(self.bounds),
            "summary": self.summary,
            "signer": None if self.signer is None else {"key_id": self.signer.key_id, "name": self.signer.name},
            "checks": [{"name": one.name, "text": one.text, "amount": one.amount} for one in self.checks],
            "not_checked": list(self.not_checked),
            "amounts": dict(sorted(self.amounts.items())),
            "problem": self.problem or None,
            "remedy": self.remedy or None,
            "unmet": self.unmet or None,
        }


def never_checked(level: Level) -> tuple[str, ...]:
    """What cannot be verified at this level."""
    missing = {"evidence": (), "manifest": _WITHOUT_EVIDENCE, "certificate": _WITHOUT_DOCUMENTS}[level]
    return (*missing, *NEVER_CHECKED)
