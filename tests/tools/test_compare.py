"""The whole command on real repositories, with real processes; what is slower is slower by much, so that no time is
asserted: an optimizer that works twice against the same one that works once."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.tools.conftest import ROOT
from tests.tools.toys import OPTIMIZER, rows, toys


def test_a_slowed_commit_is_slower_where_it_is_slowed_and_exits_with_1(repository, compared, tmp_path):
    repo = repository(toys())
    base = repo.commit()
    repo.write(toys(rounds=30))
    head = repo.commit()
    page, markdown = tmp_path / "page.html", tmp_path / "report.md"
    code, out, _, document = compared(
        repo, base, head, "net/descent", "--html", page, "--markdown", markdown, "--batch", "8"
    )
    assert code == 1
    assert rows(document)["optimize"]["word"] == "slower"
    assert rows(document)["optimize"]["ratio"] > 1.5
    assert out.startswith("SLOWER: 1 variant of 1; net/descent/none@batch=8: ")
    assert "optimize.operations" in out
    again = shlex.split(" ".join(out.split()).rpartition("again: ")[2])
    assert again == [
        "stepbench", "compare", "--repo", str(repo.path), "--budget", "60.0", "--workers", "2", base[:10], head[:10],
        "net/descent/none@batch=8",
    ]  # fmt: skip
    assert markdown.read_text().startswith("**🔴 SLOWER")
    assert "<svg" in page.read_text()
    variant = document["variants"][0]
    assert (variant["isolation"], variant["because"]) == ("module", None)
    assert len({replicate["head_first"] for replicate in variant["replicates"]}) == 2
    assert {replicate["worker"] for replicate in variant["replicates"]} == {0, 1}
    facts = {fact["metric"]: (fact["base"], fact["head"]) for fact in variant["facts"]}
    # Each of four parameters takes one more operation a round.
    assert facts["optimize.operations"][1] - facts["optimize.operations"][0] == 29 * 4


def test_the_other_way_round_is_faster_and_no_regression(repository, compared):
    repo = repository(toys(rounds=30))
    base = repo.commit()
    repo.write(toys())
    code, out, _, document = compared(repo, base, "net/descent")  # the working tree, not committed
    words = {metric: verdict["word"] for metric, verdict in rows(document).items()}
    assert (words["optimize"], words["step"]) == ("faster", "faster")
    # A phase whose code is the same may really be slower after an optimizer that leaves less in the caches.
    assert code == int("slower" in words.values())
    assert "with uncommitted changes" in out


def test_identical_code_is_not_slower_and_no_fact_differs(repository, compared):
    repo = repository(toys())
    repo.commit()
    code, _, _, document = compared(repo, "main", "main", "net/plain", "--budget", "5")
    assert code == 0
    assert {verdict["word"] for verdict in rows(document).values()} <= {"equivalent", "inconclusive"}
    assert document["variants"][0]["facts"] == []
    # At 5 s nothing may be certain, and somebody may have to know.
    code, _, _, document = compared(repo, "main", "main", "net/plain", "--budget", "0.2", "--conclusive")
    assert (code, rows(document)["step"]["word"]) == (5, "inconclusive")


def test_a_renamed_variant_is_new_and_gone_and_a_broken_one_fails_while_others_go_on(repository, compared):
    repo = repository(toys())
    base = repo.commit()
    repo.write(toys(name="renamed", setup="raise ValueError('no such luck')"))
    code, out, _, document = compared(repo, base, ".", "*", "--budget", "4")
    found = {variant["variant"]: variant for variant in document["variants"]}
    assert {name: variant["status"] for name, variant in found.items()} == {
        "net/descent/none": "gone", "net/plain/none": "compared", "net/renamed/none": "new",
    }  # fmt: skip
    repo.write(toys(setup="raise ValueError('no such luck')"))
    code, out, _, document = compared(repo, base, ".", "*", "--budget", "4")
    found = {variant["variant"]: variant for variant in document["variants"]}
    assert code == 3
    assert found["net/plain/none"]["status"] == "compared"
    assert re.match(r"head: ValueError: no such luck \(optimizer\.py:\d+\)", found["net/descent/none"]["failure"])
    assert "failed: head: ValueError" in out


def test_a_commit_that_cannot_be_imported_is_one_line(repository, compared):
    repo = repository(toys())
    base = repo.commit()
    repo.write({"toys/optimizer.py": "import nothing_of_this_name"})
    code, _, err, _ = compared(repo, base)
    assert code == 2
    assert "head: plug-in toys.plugin of working tree cannot be imported" in err
    assert err.count("\n") == 1


def test_nothing_on_both_sides_exits_with_4(repository, compared):
    repo = repository(toys())
    base = repo.commit()
    repo.write(toys(name="renamed"))
    code, out, _, _ = compared(repo, base, ".", "net/renamed")
    assert code == 4
    assert out.startswith("NOTHING MEASURED")


def test_a_src_layout_and_a_plugin_file_of_the_repository(repository, compared):
    files = toys(folder="src/")
    parts = files.pop("src/toys/plugin.py")
    repo = repository({**files, "pyproject.toml": "", "bench parts.py": parts})
    base = repo.commit()
    repo.write({"src/toys/optimizer.py": OPTIMIZER.format(rounds=30, setup="pass")})
    code, _, _, document = compared(
        repo, base, ".", "net/descent", "--plugin", repo.path / "bench parts.py", "--path", "src"
    )
    assert code == 1
    assert rows(document)["optimize"]["word"] == "slower"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "'nothing' is no commit of"),
        (["-x"], "No such option"),
        (["--", "-x"], "'-x' is no commit of"),
        (["main", "mian"], "'mian' is no commit, and no selection either: unknown model 'mian'"),
        (["main", "main", "net/descend"], "unknown optimizer 'descend', did you mean 'descent'"),
        (["main", ".", "net", "--batch", "0"], "batch=0: must be 1 or more"),
        (["main", "--threshold", "2"], "threshold 2.0: must be above 0"),
        (["main", "--path", "nowhere"], "--path nowhere: main has no such folder"),
        (["main", "--html", "no/such/x.html"], "No such file or directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(repository, stepbench, arguments, says):
    repo = repository(toys())
    repo.commit()
    code, out, err = stepbench("compare", "--repo", repo.path, *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_the_readme_of_this_repository_names_its_own_plugin():
    from bench.run.version import declared

    assert declared(ROOT) == ["lowbit.plugin"]
