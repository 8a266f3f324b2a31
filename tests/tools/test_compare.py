"""The whole command on real repositories, with real processes; what is slower is slower by much, so that no time is
asserted: an optimizer that works twice against the same one that works once."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.tools.conftest import ROOT

PYPROJECT = """
[project]
name = "toys"
version = "1"
[project.entry-points."stepbench.plugins"]
toys = "toys.plugin"
"""
PLUGIN = """
import torch
from bench import Workload
from toys.optimizer import Descent

def sample(batch, generator):
    return torch.randn(batch, 64, generator=generator), torch.randint(4, (batch,), generator=generator)

def register(registry):
    @registry.model("net")
    def net(device, dtype, seed):
        torch.manual_seed(seed)
        module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4))
        return Workload(module=module, loss=torch.nn.functional.cross_entropy, sample=sample)

    @registry.optimizer("{name}")
    def descent(module):
        return Descent(module.parameters(), lr=0.01)

    @registry.optimizer("plain")
    def plain(module):
        return torch.optim.SGD(module.parameters(), lr=0.01)
"""
OPTIMIZER = """
import torch

class Descent(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        {setup}
        for _ in range({rounds}):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(parameter.grad, alpha=group["lr"] / {rounds})
"""
# A second import of it raises.
OPERATOR = """
import torch

LIBRARY = torch.library.Library("toys", "DEF")
LIBRARY.define("same(Tensor x) -> Tensor")
LIBRARY.impl("same", lambda x: x.clone(), "CPU")
same = torch.ops.toys.same
"""
QUICK = ("--budget", "60", "--workers", "2")


def toys(rounds=1, name="descent", setup="pass", folder=""):
    return {
        "pyproject.toml": PYPROJECT,
        f"{folder}toys/__init__.py": "",
        f"{folder}toys/plugin.py": PLUGIN.replace("{name}", name),
        f"{folder}toys/optimizer.py": OPTIMIZER.format(rounds=rounds, setup=setup),
    }


def rows(document):
    (variant,) = document["variants"]
    return {row["metric"]: row["verdict"] for row in variant["rows"]}


@pytest.fixture
def compared(stepbench, tmp_path):
    """Runs a comparison and returns exit code, output, errors and the JSON document."""

    def run(repo, *arguments):
        path = tmp_path / "out.json"
        code, out, err = stepbench("compare", "--repo", repo.path, "--json", path, *QUICK, *arguments)
        return code, out, err, json.loads(path.read_text()) if path.exists() else None

    return run


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
    ("setup", "reason"),
    [
        ("torch.set_float32_matmul_precision('high')", "setting float32 matmul precision"),
        pytest.param(
            "torch.nn.functional.gelu = lambda x: x", "patched torch.nn.functional.gelu", marks=pytest.mark.slow
        ),
        ("from toys.own import same; same(torch.ones(1))", "operator toys::same"),
    ],
)
def test_versions_that_share_what_they_change_get_a_process_each(repository, compared, setup, reason):
    repo = repository(toys() | {"toys/own.py": OPERATOR})
    base = repo.commit()
    repo.write(toys(setup=setup))
    code, out, _, document = compared(repo, base, ".", "net/descent", "net/plain", "--budget", "1")
    variant, other = document["variants"]
    # What one changes in a process is not held against the next.
    assert [each["variant"] for each in document["variants"]] == ["net/descent/none", "net/plain/none"]
    assert other["isolation"] == "module"
    assert (code, variant["isolation"]) == (0, "process")
    assert reason in variant["because"]
    assert reason in " ".join(out.split())
    assert variant["replicates"][0]["samples"]["base"]["step"]
    code, _, _, document = compared(repo, base, ".", "net/descent", "--budget", "1", "--isolation", "module")
    assert code == 3
    assert reason in document["variants"][0]["failure"]


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        ("torch.autograd.set_detect_anomaly(True, check_nan=False)", "setting anomaly detection"),
        pytest.param(
            "torch.nn.modules.module.register_module_forward_hook(lambda *_: None)",
            "setting hooks of all modules",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_a_version_changes_when_it_is_imported_is_seen(repository, compared, setup, reason):
    repo = repository(toys())
    base = repo.commit()
    repo.write({"toys/__init__.py": f"import torch\n{setup}\n"})
    code, _, _, document = compared(repo, base, ".", "net/descent", "--budget", "1")
    (variant,) = document["variants"]
    assert (code, variant["isolation"]) == (0, "process")
    assert reason in variant["because"]


def test_a_side_that_kills_its_process_loses_no_other_variant(repository, compared):
    repo = repository(toys())
    base = repo.commit()
    repo.write(toys(setup="import os; os._exit(7)"))
    code, out, _, document = compared(repo, base, ".", "net/descent", "net/plain", "--budget", "1")
    assert code == 3
    found = {variant["variant"]: variant["status"] for variant in document["variants"]}
    assert found == {"net/descent/none": "failed", "net/plain/none": "compared"}
    assert "FAILED: 1 variant" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setup", "at_once"),
    [
        ("[torch.mm(self.work, self.work) for _ in range(1000)]", True),
        ("import toys.late; [torch.mm(self.work, self.work) for _ in range(1000)]", False),
        ("__import__('time').sleep(0.2)", False),
    ],
)
def test_long_steps_run_at_once_unless_they_import_or_wait(repository, compared, setup, at_once):
    files = toys(setup=setup)
    work = "(torch.optim.SGD):\n    work = torch.zeros(256, 256)\n"
    files["toys/optimizer.py"] = files["toys/optimizer.py"].replace("(torch.optim.SGD):", work)
    repo = repository(files | {"toys/late.py": ""})
    repo.commit()
    code, out, _, document = compared(repo, "main", "main", "net/descent", "--budget", "4")
    assert code == 0
    turns = {replicate["turns"] for replicate in document["variants"][0]["replicates"]}
    assert turns == {"at once"} if at_once else "at once" not in turns
    assert ("at once on one core and by CPU time" in " ".join(out.split())) is at_once


def test_isolation_by_process_can_be_asked_for(repository, compared):
    repo = repository(toys())
    repo.commit()
    _, _, _, document = compared(repo, "main", "main", "net/plain", "--isolation", "process", "--budget", "1")
    variant = document["variants"][0]
    assert (variant["isolation"], variant["because"]) == ("process", "asked for")
    assert variant["status"] == "compared"


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
