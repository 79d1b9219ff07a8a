"""What TensorBoard and Weights & Biases left on the disk, read without either of them.

Formats: TFRecord (https://www.tensorflow.org/tutorials/load_data/tfrecord) with TensorBoard's `Event` messages, and the
log of LevelDB (https://github.com/google/leveldb/blob/main/doc/log_format.md) with wandb's `Record` messages; both
hold Protocol Buffers (https://protobuf.dev/programming-guides/encoding/).

A file of a process that was killed ends in the middle of a record: that end is left out, and told. Anything else that
does not fit is an error with its place. Memory and time are linear in the bytes given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from harness.review.evidence.tracking_records import (
    Malformed,
    damaged,
    fields,
    integer,
    part,
    parts,
    tf_records,
    wandb_records,
)

_MAX_TEXT = 4096
_SESSION_STARTS = 1
_TEXT_SUMMARY = "/text_summary"  # torch.utils.tensorboard puts it behind the tag of a text
_HPARAMS = "_hparams_/session_start_info"
_MAX_STARTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of one tag or history key that has numbers; `steps` are in the order of the file."""

    name: str
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text that was logged; `value` holds its first 4,096 characters."""

    name: str
    step: int
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """What one tracking file holds, or several files of one training together.

    Attributes:
        kind: which tracker wrote it.
        series: numbers, sorted by name; each has at least one point.
        texts: strings, sorted by name and step.
        config_keys: top-level keys of the configuration that was logged (TensorBoard: names of hyperparameters).
        has_config: a configuration was logged: one with keys, or a text whose name ends in `config`.
        num_records: how many whole records there are.
        torn_bytes: length of the torn record at the end, 0 if there is none.
        purged_from: points of earlier files at this step or later do not count; None: they all do.
        run_id: wandb's name of the run, "" for TensorBoard.
    """

    kind: Literal["tensorboard", "wandb"]
    series: tuple[Series, ...]
    texts: tuple[Text, ...]
    config_keys: tuple[str, ...]
    has_config: bool
    num_records: int
    torn_bytes: int
    purged_from: int | None = None
    run_id: str = ""


@dataclass(slots=True)
class _Points:
    """What is gathered while a file is read."""

    steps: dict[str, list[int]] = field(default_factory=dict)
    texts: list[Text] = field(default_factory=list)
    config_keys: set[str] = field(default_factory=set)
    plugins: dict[str, str] = field(default_factory=dict)
    purged_from: int | None = None
    num_starts: int = 0
    run_id: str = ""

    def add_text(self, name: str, step: int, value: bytes) -> None:
        """Keep the beginning of a text; a character has 4 bytes at most."""
        text = value[: 4 * _MAX_TEXT].decode("utf-8", "replace")[:_MAX_TEXT]
        self.texts.append(Text(name=name, step=step, value=text))

    def purge(self, step: int) -> None:
        """Forget what stands at this step or later."""
        self.steps = {name: [one for one in steps if one < step] for name, steps in self.steps.items()}
        self.texts = [text for text in self.texts if text.step < step]
        self.purged_from = step if self.purged_from is None else min(step, self.purged_from)

    def finished(self, kind: Literal["tensorboard", "wandb"], num_records: int, torn_bytes: int) -> TrackedRun:
        """The value that is handed out."""
        texts = tuple(sorted(self.texts, key=lambda text: (text.name, text.step)))
        return TrackedRun(
            kind=kind,
            series=tuple(Series(name=name, steps=tuple(steps)) for name, steps in sorted(self.steps.items()) if steps),
            texts=texts,
            config_keys=tuple(sorted(self.config_keys)),
            has_config=bool(self.config_keys) or any(text.name.split("/")[-1] == "config" for text in texts),
            num_records=num_records,
            torn_bytes=torn_bytes,
            purged_from=self.purged_from,
            run_id=self.run_id,
        )


def read_tensorboard(data: bytes, name: str = "the event file") -> TrackedRun:
    """Read one event file (`events.out.tfevents.*`). One that is empty, or ends in its first record, has no points.

    Raises:
        EvidenceError: it is no event file, or a record is damaged; the message names the offset.
    """
    framed, points = tf_records(data, name), _Points()
    for index, (offset, record) in enumerate(framed.records):
        try:
            if index == 0 and not part(record, 3).startswith(b"brain.Event:"):
                raise Malformed("the first event does not name the format's version")
            _add_event(points, record)
        except Malformed as error:
            raise damaged(name, offset, f"the record is no event: {error}") from error
    return points.finished("tensorboard", len(framed.records), framed.torn_bytes)


def _add_event(points: _Points, event: bytes) -> None:
    """Event: step 2, summary 5, session_log 7 (status 1). Summary: value 1. Fields as in TensorBoard's .proto files."""
    step = integer(event, 2)
    if integer(part(event, 7), 1) == _SESSION_STARTS:
        points.num_starts += 1
        if points.num_starts > _MAX_STARTS:  # each goes through all points
            raise Malformed(f"more than {_MAX_STARTS} sessions start in one file")
        points.purge(step)
    for summary in parts(event, 5):
        for value in parts(summary, 1):
            _add_value(points, step, value)


def _add_value(points: _Points, step: int, value: bytes) -> None:
    """Value: tag 1, simple_value 2, tensor 8, metadata 9 (plugin_data 1: plugin_name 1, content 2).

    Writers of TensorFlow 2 put a scalar into a tensor, and name the plugin with a tag's first value only.
    """
    tag, plugin_data = part(value, 1).decode("utf-8", "replace"), part(part(value, 9), 1)
    plugin = part(plugin_data, 1).decode("utf-8", "replace") or points.plugins.get(tag, "")
    points.plugins[tag] = plugin
    numbers = {number for number, _ in fields(value)}
    if tag == _HPARAMS:
        starts = part(part(plugin_data, 2), 3)  # HParamsPluginData: session_start_info 3, a map `hparams` 1
        points.config_keys.update(part(entry, 1).decode("utf-8", "replace") for entry in parts(starts, 1))
    elif plugin == "text" and 8 in numbers:
        points.add_text(tag.removesuffix(_TEXT_SUMMARY), step, next(parts(part(value, 8), 8), b""))
    elif 2 in numbers or (plugin == "scalars" and 8 in numbers):
        points.steps.setdefault(tag, []).append(step)


def read_wandb(data: bytes, name: str = "the wandb file") -> TrackedRun:
    """Read one offline run (`run-*.wandb`). wandb's own keys, which begin with `_`, are left out.

    Raises:
        EvidenceError: it is no such file, or a record is damaged; the message names the offset.
    """
    framed, points = wandb_records(data, name), _Points()
    for offset, record in framed.records:
        try:
            _add_record(points, record)
        except Malformed as error:
            raise damaged(name, offset, f"the record is no message of wandb: {error}") from error
    return points.finished("wandb", len(framed.records), framed.torn_bytes)


def _add_record(points: _Points, record: bytes) -> None:
    """Record: history 2, config 5, run 17 (run_id 1, config 4). ConfigRecord: update 1. As in wandb_internal.proto."""
    for number, value in fields(record):
        if not isinstance(value, bytes):
            continue
        if number == 2:
            _add_row(points, value)
        elif number in (5, 17):
            config = value if number == 5 else part(value, 4)
            keys = (_key(item).split(".")[0] for item in parts(config, 1))
            points.config_keys.update(key for key in keys if not key.startswith("_"))
            points.run_id = part(value, 1).decode("utf-8", "replace") if number == 17 else points.run_id


def _add_row(points: _Points, row: bytes) -> None:
    """HistoryRecord: item 1, step 2 (num 1)."""
    step = integer(part(row, 2), 1)
    for item in parts(row, 1):
        key = _key(item)
        if key.startswith("_"):
            continue
        kind, text = _kind(item)
        if kind == "number":
            points.steps.setdefault(key, []).append(step)
        elif kind == "text":
            points.add_text(key, step, text)


def _key(item: bytes) -> str:
    """A key, or the parts of a nested one with dots: key 1, nested_key 2."""
    return ".".join(one.decode("utf-8", "replace") for one in (*parts(item, 1), *parts(item, 2)) if one)


def _kind(item: bytes) -> tuple[Literal["number", "text", "other"], bytes]:
    """What a value is, and a text's bytes. Typed: boolean 4, integer 5, number 6, text 7. Or as JSON: value_json 16."""
    for number, value in fields(item):
        if number in (4, 5, 6):
            return "number", b""
        if number == 7 and isinstance(value, bytes):
            return "text", value
        if number == 16 and isinstance(value, bytes):
            return _kind_of_json(value)
    return "other", b""


def _kind_of_json(value: bytes) -> tuple[Literal["number", "text", "other"], bytes]:
    """The same for a value in JSON; what is nested is not looked into, so nothing can be too deep."""
    if value[:1] == b'"':
        try:
            text = json.loads(value)
        except ValueError as error:
            raise Malformed(f"a text is no JSON: {error}") from error
        return "text", text.encode("utf-8", "replace")
    return ("number" if value[:1] in b"-0123456789NItf" and value else "other"), b""
