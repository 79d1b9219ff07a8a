"""summary.md: the verdict for a CI job's summary page, GitHub's flavour of Markdown, below 1 MiB."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from harness.report import sections, wording
from harness.report.equality import equality_maps
from harness.report.fields import document, line, table, texts
from harness.report.replay import condensed, replay_section
from harness.report.review import finding_rows, review_groups, review_sentence, unread_rows

MAX_BYTES = 1 << 20
_MAX_ROWS = 100
_MAX_CHARS = 600
_SIGNS = {
    "CERTIFIED": "✅",
    "DIVERGED": "❌",
    "VETOED": "⛔",
    "TAMPERED": "❌",
    "INCONCLUSIVE": "❓",
    wording.NOT_CHECKED: "➖",
}
# What begins a construct anywhere in a line; "@", "#" and "://" would make mentions and links of plain text.
_ESCAPED = re.compile(r"([\\`*_\[\]#|~$])")
_LEADING = re.compile(r"^(\d*)([-+.=])(?=[-=\s]|$)")


def render_summary(verdict: dict[str, Any], manifest: dict[str, Any]) -> str:
    """The summary of any verdict; every text in it is escaped."""
    verdict, manifest = (value if isinstance(value, dict) else {} for value in (verdict, manifest))
    verdict = condensed(verdict)
    shown, known = (document(value, max_rows=_MAX_ROWS, max_chars=_MAX_CHARS) for value in (verdict, manifest))
    blocks = [_heading(shown), _environment(shown), _oracles(shown), _replay(shown)]
    blocks += [_divergence(shown), _problems(shown)]
    blocks += [_equality(shown, known)]
    blocks += [_interruptions(shown), _controls(shown), _review(shown), _files(shown)]
    blocks += [_not_checked(shown), _left_out(verdict), _provenance(shown, known)]
    page = "\n\n".join(block for block in blocks if block) + "\n"
    return page if len(page.encode()) <= MAX_BYTES else _cut(blocks)


def _left_out(verdict: dict[str, Any]) -> str:
    """How many rows of long lists are not shown; empty where all are."""
    lists = {"problems": "problems", "interruptions": "kills", "files": "files", "not_checked": "things not checked"}
    more = [
        f"{len(given) - _MAX_ROWS:,} more {noun}"
        for key, noun in lists.items()
        if isinstance(given := verdict.get(key), list) and len(given) > _MAX_ROWS
    ]
    return f"Not shown here: {', '.join(more)}; they are in verdict.json." if more else ""


def _cut(blocks: list[str]) -> str:
    """The blocks that fit, in their order; the first always does."""
    page, size = blocks[0], len(blocks[0].encode())
    for block in blocks[1:]:
        size += len(block.encode()) + 2
        if size > MAX_BYTES - 200:
            return page + "\n\nThis summary was cut; report.html and verdict.json have the rest.\n"
        page += f"\n\n{block}" if block else ""
    return page + "\n"


def escaped(value: object) -> str:
    """Any value as one line of plain text: no markup, no link, no mention, no HTML."""
    text = line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    text = text.replace("://", "&#58;//").replace("www.", "www&#46;")
    text = _ESCAPED.sub(r"\\\1", text)
    return _LEADING.sub(r"\1\\\2", text)


def code(value: object) -> str:
    """Any value in typewriter face; safe in a table's cell, where a backtick span is not."""
    shown = escaped(value)
    return f"<code>{shown}</code>" if shown else ""


def _rows(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; cells are escaped already."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(' --- ' for _ in header)}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _sign(verdict: str) -> str:
    return f"{_SIGNS[verdict]} {wording.words(verdict)}"


def _heading(verdict: dict[str, Any]) -> str:
    word = wording.overall(verdict)
    lines = [
        f"## {_SIGNS[word]} {word}: {escaped(wording.title_of(verdict))}",
        escaped(wording.summary_of(verdict)),
        f"Compared: {wording.compared_text(verdict.get('compared'))}.",
    ]
    return "\n\n".join(lines)


def _environment(verdict: dict[str, Any]) -> str:
    """A warning that cannot be overlooked, and every package that differs from the lock."""
    found = wording.environment_rows(verdict)
    if not found:
        return ""
    rows = [(escaped(kind), code(name), code(locked), code(now)) for kind, name, locked, now in found]
    warning = f"> [!WARNING]\n> {escaped(wording.environment_sentence(verdict))}."
    return warning + "\n\n" + _details("Environment", _rows(("", "Package", "Locked", "Found"), rows))


def _oracles(verdict: dict[str, Any]) -> str:
    rows = []
    for oracle in wording.oracle_texts(verdict):
        notes = [oracle.reason, oracle.how, *oracle.details, oracle.bound]
        required = "yes" if oracle.required else "no"
        why = "<br>".join(escaped(note) for note in notes if note)
        rows.append((escaped(oracle.title), _sign(oracle.verdict), required, escaped(oracle.compared), why))
    return _rows(("Oracle", "Verdict", "Required", "Compared", "How"), rows)


def _replay(verdict: dict[str, Any]) -> str:
    """What was replayed and where; what differs of the environment, and what a replay needs that is not there."""
    found = replay_section(verdict)
    if found is None:
        return ""
    blocks = ["### Replay", _rows(("", ""), [(escaped(label), code(value)) for label, value in found["facts"]])]
    if found["tier"]:
        detail = f" ({'; '.join(found['tier_detail'])})" if found["tier_detail"] else ""
        blocks.append(f"{escaped(found['tier'] + detail)}.")
    if rows := [(code(path), escaped(then), escaped(today)) for path, then, today in found["environment"]]:
        blocks.append("#### What differs of the environment\n\n" + _rows(("", "Archived", "Today"), rows))
    if found["code_changes"]:
        changes = "\n".join(f"- {code(entry)}" for entry in found["code_changes"])
        blocks.append(f"What differs of the code:\n\n{changes}")
    if found["preflight_sentence"]:
        blocks.append(f"Preflight: {escaped(found['preflight_sentence'])}.")
    missing = [
        (escaped(row["kind"]), code(row["name"]), escaped(row["state"]), escaped(row["detail"]), escaped(row["remedy"]))
        for row in found["missing"]
    ]
    if missing:
        blocks.append(_rows(("Kind", "Name", "State", "Detail", "Remedy"), missing))
    return "\n\n".join(blocks)


def _divergence(verdict: dict[str, Any]) -> str:
    lines = []
    if sentence := wording.divergence_sentence(verdict):
        lines.append(f"### Where it first differs\n\n{escaped(sentence)}.")
        lines.append(_rows(("", ""), [(label, code(value)) for label, value in wording.divergence_rows(verdict)]))
    cause = table(verdict.get("cause"))
    if cause:
        lines.append(f"### Why\n\n**{escaped(cause.get('title')) or 'Cause not named'}** {code(cause.get('class'))}")
        lines.append(_list(texts(cause.get("evidence"))))
        if ruled_out := texts(cause.get("ruled_out")):
            lines.append("Ruled out:\n\n" + _list(ruled_out))
        if fix := escaped(cause.get("fix")):
            lines.append(f"**Fix.** {fix}")
    return "\n\n".join(block for block in lines if block)


def _list(entries: list[str]) -> str:
    return "\n".join(f"- {escaped(entry)}" for entry in entries)


def _problems(verdict: dict[str, Any]) -> str:
    problems = texts(verdict.get("problems"))
    return f"### What kept it from a certificate\n\n{_list(problems)}" if problems else ""


def _equality(verdict: dict[str, Any], manifest: dict[str, Any]) -> str:
    maps = equality_maps(verdict, manifest, ())
    if not maps:
        return ""
    names = {
        "replay": "archived and today",
        "rerun": "straight and its rerun",
        "resume": "straight and resumed",
    }
    streams = list(dict.fromkeys(row.stream for found in maps for row in found.rows))
    notes = [{row.stream: row.note for row in found.rows} for found in maps]
    rows = [(code(stream), *(escaped(note.get(stream, "")) for note in notes)) for stream in streams]
    return _details("Streams", _rows(("Stream", *(names[found.oracle] for found in maps)), rows))


def _details(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def _review(verdict: dict[str, Any]) -> str:
    """The checklist in one table, and what was found: the checklist is folded."""
    review = table(verdict.get("review"))
    if not review:
        return ""
    rows = [
        (
            f"{row['sign']} {row['id']}",
            escaped(row["title"]),
            escaped(row["state"]),
            escaped("; ".join(row["shown"][:2])),
        )
        for _, items in review_groups(review)
        for row in items
    ]
    checklist = _rows(("", "Item", "State", "Shown by"), rows) if rows else ""
    blocks = [f"### Review\n\n{escaped(review_sentence(review))}.", _findings(review, "findings", "Findings")]
    blocks += [_findings(review, "allowed", "Allowed"), _details("Checklist", checklist)]
    if unread := unread_rows(review):
        blocks.append("Not read:\n\n" + "\n".join(f"- {code(path)}: {escaped(reason)}" for path, reason in unread))
    return "\n\n".join(block for block in blocks if block)


def _findings(review: dict[str, Any], key: str, title: str) -> str:
    last = "Reason" if key == "allowed" else "Fix"
    rows = [
        (
            code(one["place"]),
            f"{code(one['rule'])} {escaped(one['severity'])}, {escaped(one['certainty'])}",
            escaped(one["items"]),
            escaped(one["message"]),
            escaped(one["allowed"] or one["fix"]),
        )
        for one in finding_rows(review, key)
    ]
    return f"#### {title}\n\n{_rows(('Where', 'Rule', 'Items', 'What', last), rows)}" if rows else ""


def _interruptions(verdict: dict[str, Any]) -> str:
    found = sections.interruptions(verdict)
    keys = ("number", "run", "place", "ending", "landed", "resumed")
    rows = [tuple(escaped(row[key]) for key in keys) for row in found]
    header = ("No.", "Run", "Where", "How it ended", "As planned", "Resumed")
    return f"### Interruptions\n\n{_rows(header, rows)}" if rows else ""


def _controls(verdict: dict[str, Any]) -> str:
    signs = {"good": "✅", "bad": "❌", "none": "➖"}
    rows = [
        (escaped(row["title"]), f"{signs[row['tone']]} {row['outcome']}", escaped(row["detail"]))
        for row in sections.controls(verdict)
    ]
    return f"### Controls\n\n{_rows(('What was changed', 'Outcome', 'Detail'), rows)}" if rows else ""


def _files(verdict: dict[str, Any]) -> str:
    rows = [
        (code(row["path"]), escaped(row["role"]), escaped(row["outcome"]), code(row["short"]))
        for row in sections.files(verdict)
    ]
    return _details("Files", _rows(("Path", "Role", "Bits", "Content"), rows)) if rows else ""


def _not_checked(verdict: dict[str, Any]) -> str:
    entries = texts(verdict.get("not_checked"))
    return f"### Not checked\n\n{_list(entries)}" if entries else ""


def _provenance(verdict: dict[str, Any], manifest: dict[str, Any]) -> str:
    facts = [
        ("Run", code(verdict.get("run_id"))),
        ("Commit", code(wording.commit_of(verdict))),
        ("Runner", escaped(verdict.get("runner"))),
        ("Image", code(table(manifest.get("image")).get("id"))),
        ("Harness", escaped(table(manifest.get("harness")).get("version"))),
    ]
    return _details("Provenance", _rows(("", ""), [(name, value) for name, value in facts if value]))
