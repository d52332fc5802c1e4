"""Read the small part of Markdown that training writes into METRICS.md, as blocks that a template escapes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise


class SpanKind(StrEnum):
    TEXT = "text"
    CODE = "code"
    STRONG = "strong"


class BlockKind(StrEnum):
    HEADING = "heading"
    PARAGRAPH = "paragraph"
    BULLETS = "bullets"
    TABLE = "table"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class Span:
    kind: SpanKind
    text: str


Spans = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One block: a heading's ``level``, the lines of spans of its text, items or cells, a picture's file ``name``.

    ``rows`` of a table begin with its titles; all have the same number of cells.
    """

    kind: BlockKind
    level: int = 0
    spans: Spans = ()
    items: tuple[Spans, ...] = ()
    rows: tuple[tuple[Spans, ...], ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading of the second level; the first one's ``title`` is empty: what stands before any."""

    title: Spans
    blocks: tuple[Block, ...]


_HEADING = re.compile(r"(#{1,6}) +(.+)")
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([0-9A-Za-z_][0-9A-Za-z_.-]{0,63})\)")
_BULLET = re.compile(r"[-*] +(.*)")
_RULE = re.compile(r"\|?( *:?-+:? *\|)+( *:?-+:? *)?")
_CODE_OR_STRONG = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_CELL_END = re.compile(r"(?<!\\)\|")


def read_markdown(text: str) -> tuple[Block, ...]:
    """Return the blocks of a document: headings, paragraphs, flat lists, tables and pictures beside the document.

    Everything else, HTML and links among it, stays the text that it is.
    """
    lines = text.splitlines()
    blocks: list[Block] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        end = _end_of_block(lines, at)
        blocks.append(_block(lines[at:end]))
        at = end
    return tuple(blocks)


def divide(blocks: tuple[Block, ...]) -> tuple[Section, ...]:
    """Return a document's blocks by their headings of the second level, what stands before the first one first."""
    starts = [at for at, block in enumerate(blocks) if block.kind is BlockKind.HEADING and block.level == 2]
    ends = [*starts, len(blocks)]
    opening = Section((), blocks[: ends[0]])
    return (opening, *(Section(blocks[at].spans, blocks[at + 1 : end]) for at, end in pairwise(ends)))


def _end_of_block(lines: list[str], start: int) -> int:
    """A heading or picture is a line of its own; anything else reaches to an empty line or to another kind."""
    kind = _kind(lines[start])
    end = start + 1
    if kind in (BlockKind.HEADING, BlockKind.PICTURE):
        return end
    while end < len(lines) and lines[end].strip() and _goes_on(kind, lines[end]):
        end += 1
    return end


def _goes_on(kind: BlockKind, line: str) -> bool:
    other = _kind(line)
    return other is kind or (kind is BlockKind.BULLETS and other is BlockKind.PARAGRAPH)


def _kind(line: str) -> BlockKind:
    stripped = line.strip()
    if _HEADING.fullmatch(stripped):
        return BlockKind.HEADING
    if _PICTURE.fullmatch(stripped):
        return BlockKind.PICTURE
    if _BULLET.fullmatch(stripped):
        return BlockKind.BULLETS
    return BlockKind.TABLE if stripped.startswith("|") else BlockKind.PARAGRAPH


def _block(lines: list[str]) -> Block:
    stripped = [line.strip() for line in lines]
    kind = _kind(stripped[0])
    if kind is BlockKind.HEADING and (heading := _HEADING.fullmatch(stripped[0])):
        return Block(kind, level=len(heading[1]), spans=read_spans(heading[2]))
    if kind is BlockKind.PICTURE and (picture := _PICTURE.fullmatch(stripped[0])):
        return Block(kind, spans=read_spans(picture[1]), name=picture[2])
    if kind is BlockKind.BULLETS:
        return Block(kind, items=tuple(read_spans(item) for item in _items(stripped)))
    if kind is BlockKind.TABLE and len(stripped) > 1 and _RULE.fullmatch(stripped[1]):
        return _table(stripped)
    return Block(BlockKind.PARAGRAPH, spans=read_spans(" ".join(stripped)))


def _items(lines: list[str]) -> Iterator[str]:
    item = ""
    for line in lines:
        if bullet := _BULLET.fullmatch(line):
            if item:
                yield item
            item = bullet[1]
        else:
            item += " " + line
    yield item


def _table(lines: list[str]) -> Block:
    rows = [_cells(line) for line in (lines[0], *lines[2:])]
    width = len(rows[0])
    # As elsewhere with Markdown, the titles say how many cells a row has.
    even = [(row + [""] * width)[:width] for row in rows]
    return Block(BlockKind.TABLE, rows=tuple(tuple(read_spans(cell) for cell in row) for row in even))


def _cells(line: str) -> list[str]:
    inner = line.removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(inner)]


def read_spans(text: str) -> Spans:
    """Return a line's plain text, code and strong words, in order."""
    spans: list[Span] = []
    at = 0
    for found in _CODE_OR_STRONG.finditer(text):
        if found.start() > at:
            spans.append(Span(SpanKind.TEXT, text[at : found.start()]))
        spans.append(Span(SpanKind.CODE, found[1]) if found[1] else Span(SpanKind.STRONG, found[2]))
        at = found.end()
    if at < len(text):
        spans.append(Span(SpanKind.TEXT, text[at:]))
    return tuple(spans)
