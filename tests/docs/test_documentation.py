"""What the documents show is what the repository holds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.run.load import load
from lowbit.deploy.target import parse

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "results/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def code_blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def test_the_plug_in_that_the_guide_shows_is_the_example_that_tests_measure():
    (block,) = code_blocks(ROOT / "docs/adding-a-specimen.md", "python")
    example = (ROOT / "docs/examples/my_specimens.py").read_text()
    assert example.partition('"""\n\n')[2] == block


def test_the_plug_in_in_the_readme_loads(tmp_path):
    block = next(block for block in code_blocks(ROOT / "README.md", "python") if "register" in block)
    (tmp_path / "my_optimizer.py").write_text(block)
    assert "my-sgd" in load([str(tmp_path / "my_optimizer.py")]).names("optimizer")


def test_the_code_and_the_target_of_the_guide_to_performance_are_taken():
    page = ROOT / "docs/performance.md"
    (code,), (target,) = code_blocks(page, "python"), code_blocks(page, "json")
    exec(compile(code, page.name, "exec"), {})
    assert parse(target.encode()).peak["int8"] == 5e12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def documented_commands():
    """Yields the arguments of every `stepbench` and `nox -s bench --` line in the documents."""
    for page in PAGES:
        for line in page.read_text().splitlines():
            commands = "measure|report|list|ingest|history|perf"
            found = re.match(rf"\s{{4}}(?:\.venv/bin/)?(?:nox -s bench -- |stepbench (?={commands}))(.*)", line)
            if found:
                text = re.split(r"\s{3,}", found.group(1))[0]
                yield [] + (["measure"] if "nox" in line else []) + shlex.split(text)


@pytest.mark.parametrize("arguments", list(documented_commands()), ids=" ".join)
def test_every_documented_command_parses(arguments):
    from stepbench.__main__ import cli

    command = cli.get_command(None, arguments[0])
    command.make_context(arguments[0], list(arguments[1:]))


def test_there_are_commands_to_check():
    assert len(list(documented_commands())) >= 8


def test_every_footnote_is_explained():
    source = "".join(path.read_text() for path in (ROOT / "bench").rglob("*.py"))
    codes = set(re.findall(r'code="([a-z-]+)"', source))
    explained = (ROOT / "docs/reading-a-report.md").read_text()
    assert codes
    assert {code for code in codes if f"`{code}`" not in explained} == set()
