"""Reads a report's HTML strictly enough to notice a tag that is not closed, an id used twice, anything loaded."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_VOID = {"meta", "br", "link", "img", "input", "hr"}
_LOADING = {"src", "srcset", "href", "xlink:href", "data", "action", "poster", "background", "formaction"}


class Page(HTMLParser):
    """Tags, texts and attributes of a page; `problems` lists what must not be there."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.problems: list[str] = []
        self.headings: list[int] = []
        self.unnamed_drawings = 0
        self._ids: set[str] = set()
        self._references: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"not closed: {tag}" for tag in self._open]
        self.problems += [f"no such id: {name}" for name in sorted(self._references - self._ids)]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"wrong end: {tag}")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.problems += re.findall(r"@import[^;]*|url\((?!#)[^)]*\)", data)
        else:
            self.texts.append(data)

    def _tag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in ("script", "iframe", "object", "embed", "base", "form", "img", "link"):
            self.problems.append(f"forbidden: {tag}")
        if tag == "svg" and values.get("role") != "img" and values.get("aria-hidden") != "true":
            self.unnamed_drawings += 1
        for name, value in attrs:
            if name.startswith("on") or (name in _LOADING and not (value or "").startswith("#")):
                self.problems.append(f"{tag} {name}={value}")
            if name == "style" and re.search(r"url\((?!#)", value or ""):
                self.problems.append(f"{tag} style={value}")
            if name in ("aria-labelledby", "aria-describedby"):
                self._references.update((value or "").split())
        identifier = values.get("id")
        if identifier is not None:
            if identifier in self._ids:
                self.problems.append(f"id twice: {identifier}")
            self._ids.add(identifier)
