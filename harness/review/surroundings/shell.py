"""Shell commands as a review reads them: the words of each, and the lines they stand on. Nothing is expanded or run.

What is read is the grammar of POSIX shells as far as simple commands go (https://pubs.opengroup.org/onlinepubs/9799919799,
"Shell Command Language"): quotes, backslashes, comments, operators, here-documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_OPERATORS = (";;", "&&", "||", "|&", ";", "|", "&", "(", ")", "\n")
_HEREDOC = re.compile(r"<<(-?)[ \t]*(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\2")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_BEFORE = frozenset(
    ("if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "sudo", "exec", "command", "nohup", "env")
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word without its quotes; `is_literal` says that nothing in it would be expanded."""

    text: str
    line: int
    is_literal: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command.

    Attributes:
        words: its name first; variables set before it and words like `then` and `sudo` are left out.
        ends_with: the operator behind it: `|`, `&&`, a newline ...
        group: commands of one number are joined by operators or stand on one line.
    """

    words: tuple[Word, ...]
    ends_with: str
    group: int

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.words[0].line

    @property
    def name(self) -> str:
        """The program, without its folder."""
        return self.words[0].text.rpartition("/")[2]

    @property
    def arguments(self) -> tuple[Word, ...]:
        """The words behind the name."""
        return self.words[1:]


def read_commands(lines: Iterable[tuple[int, str]]) -> tuple[Command, ...]:
    """The simple commands of a script, in order."""
    reader = _Reader()
    for number, text in lines:
        reader.line(number, text)
    reader.finish()
    return tuple(reader.commands)


class _Reader:
    """Reads character by character; quotes and commands may go on over lines."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.words: list[Word] = []
        self.text: list[str] = []
        self.begun = 0  # the line that the word began on, 0 between words
        self.is_literal = True
        self.quote = ""
        self.group = 0
        self.heredocs: list[tuple[str, bool]] = []

    def line(self, number: int, text: str) -> None:
        if self.heredocs:
            end, strips = self.heredocs[0]
            if (text.lstrip("\t") if strips else text) == end:
                self.heredocs.pop(0)
            return
        found = [] if self.quote else [(match[3], bool(match[1])) for match in _HEREDOC.finditer(text)]
        position = 0
        while position < len(text):
            position += self.read(text, position, number)
        if self.quote:
            self.text.append("\n")
        elif text.endswith("\\") and not text.endswith("\\\\"):
            self.end_word()
        else:
            self.heredocs = found
            self.end_command("\n")

    def read(self, text: str, position: int, number: int) -> int:
        """Take what stands at a position; returns how many characters that was."""
        one = text[position]
        if self.quote:
            return self.quoted(text, position)
        if one == "\\":
            if position + 1 < len(text):
                self.add(text[position + 1], number)
            return 2
        if one in "'\"":
            self.quote = one
            self.add("", number)
        elif one in " \t":
            self.end_word()
        elif one == "#" and not self.begun:
            return len(text) - position
        elif one in ";&|()":
            if one == "&" and (text[position - 1 : position] in "<>" or text[position + 1 : position + 2] == ">"):
                self.add(one, number)  # 2>&1, &>file
                return 1
            if one == "(" and (self.begun and self.text[-1:] == ["$"]):
                return self.substitution(text, position, number)
            operator = next(known for known in _OPERATORS if text.startswith(known, position))
            self.end_command(operator)
            return len(operator)
        else:
            self.add(one, number)
        return 1

    def quoted(self, text: str, position: int) -> int:
        one = text[position]
        if one == self.quote:
            self.quote = ""
        elif one == "\\" and self.quote == '"' and text[position + 1 : position + 2] in ('"', "\\", "$", "`"):
            self.text.append(text[position + 1])
            return 2
        else:
            self.is_literal &= self.quote == "'" or one not in "$`"
            self.text.append(one)
        return 1

    def substitution(self, text: str, position: int, number: int) -> int:
        """`$(...)` belongs to the word that it stands in."""
        depth = 0
        for length, one in enumerate(text[position:], 1):
            depth += (one == "(") - (one == ")")
            self.add(one, number)
            if depth == 0:
                return length
        return len(text) - position

    def add(self, text: str, number: int) -> None:
        if not self.begun:
            self.begun, self.is_literal = number, True
        self.is_literal &= text not in ("$", "`", "*", "?")
        self.text.append(text)

    def end_word(self) -> None:
        if self.begun:
            self.words.append(Word("".join(self.text), self.begun, self.is_literal))
        self.text, self.begun = [], 0

    def end_command(self, operator: str) -> None:
        self.end_word()
        words = self.words
        while words and (words[0].text in _BEFORE or _ASSIGNMENT.match(words[0].text)):
            words = words[1:]
        if words:
            self.commands.append(Command(tuple(words), operator, self.group))
        self.words = []
        if operator == "\n":
            self.group += 1

    def finish(self) -> None:
        self.quote = ""
        self.end_command("\n")
