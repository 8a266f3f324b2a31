"""A comparison as a person at a terminal looks at it."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from bench.analyze.comparison import ComparedVariant, Judged, Report
from bench.analyze.verdict import Word
from bench.report.comparison import words
from bench.report.footnotes import footnotes
from bench.report.layout import to_string

STYLES: dict[Word, str] = {"slower": "bold red", "faster": "bold green", "equivalent": "dim", "inconclusive": "yellow"}


def render(report: Report, *, width: int, color: bool) -> str:
    """Returns the verdict line, what was compared, and a row for each variant, worst news first."""
    line = words.headline(report)
    items = words.ordered(report)
    marks = footnotes(items)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("variant", overflow="fold", min_width=20)
    for head in (*words.COLUMNS, "sees", "n"):
        table.add_column(head, justify="right", overflow="fold")
    others: list[Text] = []
    for item, numbers in zip(items, marks.marks, strict=True):
        name = Text(str(item.duet.variant))
        if numbers:
            name.append(f" [{','.join(map(str, numbers))}]", style="dim")
        if not item.rows:
            style = "red" if item.duet.failure else "dim"
            others.append(Text.assemble(name, " ", (words.status(item), style)))
            continue
        table.add_row(
            _with_details(name, item),
            *(_cell(words.row(item, metric)) for metric in words.COLUMNS),
            words.detectable(item.rows[0].verdict),
            words.replicates(item),
        )
    return to_string(
        [
            Text(line.text, style=STYLES[line.word] if line.word != "equivalent" else "bold"),
            *(Text(text, style="dim") for text in words.heading(report)),
            *([table] if table.rows else []),
            *others,
            *(Text(text, style="dim") for text in words.legend(report)),
            *(Text(f"[{number}] {note}", style="yellow") for number, note in enumerate(marks.notes, 1)),
            Text(f"again: {words.reproduce(report)}", style="dim"),
        ],
        color=color,
        width=width,
        fold=True,
    )


def _with_details(name: Text, item: ComparedVariant) -> Text:
    for fact in words.facts(item):
        name.append(f"\n  {fact}", style="magenta")
    for note in words.notes(item):
        name.append(f"\n  {note}", style="dim")
    return name


def _cell(judged: Judged | None) -> Text:
    if judged is None:
        return Text("")
    verdict = judged.verdict
    return Text.assemble(
        (f"{words.change(verdict)} {verdict.word}", STYLES[verdict.word]), "\n", (words.interval(verdict), "dim")
    )
