"""Texts with places in them that each event fills: the path of a file, a tag, a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tailrace.batch import Batch
from tailrace.fields import parse_field
from tailrace.memo import Memo
from tailrace.names import encode_name, encode_tag_part

_SPECIAL = re.compile(r"[{}%]")
_VARIABLE = re.compile(r"""\{((?:[^{}"']|"[^"]*"|'[^']*')*)\}""")
_TAG = re.compile(r"tag(?:\[(?:(?P<part>-?\d+)|(?P<first>-?\d+)?:(?P<end>-?\d+)?)\])?")
_ABOUT_TAG = re.compile(r"tag(?![^.\[])")
_TIMES: Final = {
    "Y": ("year", 4),
    "m": ("month", 2),
    "d": ("day", 2),
    "H": ("hour", 2),
    "M": ("minute", 2),
    "S": ("second", 2),
}

UNPARSED_NAME: Final = "_unparsed"
"""What stands in a path where an event has no time."""


class TemplateError(ValueError):
    """A template that does not parse; `column` is where, counted from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


@dataclass(frozen=True, slots=True)
class FieldPiece:
    """A field's value."""

    number: int  # in Template.fields


@dataclass(frozen=True, slots=True)
class TagPiece:
    """Some parts of the tag."""

    parts: slice


@dataclass(frozen=True, slots=True)
class TimePiece:
    """A part of the time, as a number of so many digits."""

    attribute: str
    width: int


Piece = str | FieldPiece | TagPiece | TimePiece


class Template:
    """A text in which `{...}` stands for something of the event.

    `{objectRef.namespace}` and `{annotations["a.b/c"]}` are fields, `{tag}` is the tag, `{tag[1]}` one part
    of it (`{tag[-1]}` the last), `{tag[1:]}` several; `{{` and `}}` are the signs themselves. With
    `time=True`, `%Y %m %d %H %M %S` are those of the event's time and `%%` is the sign.

    A field's value goes through `quote`. So does the text of the tag, except that with `encode_name`, the
    default, it goes through `encode_tag_part`, so that names that a tag was made of are not encoded twice.
    With the default no value adds a `/` or leaves its place in a path.

    Raises TemplateError.
    """

    def __init__(self, text: str, quote: Callable[[object], str] = encode_name, *, time: bool = False) -> None:
        self.text = text
        self._quote = quote
        self._quote_tag: Callable[[str], str] = encode_tag_part if quote is encode_name else quote
        fields: list[str] = []
        self.pieces = _parse(text, time, fields)
        self.untimed = _join_times(self.pieces)
        self.fields = tuple(fields)
        self.uses_tag = any(isinstance(piece, TagPiece) for piece in self.pieces)
        self.time_directives = frozenset(
            directive for directive, time_of in _TIMES.items() if TimePiece(*time_of) in self.pieces
        )
        first = self.pieces[0] if self.pieces else ""
        self.literal_prefix = first if isinstance(first, str) else ""
        self._memo = Memo(self.render)

    def inputs(self, batch: Batch) -> list[Sequence[Any]]:
        """Give the columns that `render` takes a value each of: the tags, if they are used, then `fields`."""
        tags: list[Sequence[Any]] = [batch.tags] if self.uses_tag else []
        return tags + [batch[field] for field in self.fields]

    def render(self, values: Sequence[Any], moment: datetime | None = None, *, no_time: str = UNPARSED_NAME) -> str:
        """Fill in one event's values, in the order of `inputs`, and its time.

        Without a time, `no_time` takes the place of each run of directives and of the text between them; a
        run ends at a `/` and at a variable: `audit-%Y%m%d%H` gives `audit-_unparsed`.
        """
        texts: list[str] = []
        for piece in self.untimed if moment is None else self.pieces:
            if isinstance(piece, str):
                texts.append(piece)
            elif isinstance(piece, FieldPiece):
                texts.append(self._quote(values[self.uses_tag + piece.number]))
            elif isinstance(piece, TagPiece):
                parts = values[0].split(".")[piece.parts]
                texts.append(self._quote_tag(".".join(parts)) if parts else self._quote(None))
            elif moment is None:
                texts.append(no_time)
            else:
                texts.append(f"{getattr(moment, piece.attribute):0{piece.width}}")
        return "".join(texts)

    def render_all(self, batch: Batch) -> list[str]:
        """Give the text of each event, formatted once for each combination of values; it has no time."""
        return self._memo.map(self.inputs(batch), len(batch))


def _parse(text: str, time: bool, fields: list[str]) -> list[Piece]:
    """Take a template apart; the names of its fields are added to `fields`."""
    pieces: list[Piece] = []
    at = 0
    while at < len(text):
        if text.startswith(("{{", "}}"), at):
            _add_literal(pieces, text[at])
            at += 2
        elif text[at] == "{":
            match = _VARIABLE.match(text, at)
            if match is None:
                raise TemplateError("this { is not closed; write {{ for the sign itself", at + 1)
            pieces.append(_variable(match[1], at + 2, fields))
            at = match.end()
        elif text[at] == "}":
            raise TemplateError("this } closes nothing; write }} for the sign itself", at + 1)
        elif text[at] == "%" and time:
            directive = text[at + 1 : at + 2]
            if directive == "%":
                _add_literal(pieces, "%")
            elif directive in _TIMES:
                pieces.append(TimePiece(*_TIMES[directive]))
            else:
                known = " ".join(f"%{letter}" for letter in _TIMES)
                raise TemplateError(
                    f"%{directive} is not a part of a time; there are {known}, and %% for the sign", at + 1
                )
            at += 2
        else:
            special = _SPECIAL.search(text, at + 1)
            end = special.start() if special else len(text)
            _add_literal(pieces, text[at:end])
            at = end
    return pieces


def _variable(name: str, column: int, fields: list[str]) -> Piece:
    tag = _TAG.fullmatch(name)
    if tag is not None:
        if tag["part"] is not None:
            part = int(tag["part"])
            return TagPiece(slice(part, part + 1 or None))
        return TagPiece(slice(tag["first"] and int(tag["first"]), tag["end"] and int(tag["end"])))
    if _ABOUT_TAG.match(name):
        raise TemplateError(
            f"{name!r} is not a part of the tag; write {{tag}}, {{tag[1]}} or {{tag[1:]}}, "
            'or {["tag"]} for a field of that name',
            column,
        )
    try:
        parse_field(name)
    except ValueError:
        raise TemplateError(
            f"{name!r} is not a field name; "
            'write {objectRef.namespace} or {annotations["a.b/c"]}, and {{ for the sign itself',
            column,
        ) from None
    if name not in fields:
        fields.append(name)
    return FieldPiece(fields.index(name))


def _add_literal(pieces: list[Piece], text: str) -> None:
    if pieces and isinstance(pieces[-1], str):
        pieces[-1] += text
    else:
        pieces.append(text)


def _join_times(pieces: list[Piece]) -> list[Piece]:
    """Let one time stand for each run of times with only text between them, none of it a `/`."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, TimePiece):
            if joined and isinstance(joined[-1], TimePiece):
                continue
            if len(joined) > 1 and isinstance(joined[-2], TimePiece) and _is_plain(joined[-1]):
                joined.pop()
                continue
        joined.append(piece)
    return joined


def _is_plain(piece: Piece) -> bool:
    return isinstance(piece, str) and "/" not in piece
