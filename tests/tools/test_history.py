"""The command on records with a known change, and its search for a commit of a real repository that is slower."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from bench.store.codec import encode
from tests.bench.report.history.test_golden import foreign
from tests.histories import records
from tests.tools.toys import toys

COMMITS = 12
CULPRIT = 6


@pytest.fixture
def project(repository):
    """A repository of 12 commits, the seventh of which makes the optimizer work thirty times instead of once."""
    repo = repository(toys())
    names = []
    for number in range(COMMITS):
        repo.write(toys(rounds=30 if number >= CULPRIT else 1) | {"README": str(number)})
        names.append(repo.commit(f"change {number}"))
    return repo, names


def store(folder, found):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.jsonl").write_bytes(b"".join(map(encode, found)))


def test_the_commit_range_is_named_and_the_search_names_the_commit(stepbench, project, tmp_path):
    repo, names = project
    found = records(names, at=CULPRIT, change=0.1, noise=0.005, variant="net/descent/none@batch=8")
    del found[CULPRIT]  # nobody has measured the culprit itself
    random.Random(0).shuffle(found)
    store(tmp_path / "results/records/bench-1", found)
    code, out, err = stepbench("history", "--repo", repo.path, "--metric", "optimize", "--json", "h.json")
    assert (code, err) == (0, "")
    (change,) = json.loads((tmp_path / "h.json").read_text())["groups"][0]["series"][0]["changes"]
    before, after = names[CULPRIT - 1], names[CULPRIT + 1]
    assert (change["before"]["commit"], change["after"]["commit"]) == (before, after)
    assert change["low"] < 1.1 < change["high"]
    command = ["stepbench", "compare", "--repo", str(repo.path), before[:10], after[:10], "net/descent/none@batch=8"]
    assert shlex.split(change["confirm"]) == command
    assert "confirm: stepbench compare --repo" in " ".join(out.split())
    assert "in the order of the history of HEAD" in out
    code, out, _ = stepbench(
        "history", "--repo", repo.path, "--metric", "optimize", "--bisect", "--budget", "60", "--workers", "2"
    )
    assert code == 1
    assert f"it is {names[CULPRIT][:10]}, 'change 6': net/descent/none@batch=8 optimize +" in out


@pytest.fixture
def searched(monkeypatch):
    """Runs the search over a line of commits, where `answers` says what a comparison with the first one finds."""
    from stepbench import history_bisect as tool

    def run(answer, commits=12, hints=()):
        calls = []

        class Fake(tool.Search):
            def _compared(self, base, head):
                calls.append((base, head))
                return answer(base, head)

        series = type("", (), {"metric": "optimize", "variant": "net/sgd/none"})
        line = [str(number) for number in range(1, commits)]
        return tool.narrowed(Fake(None, series, 1.1, {}), "0", line, list(hints)), calls

    monkeypatch.setattr(tool.commits, "subject", lambda folder, commit: "subject")
    return run


@pytest.mark.parametrize("culprit", range(1, 12))
@pytest.mark.parametrize("hints", [(), (6, 5), (10, 9)])
def test_every_culprit_is_found_in_few_comparisons(searched, culprit, hints, capsys):
    code, calls = searched(lambda base, head: is_there(int(base) < culprit <= int(head)), hints=hints)
    assert code == 1
    assert f"it is {culprit}, 'subject'" in capsys.readouterr().out
    assert len(calls) <= 6
    assert len(calls) == len(set(calls))


def is_there(there):
    from bench.analyze.verdict import Verdict
    from stepbench.history_bisect import Asked

    verdict = Verdict(word="slower" if there else "equivalent", ratio=1.1 if there else 1.0, low=0.9, high=1.2,
                      detectable=0.01, evidence=1.0, replicates=9)  # fmt: skip
    return Asked(answer="there" if there else "not there", verdict=verdict)


def test_what_cannot_be_measured_is_passed_by_and_else_the_range_is_left(searched, capsys):
    from stepbench.history_bisect import Asked

    def answer(broken):
        return lambda base, head: (
            Asked(answer="broken", reason="no such module")
            if {base, head} & broken
            else is_there(int(base) < 7 <= int(head))
        )

    assert searched(answer({"3", "5", "9"}))[0] == 1
    assert "it is 7" in capsys.readouterr().out
    assert searched(answer({"6", "7"}))[0] == 5
    assert "after 5, by 8: 3 commits that cannot be told apart" in capsys.readouterr().out


def test_a_change_that_is_not_in_the_code_names_no_commit(stepbench, project, tmp_path, monkeypatch):
    from stepbench import history_bisect as tool

    repo, names = project
    store(tmp_path / "results/records/bench-1", records(names, at=4, variant="net/plain/none"))
    monkeypatch.setattr(tool.Search, "_compared", lambda self, base, head: is_there(False))
    code, out, _ = stepbench("history", "--repo", repo.path, "--bisect")
    assert code == 0
    assert "the change is not in the code" in out


def test_selections_hosts_dates_and_commits_narrow_what_is_shown(stepbench, project, tmp_path):
    repo, names = project
    other = [
        replace(one, environment=replace(one.environment, host="bench-2"))
        for one in records(names, variant="net/plain/none")
    ]
    store(tmp_path / "results/records/x", [*records(names, variant="net/descent/none"), *other])

    def shown(*arguments):
        code, _, err = stepbench("history", "--repo", repo.path, "--metric", "step", *arguments, "--json", "h.json")
        assert (code, err) == (0, ""), err
        groups = json.loads((tmp_path / "h.json").read_text())["groups"]
        return [(series["variant"], len(series["points"])) for group in groups for series in group["series"]]

    both = [("net/descent/none", 12), ("net/plain/none", 12)]
    assert sorted(shown()) == both
    assert shown("net/pl*") == both[1:]
    assert shown("--host", "bench-1") == both[:1]
    assert sorted(shown("--since", "2020-01-01")) == both
    assert sorted(shown("--branch", names[5])) == [("net/descent/none", 6), ("net/plain/none", 6)]
    assert sorted(shown("--since", names[0])) == both  # all were made within a second


def test_the_command_that_confirms_has_what_it_needs_to_run(stepbench, project, tmp_path):
    repo, names = project
    found = records(names, at=CULPRIT, variant="net/descent/none")
    ranks = records(names, at=CULPRIT, change=0.4, variant="net/descent/none@ranks=2")
    protocol = replace(found[0].measurement.protocol, seed=7)
    found = [replace(one, measurement=replace(one.measurement, protocol=protocol)) for one in found]
    store(tmp_path / "results/records/x", [*found, *ranks])
    code, _, _ = stepbench(
        "history", "--repo", repo.path, "--metric", "optimize", "--plugin", "my parts.py", "--path", "src",
        "--json", "h.json",
    )  # fmt: skip
    assert code == 0
    series = [each for group in json.loads((tmp_path / "h.json").read_text())["groups"] for each in group["series"]]
    confirm = {each["variant"]: each["changes"][0]["confirm"] for each in series}
    assert confirm["net/descent/none@ranks=2"] == ""  # compare has no teams of processes
    options = ["--repo", str(repo.path), "--plugin", "my parts.py", "--path", "src", "--seed", "7"]
    assert shlex.split(confirm["net/descent/none"])[:-3] == ["stepbench", "compare", *options]


def test_commits_stand_along_first_parents(stepbench, repository, tmp_path):
    """Commits of a branch that was merged build on others than their neighbors in time."""
    repo = repository({"README": "0"})
    names = []
    for number in range(3):
        repo.write({"README": str(number + 1)})
        names.append(repo.commit(f"change {number}"))
    repo.git("checkout", "-q", "-b", "side", names[0])
    repo.write({"side": "1"})
    side = repo.commit("on the side")
    repo.git("checkout", "-q", "-")
    repo.git("merge", "-q", "--no-ff", "-m", "merged", "side")
    merged = repo.git("rev-parse", "HEAD").strip()
    store(tmp_path / "results/records/x", records([*names, side, merged], variant="net/descent/none"))
    assert stepbench("history", "--repo", repo.path, "--metric", "step", "--json", "h.json")[0] == 0
    content = json.loads((tmp_path / "h.json").read_text())
    assert [point["commit"] for point in content["groups"][0]["series"][0]["points"]] == [*names, merged]
    assert content["left_out"] == {"of a commit that is not on this line of first parents": 1}


def test_benchmarks_of_other_tools_are_chosen_by_their_names(stepbench, tmp_path):
    store(tmp_path / "results/records/x", foreign("suite.time_it"))
    code, out, _ = stepbench("history", "suite.time*", "--html", "h.html")
    assert code == 0
    assert "suite.time_it(1)" in out
    assert "by date, since . is in no git repository" in out
    assert "<svg" in (tmp_path / "h.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 4, "no records in results/records"),
        (["--metric", "stepp"], 2, "unknown metric 'stepp', did you mean 'step'"),
        (["--results", "missing"], 2, "missing does not exist"), (["--html", "no/such/x.html"], 2, "No such file"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(stepbench, arguments, code, says):
    found = stepbench("history", *arguments)
    assert found[0] == code
    assert says in found[2]
    assert found[2].count("\n") == 1


def test_unknown_names_and_moments_are_one_line_each(stepbench, project, tmp_path):
    repo, names = project
    store(tmp_path / "results/records/x", records(names, variant="net/descent/none"))
    store(tmp_path / "results/records/y", foreign("suite.time_it"))
    for arguments, says in (
        (["net/descend"], "did you mean 'descent'?"), (["net/descen/*"], "(known: descent, none)"),
        (["nosuch"], "unknown model or benchmark 'nosuch'. (known: net, suite.time_it(1))"),
        (["nosuch*"], "matches none of the records, which are of net/descent/none, suite.time_it(1)"),
        (["--baseline", "descent", "net/*"], "the records are its own"),
        (["--bisect", "--budget", "-1"], "must be a positive number"), (["--bisect", "--workers", "0"], "1 or more"),
        (["--bisect", "--plugin", "no.py"], "--plugin no.py: there is no such file"),
        (["--bisect", "--path", "no"], "has no such folder"), (["--host", "bench-9"], "unknown host 'bench-9'"),
        (["--since", "2026-13-01"], "no such date (month must be in 1..12); give one as 2026-11-01"),
        (["--since", "tomorrow"], "neither a date, such as 2026-11-01, nor a commit"),
        (["--branch", "mian"], "'mian' is no commit"), (["--bisect"], "there is no change of a time"),
    ):  # fmt: skip
        code, out, err = stepbench("history", "--repo", repo.path, *arguments)
        assert (code, out) in {(2, ""), (4, "")} or arguments == ["--bisect"]
        assert says in err
        assert err.count("\n") == 1


def test_no_torch_is_needed_to_show_a_history():
    code = "import sys, stepbench.history; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
