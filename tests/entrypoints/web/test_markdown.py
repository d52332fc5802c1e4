"""METRICS.md as blocks: what training writes is understood, everything else stays text."""

from pathlib import Path

import pytest

from csss.entrypoints.web.markdown import Block, BlockKind, Span, SpanKind, divide, read_markdown, read_spans

ROOT = Path(__file__).parents[3]


def plain(text: str) -> tuple[Span, ...]:
    return (Span(SpanKind.TEXT, text),) if text else ()


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("# One", Block(BlockKind.HEADING, level=1, spans=plain("One"))),
        ("### Three #", Block(BlockKind.HEADING, level=3, spans=plain("Three #"))),
        ("two\nlines", Block(BlockKind.PARAGRAPH, spans=plain("two lines"))),
        ("#no heading", Block(BlockKind.PARAGRAPH, spans=plain("#no heading"))),
        ("- a\n  goes on\n- b", Block(BlockKind.BULLETS, items=(plain("a goes on"), plain("b")))),
        ("![A plot](plot.png)", Block(BlockKind.PICTURE, spans=plain("A plot"), name="plot.png")),
        ("![x](../secret.png)", Block(BlockKind.PARAGRAPH, spans=plain("![x](../secret.png)"))),
        ("![x](//host/a.png)", Block(BlockKind.PARAGRAPH, spans=plain("![x](//host/a.png)"))),
        ("![x](.hidden.png)", Block(BlockKind.PARAGRAPH, spans=plain("![x](.hidden.png)"))),
        ("<script>alert(1)</script>", Block(BlockKind.PARAGRAPH, spans=plain("<script>alert(1)</script>"))),
        ("[a](javascript:x)", Block(BlockKind.PARAGRAPH, spans=plain("[a](javascript:x)"))),
        (
            "|  | n |\n| --- | --: |\n| a | 1 |\n| b |\n| c | 3 | 4 |",
            Block(
                BlockKind.TABLE,
                rows=((plain(""), plain("n")), (plain("a"), plain("1")), (plain("b"), ()), (plain("c"), plain("3"))),
            ),
        ),
        (r"| a \| b |" + "\n| --- |", Block(BlockKind.TABLE, rows=((plain("a | b"),),))),
        ("| no table |", Block(BlockKind.PARAGRAPH, spans=plain("| no table |"))),
    ],
)
def test_each_kind_of_block_is_read(text: str, block: Block) -> None:
    assert read_markdown(text) == (block,)


def test_blocks_end_at_empty_lines_and_where_another_kind_begins() -> None:
    text = "# T\ntext\n- a\n\n- b\n| h |\n| - |\n| 1 |\n![p](p.png)\n\n\nend\n"
    kinds = [block.kind for block in read_markdown(text)]
    assert kinds == ["heading", "paragraph", "bullets", "bullets", "table", "picture", "paragraph"]
    assert read_markdown("\n \n") == ()


def test_a_document_is_divided_at_its_headings_of_the_second_level() -> None:
    opening, first, empty, last = divide(read_markdown("# T\nwords\n## A `b`\n### C\n- d\n## E\n## F\n| h |\n| - |"))
    assert ([block.kind for block in opening.blocks], opening.title) == (["heading", "paragraph"], ())
    assert (first.title, [block.kind for block in first.blocks]) == (read_spans("A `b`"), ["heading", "bullets"])
    assert (empty.title, empty.blocks) == (read_spans("E"), ())
    assert (last.title, [block.kind for block in last.blocks]) == (read_spans("F"), ["table"])
    assert [section.blocks for section in divide(read_markdown("words"))] == [read_markdown("words")]


def test_code_and_strong_words_are_told_from_text() -> None:
    assert read_spans("a `b **c**` **d** e*f") == (
        Span(SpanKind.TEXT, "a "),
        Span(SpanKind.CODE, "b **c**"),
        Span(SpanKind.TEXT, " "),
        Span(SpanKind.STRONG, "d"),
        Span(SpanKind.TEXT, " e*f"),
    )


@pytest.mark.parametrize("path", sorted(ROOT.glob("models/*/*/METRICS.md")), ids=lambda path: str(path.parent.name))
def test_the_shipped_evidence_is_read_without_a_rest(path: Path) -> None:
    blocks = read_markdown(path.read_text())
    text = [span.text for block in blocks if block.kind is BlockKind.PARAGRAPH for span in block.spans]
    assert [words for words in text if words.startswith(("|", "#", "![", "- "))] == []
    tables = [block for block in blocks if block.kind is BlockKind.TABLE]
    assert len(tables) == sum(line.startswith("| ---") for line in path.read_text().splitlines())
    pictures = {block.name for block in blocks if block.kind is BlockKind.PICTURE}
    assert {name for name in pictures if not (path.parent / name).exists()} == set()
