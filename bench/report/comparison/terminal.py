"""A comparison as a person at a terminal looks at it."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from bench.analyze.comparison import Judged, Report
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
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("variant", overflow="fold")
    for head in words.COLUMNS:
        table.add_column(head, justify="right", overflow="fold")
    table.add_column("n", justify="right", overflow="fold", width=7)
    below: list[Text] = []
    for item, numbers in zip(items, marks.marks, strict=True):
        name = Text(str(item.duet.variant))
        below += [Text.assemble(name, ": ", (fact, "magenta")) for fact in words.facts(item)]
        below += [Text.assemble(name, ": ", (note, "dim")) for note in words.notes(item)]
        if not item.rows:
            below.append(Text.assemble(name, ": ", (words.status(item), "red" if item.duet.failure else "dim")))
            continue
        label = Text.assemble(name, (f" [{','.join(map(str, numbers))}]" if numbers else "", "dim"))
        count = Text(words.replicates(item), style="dim")
        table.add_row(label, *(_cell(words.row(item, metric)) for metric in words.COLUMNS), count)
    return to_string(
        [
            Text(line.text, style=STYLES[line.word] if line.word != "equivalent" else "bold"),
            *(Text(text, style="dim") for text in words.heading(report)),
            *([table] if table.rows else []),
            *below,
            *(Text(text, style="dim") for text in words.legend(report)),
            *(Text(f"[{number}] {note}", style="yellow") for number, note in enumerate(marks.notes, 1)),
            Text(f"again: {words.reproduce(report)}", style="dim"),
        ],
        color=color,
        width=width,
        fold=True,
    )


def _cell(judged: Judged | None) -> Text:
    if judged is None:
        return Text("")
    verdict = judged.verdict
    change = f"{verdict.word}\n{words.change(verdict)}\n"
    known = f"{words.interval(verdict).removesuffix(' %')}\n{words.sees(verdict)}"
    return Text.assemble((change, STYLES[verdict.word]), (known, "dim"))
