"""The view: what a verdict says, as sentences and tables. Every presenter shows this one, and decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harness.documents.manifest import Manifest
from harness.documents.verdict import (
    Compared,
    ControlResult,
    Verdict,
)
from harness.report.check_view import TONES, CheckView, check_view, compared_text
from harness.report.curves import Curve
from harness.report.divergence_view import DivergenceView
from harness.report.kill_words import ending, has_come, landed, place, place_text, went_on
from harness.report.manifest import ManifestView
from harness.report.replay_view import ReplayView
from harness.report.review import ReviewView
from harness.report.tables import Cell, Facts, Kind, State, Table, Tone, listed, named, table
from harness.report.text import MAX_CHARS, MAX_ROWS, count, line, moment, safe, short, size

_PLANTED = {
    "tensor_bit": "One bit, in a copy of a tensor",
    "ledger_digit": "One digit, in a copy of the ledger",
    "weights_moved": "The training itself, which has to change the weights",
    "flip_param": "One bit of a parameter, during training",
    "flip_optim": "One bit of the optimizer's state, in a checkpoint",
}


class View:
    """A verdict and its manifest in the words of a report: harmless texts, cut to what a presenter can show.

    Attributes:
        verdict: the verdict itself, safe to show.
        manifest: the manifest, likewise; None for a run that ended before it wrote one.
        divergence: where the bits first differ, and all that is shown around it.
    """

    def __init__(
        self,
        verdict: Verdict,
        manifest: Manifest | None,
        curves: Sequence[Curve] = (),
        *,
        max_rows: int = MAX_ROWS,
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Show at most `max_rows` entries of a list and `max_chars` characters of a text."""
        self._full = verdict
        self.verdict = safe(verdict, max_rows=max_rows, max_chars=max_chars)
        self.ground = ManifestView(manifest, curves, max_rows=max_rows, max_chars=max_chars)
        self.manifest = self.ground.manifest
        self.divergence = DivergenceView(self.verdict)
        self.review = ReviewView(self.verdict.review) if self.verdict.review else None
        self.replay = ReplayView(verdict.replay, max_rows=max_rows, max_chars=max_chars) if verdict.replay else None

    # Which run it was.

    @property
    def title(self) -> str:
        """The experiment's name, and what was run of it or set in it for this run."""
        name = line(self.verdict.experiment)
        return f"{name} ({self.scope})" if self.scope else name

    @property
    def scope(self) -> str:
        """`the first 20 of 60 steps` and what was set for this run; empty for the whole training as it is declared."""
        steps = (self.verdict.scope.text,) if self.verdict.scope else ()
        return ", ".join((*steps, *map(line, self.verdict.overrides)))

    @property
    def continued(self) -> str:
        """The trainings that this certify took over from before it was cut off; empty for one that was not."""
        names = ", ".join(map(line, self.verdict.continued))
        return f"cut off and continued; finished before: {names}" if names else ""

    @property
    def commit(self) -> str:
        """The commit, and whether there were changes that are not in it."""
        return self.verdict.commit + (" with uncommitted changes" if self.verdict.dirty else "")

    @property
    def facts(self) -> Facts:
        """The line under the verdict."""
        verdict, manifest = self.verdict, self.manifest
        facts = [
            ("Scope", self.scope),
            ("Run", verdict.run_id),
            ("Commit", verdict.commit),
            ("Continued", self.continued),
            ("Working tree", "with uncommitted changes" if verdict.dirty else ""),
            ("Runner", verdict.runner),
            ("Image", (manifest.image.name or "") if manifest else ""),
            ("Started", moment(manifest.volatile.started) if manifest else ""),
            ("Took", self.ground.took),
            ("Exit code", str(verdict.exit_code)),
            ("Harness", manifest.harness.version if manifest else ""),
        ]
        return named(facts)

    # What was found.

    @property
    def word(self) -> State:
        """The verdict."""
        return State(self.verdict.verdict, TONES[self.verdict.verdict])

    @property
    def compared(self) -> str:
        """How much was compared."""
        return compared_text(self.verdict.compared)

    @property
    def final_state(self) -> str:
        """Whether the final states are equal; empty where that is not known."""
        return {True: "equal", False: "different", None: ""}[self.verdict.final_state_equal]

    @property
    def checks(self) -> tuple[CheckView, ...]:
        """Every check, in the order in which people read them."""
        return tuple(check_view(name, check) for name, check in self.verdict.checks.items())

    @property
    def amounts(self) -> Table:
        """How much each check compared, and all together."""
        rows: list[tuple[Cell, ...]] = []
        for view, (_, check) in zip(self.checks, self.verdict.checks.items(), strict=True):
            files = f"{len(check.image_ids)} image ids" if check.image_ids else _amount(check.compared.files)
            rows.append((view.title, view.state, *_amounts(check.compared), files))
        whole = self.verdict.compared
        rows.append(("Together", "", *_amounts(whole), _amount(whole.files)))
        return table(
            "",
            {
                "Check": "key",
                "Answer": "text",
                "Steps": "amount",
                "Tensors": "amount",
                "Size": "amount",
                "Files": "amount",
            },
            rows,
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong."""
        return listed(self.verdict.problems, self._full.problems)

    @property
    def varied(self) -> str:
        """What was another in each training; empty where nobody wrote that down."""
        names = [one.name for one in self.verdict.varied if one.varied]
        return f"{', '.join(names)}: each training had its own" if names else ""

    @property
    def not_checked(self) -> tuple[str, ...]:
        """What nobody looked at in this run."""
        return listed(self.verdict.not_checked, self._full.not_checked)

    @property
    def kills(self) -> Table:
        """One row a kill; none where none of those planned had its turn."""
        rows = [
            (str(number), str(one.run), place(one), ending(one), landed(one), went_on(one))
            for number, one in enumerate(self.verdict.interruptions, start=1)
        ]
        columns: dict[str, Kind] = {"Kill": "number", "Run": "number", "Where": "text", "How it ended": "text"}
        columns |= {"As planned": "short", "Resumed": "short"}
        came = any(map(has_come, self._full.interruptions))
        return table("Kills", columns, rows if came else (), of=self._full.interruptions if came else ())

    @property
    def sweep_sentence(self) -> str:
        """How many drawn points held, of how many, and the bound; empty without a sweep."""
        told = self.verdict.sweep
        if told is None:
            return ""
        held = f"{told.num_held} of {told.num_points} points held, drawn from {told.num_possible}"
        again = f"{told.num_began_again} of them came before a checkpoint, so training began again"
        return "; ".join([held, again, *([line(told.bound)] if told.bound else [])])

    @property
    def sweep(self) -> Table:
        """One row for each drawn point after which a training was not found equal."""
        told = self.verdict.sweep
        rows = [
            (
                one.trajectory,
                place_text(one.kind, one.step, one.micro_batch),
                "not known" if one.resumed_after_step is None else f"after step {one.resumed_after_step}",
                State(one.verdict, TONES[one.verdict]),
                line(one.reason) if one.stream is None else f"{line(one.stream)} at step {one.first_step}",
                line(one.cause or ""),
            )
            for one in (told.not_held if told is not None else ())
        ]
        columns: dict[str, Kind] = {"Training": "key", "Killed": "text", "Resumed": "short", "Answer": "short"}
        of = self._full.sweep.not_held if self._full.sweep is not None else ()
        return table(
            "Points of the sweep that did not hold",
            columns | {"Differs first in": "text", "Cause": "text"},
            rows,
            of=of,
        )

    @property
    def restored(self) -> Table:
        """One row a resumed run: what it held in memory, against its checkpoint; what no step reads is not bad."""
        wrong: Tone = "none" if self.verdict.checks.resume.verdict == "CERTIFIED" else "bad"
        rows = [
            (
                str(one.run),
                str(one.after_step),
                line(one.file or ""),
                State(
                    f"{one.num_equal} of {one.num_tensors}",
                    "good" if one.num_equal == one.num_tensors and not one.different else wrong,
                ),
                "" if one.num_in_file is None else str(one.num_in_file),
                ", ".join(one.different),
            )
            for one in self.verdict.restored
        ]
        columns: dict[str, Kind] = {"Run": "number", "After step": "number", "Checkpoint": "code"}
        columns |= {"Tensors equal": "text", "In the file": "number", "Different": "code"}
        title = "Restored state: in memory before the first batch, compared with the checkpoint"
        return table(title, columns, rows, of=self._full.restored)

    @property
    def on_disk(self) -> str:
        """How many of the tensors on disk the ledger has; empty where nothing was read."""
        told = self.verdict.testimony
        if not told.tensors_on_disk and not told.missing:
            return ""
        found = count(told.tensors_on_disk, "tensor")
        return f"The host read {found} from disk and found {told.found_in_ledger} of them in the ledger."

    @property
    def controls(self) -> Table:
        """One row a negative control: what was planted, and whether the comparison detected it."""
        rows = [
            (
                _PLANTED[one.name],
                _outcome_of(one),
                line(one.detail),
            )
            for one in self.verdict.control.controls
        ]
        return table("", {"Planted difference": "key", "Outcome": "text", "Detail": "long"}, rows)

    @property
    def controls_warning(self) -> State | None:
        """That the controls prove nothing, or not enough."""
        if any(one.made and not one.detected for one in self.verdict.control.controls):
            return State("At least one planted difference was not detected: this run proves nothing.", "bad")
        if not self.verdict.control.failed_as_it_must:
            return State("Not every control was made: whether differences are detected is not known.", "unsure")
        return None

    @property
    def files(self) -> Table:
        """One row a declared file that both sides have."""
        states = {True: State("equal", "good"), False: State("different", "bad"), None: State("not compared", "none")}
        rows = [
            (line(one.path), line(one.role), str(one.num_tensors), states[one.equal], short(one.content))
            for one in self.verdict.files
        ]
        columns: dict[str, Kind] = {"Path": "code", "Role": "short", "Tensors": "number", "Bits": "short"}
        return table("", columns | {"Content": "code"}, rows, of=self._full.files)

    # What is claimed.

    @property
    def claims(self) -> tuple[str, ...]:
        """What this verdict claims, one sentence a check that passed."""
        passed = {check.name: check for check in self.checks if check.state.words == "CERTIFIED"}
        only = f"Only for {self.scope}: " if self.scope else ""
        found = []
        if "rerun" in passed:
            found.append(
                f"{only}Rerun: trained again with the same commit, image and inputs on the same kind of hardware, it"
                f" gave the same bits ({passed['rerun'].how or 'see the check'})."
            )
        if "resume" in passed:
            found.append(
                f"{only}Resume: killed at the points listed here and resumed from its own checkpoints, it gave the same"
                " bits as without a kill, and every resumed run continued right after its checkpoint's step."
            )
        if "rebuild" in passed:
            found.append("Rebuild: built again from nothing but its lockfiles, the image has the same id.")
        if "replay" in passed and self.replay:
            where = f"{self.replay.tier} with the archived code and locks"
            found.append(f"Replay: trained again {where}, it gave the same bits.")
        return tuple(found)

    @property
    def non_claims(self) -> tuple[str, ...]:
        """What no certificate claims, whatever the verdict."""
        kills = "That it survives a kill at any other point: for points that are not drawn at random there is no bound."
        if self.verdict.kind == "replay":
            kills = "That it survives a kill: a replay trains straight through and kills nothing."
        return (
            "That another CPU or GPU model, driver or number of threads gives these bits: nothing was run there.",
            kills,
            "That the model is good, the data are right or the loss is low: bits were compared, not quality.",
            "That nobody forged the evidence: digests of tensors detect accidents. sha256 pins the files.",
        )

    # What it stood on.

    @property
    def packages_warning(self) -> str:
        """That the runs had other packages than the locked ones; empty if they had those."""
        facts = self.verdict.environment
        if facts is None or not self.packages.rows:
            return ""
        amounts = [f"{facts.counts[kind]} {kind}" for kind in ("missing", "changed", "added") if facts.counts.get(kind)]
        python, lock = line(facts.python), line(facts.lock) or "the image's lock"
        differences = ", ".join(amounts) or "another Python"
        return f"This is NOT the locked environment: Python {python}, compared with {lock}: {differences}"

    @property
    def packages(self) -> Table:
        """What differs from the lock; nothing in a container."""
        rows: list[tuple[str, str, str, str]] = []
        if facts := self.verdict.environment:
            difference = facts.difference
            if python := difference.python:
                rows.append(("changed", "python", line(python.locked), line(python.found)))
            rows += [("missing", line(one.name), line(one.locked), "") for one in difference.missing]
            rows += [("changed", line(one.name), line(one.locked), line(one.found)) for one in difference.changed]
            rows += [("added", line(one.name), "", line(one.found)) for one in difference.added]
        return table("", {"Kind": "text", "Package": "code", "Locked": "code", "Found": "code"}, rows)


def _amounts(amount: Compared) -> tuple[str, str, str]:
    return _amount(amount.steps), _amount(amount.tensors), size(amount.bytes) if amount.bytes else "none"


def _amount(value: int) -> str:
    return f"{value:,}" if value else "none"


def _outcome_of(control: ControlResult) -> State:
    if not control.made:
        return State("could not be made", "unsure")
    return State("detected", "good") if control.detected else State("not detected", "bad")
