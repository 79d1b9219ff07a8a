"""Findings that a person allows on a line: `# harness: allow REP101 <reason>`.

The comment stands on a line of the statement that the finding is about, or alone on the line above it. Without a reason
it allows nothing. Every one that is used is listed in the certificate.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from harness.review.finding import Finding, Place, finding
from harness.review.source.module import Module

_COMMENT = re.compile(
    r"#\s*harness:\s*allow\b\s*(?P<rules>[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*)?[\s:,-]*(?P<reason>.*)"
)
_MIN_REASON = 8  # characters: "ok" is no reason


@dataclass(frozen=True, slots=True)
class Allow:
    """One comment: which rules, where it stands, the lines it speaks about, and its reason."""

    rules: tuple[str, ...]
    place: Place
    lines: range
    reason: str


def read_allows(module: Module) -> tuple[Allow, ...]:
    """The allow comments of a file."""
    if "harness:" not in module.text:
        return ()
    return tuple(_allows(module))


def read_line_allows(path: str, text: str) -> tuple[Allow, ...]:
    """The allow comments of a file that is no Python: each speaks about its own line, or alone about the next one."""
    if "harness:" not in text:
        return ()
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _COMMENT.search(line)
        if match is not None:
            is_alone = not line[: match.start()].strip()
            lines = range(number, number + 2 if is_alone else number + 1)
            found.append(_allow(match, Place(path=path, line=number, column=match.start() + 1), lines))
    return tuple(found)


def apply_allows(allows: Iterable[Allow], findings: Iterable[Finding], known: Container[str]) -> Iterator[Finding]:
    """A file's findings, those that its comments allow marked so, and a finding for each comment that is wrong."""
    allows = tuple(allows)
    used: set[Allow] = set()
    for one in findings:
        line = one.place.line if one.place is not None else 0
        match = next((a for a in allows if one.rule in a.rules and line in a.lines and a.reason), None)
        if match is not None:
            used.add(match)
        yield one if match is None else replace(one, allowed=match.reason)
    for allow in allows:
        if wrong := _wrong(allow, known):
            yield finding("REP001", allow.place, wrong)
        elif allow not in used:
            message = f"nothing to allow here: {', '.join(allow.rules)} finds nothing on this statement"
            yield finding("REP002", allow.place, message)


def _wrong(allow: Allow, known: Container[str]) -> str:
    unknown = [rule for rule in allow.rules if rule not in known]
    if not allow.rules:
        return "an allow comment that names no rule"
    if unknown:
        return f"an allow comment for {', '.join(unknown)}, which is no rule"
    return "" if allow.reason else f"an allow comment for {', '.join(allow.rules)} without a reason"


def _allows(module: Module) -> Iterator[Allow]:
    statements = _statements(module.tree)
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(module.text).readline))
    except (tokenize.TokenError, SyntaxError):  # the parser took it all the same
        return
    for token in tokens:
        match = _COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
        if match is None:
            continue
        line, column = token.start
        is_alone = not token.line[:column].strip()
        place = Place(path=module.path, line=line, column=column + 1)
        yield _allow(match, place, _lines(statements, line, is_alone=is_alone))


def _allow(match: re.Match[str], place: Place, lines: range) -> Allow:
    reason = match["reason"].strip()
    return Allow(
        rules=tuple(re.split(r"\s*,\s*", match["rules"])) if match["rules"] else (),
        place=place,
        lines=lines,
        reason=reason if len(reason) >= _MIN_REASON else "",
    )


def _lines(statements: list[range], line: int, *, is_alone: bool) -> range:
    """The lines of the innermost statement at a comment, or of the first one below a comment that stands alone."""
    around = [lines for lines in statements if line in lines]
    if around and not is_alone:
        return min(around, key=len)
    below = [lines for lines in statements if lines.start > line]
    return min(below, key=lambda lines: (lines.start, len(lines)), default=range(line, line + 1))


def _statements(tree: ast.Module) -> list[range]:
    """The lines of every statement; of one with a body only its head."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None) or getattr(node, "cases", None)
            last = node.end_lineno or node.lineno
            if isinstance(body, list) and body:
                last = max(node.lineno, getattr(body[0], "lineno", node.lineno + 1) - 1)
            found.append(range(node.lineno, last + 1))
    return found
