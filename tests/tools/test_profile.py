"""The profile commands on real files, repositories and processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from bench.profile.session import Session
from bench.store import profiles as store
from tests.tools.conftest import EXAMPLE

pytestmark = pytest.mark.slow

NET = """
import torch
from bench import Workload

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(256, 512), torch.nn.Linear(512, 4)

    def forward(self, x):
        x = self.first(x)
        {planted}
        x = torch.tanh(x)
        return self.second(x)

def sample(batch, generator):
    return torch.randn(64, 256, generator=generator), torch.randint(4, (64,), generator=generator)

def register(registry):
    @registry.model("net")
    def net(device, dtype, seed):
        torch.manual_seed(seed)
        return Workload(module=Net(), loss=torch.nn.functional.cross_entropy, sample=sample)

    @registry.optimizer("plain")
    def plain(module):
        return torch.optim.SGD(module.parameters(), lr=0.01)
"""
PYPROJECT = """
[project]
name = "nets"
version = "1"
[project.entry-points."stepbench.plugins"]
nets = "nets"
"""
QUICK = ("--steps", "30", "--replicates", "6", "--workers", "1")
HITS = re.compile(r"^ *(\d+) +(\d+) +[\d.]+ +[\d.]+ +([\d.]+)  (.*)$", re.MULTILINE)


def nets(planted="pass"):
    return {"pyproject.toml": PYPROJECT, "nets.py": NET.replace("{planted}", planted)}


def test_lines_of_a_file_outside_of_any_repository(stepbench, tmp_path):
    code, out, err = stepbench(
        "profile", "lines", "mlp/my-sgd/none", "--plugin", EXAMPLE, "--steps", "7", "--replicates", "2",
        "--workers", "1", "--json", "p.json", "--html", "p.html", "--markdown", "p.md", "--lprof", "p.lprof",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "Timer unit: 1e-06 s" in out
    found = HITS.findall(out[out.index("Function: ") : out.index("Function: SGD.step")])
    assert {hits for _, hits, _, text in found if not text.strip().startswith("for")} <= {"7", "14", "21"}
    assert sum(float(share) for _, _, share, _ in found) == pytest.approx(100, abs=0.5)
    (profile,) = store.read(tmp_path / "p.json")
    assert str(profile.variant) == "mlp/my-sgd/none"
    assert all((tmp_path / name).stat().st_size > 100 for name in ("p.html", "p.md", "p.lprof"))


def test_a_planted_line_is_named_first_between_two_commits(repository, stepbench, monkeypatch):
    repo = repository(nets())
    repo.commit()
    repo.write(nets("x = x.clone().mul(1.0).add(0.0)"))
    repo.commit()
    monkeypatch.chdir(repo.path)
    code, out, err = stepbench(
        "profile", "diff", "net/plain/none@@HEAD~1", "net/plain/none@@HEAD", *QUICK, "--json", "d.json"
    )
    assert (code, err) == (0, "")
    document = json.loads((repo.path / "d.json").read_text())
    assert document["summary"][0].startswith("Net.forward: +")
    assert document["summary"][1].endswith("new line 12, x = x.clone().mul(1.0).add(0.0)")
    assert stepbench("profile", "diff", "d.json::net/plain/none@@HEAD", "d.json::net/plain/none@@HEAD~1")[0] == 0
    code, _, err = stepbench("profile", "diff", "d.json::net/plain/none", "d.json")
    assert code == 2
    assert "name one: d.json::net/plain/none@@HEAD~1, d.json::net/plain/none@@HEAD" in err
    assert document["paired"] is True
    assert out.splitlines()[1] == document["summary"][0]


def test_between_identical_commits_no_line_differs(repository, stepbench, monkeypatch):
    repo = repository(nets())
    repo.commit()
    repo.commit()
    monkeypatch.chdir(repo.path)
    code, out, _ = stepbench("profile", "diff", "net/plain/none@@HEAD~1", "net/plain/none", *QUICK)
    assert code == 0
    assert "no line differs" in out


def test_stored_profiles_are_compared_without_running_anything(repository, stepbench, monkeypatch):
    repo = repository(nets())
    repo.commit()
    monkeypatch.chdir(repo.path)
    command = ("profile", "lines", "net/plain/none@@HEAD", *QUICK, "--json", "a.json")
    assert stepbench(*command)[0] == 0
    code, out, _ = stepbench("profile", "diff", "a.json", "a.json::net/plain/none")
    assert code == 0
    assert "no line differs" in out
    code, _, err = stepbench("profile", "diff", "a.json", "a.json::net/plan/none")
    assert (code, "did you mean 'net/plain/none@@HEAD'" in err) == (2, True)


def test_a_process_that_dies_takes_nothing_else_with_it(stepbench, tmp_path):
    plugin = tmp_path / "dies.py"
    plugin.write_text(
        "import os\n"
        + NET.replace("{planted}", "pass")
        + "\n    @registry.optimizer('dies')\n    def dies(module):\n        os._exit(9)\n"
    )
    code, out, _ = stepbench("profile", "lines", "net/dies", "net/plain", "--plugin", plugin, *QUICK)
    assert code == 3
    assert "net/dies/none\n" in out
    assert "ended with code 9" in out
    assert "30 steps with the profiler and as many without, in 6 replicates" in out


def test_a_file_that_is_edited_meanwhile_is_shown_as_it_was(stepbench, tmp_path):
    plugin = tmp_path / "edited.py"
    # The model edits its own file while it is profiled, as a person would.
    edit = f"open({str(plugin)!r}, 'a').write('# more')"
    plugin.write_text(NET.replace("{planted}", edit))
    code, out, _ = stepbench("profile", "lines", "net/plain", "--plugin", plugin, *QUICK)
    assert code == 0
    assert edit in out
    assert "edited.py was changed while it was profiled" in out


def test_an_interruption_keeps_the_replicates_that_are_done(stepbench, monkeypatch):
    taken = Session._replicate

    def interrupted(self, index, steps):
        if index == 2:
            raise KeyboardInterrupt
        return taken(self, index, steps)

    monkeypatch.setattr(Session, "_replicate", interrupted)
    code, out, err = stepbench("profile", "lines", "mlp/my-sgd/none", "--plugin", EXAMPLE, *QUICK)
    assert code == 130
    assert "in 2 replicates" in out
    assert "interrupted: 2 replicates were finished and are kept" in err


def test_inference_threads_and_a_model_of_layers_only(stepbench):
    code, out, _ = stepbench(
        "profile", "lines", "mlp/none/none", "--plugin", EXAMPLE, "--steps", "4", "--replicates", "2", "--threads", "2",
        "--workers", "1",
    )  # fmt: skip
    assert code == 0
    assert "Function: Sequential.forward" in out
    assert "2 threads" in out
    assert "optimize" not in out


def test_one_variant_that_breaks_does_not_lose_the_other(stepbench, tmp_path):
    plugin = tmp_path / "breaks.py"
    plugin.write_text(
        NET.replace("{planted}", "pass")
        + "\n    @registry.optimizer('bad')\n    def bad(module):\n        raise RuntimeError('not today')\n"
    )
    code, out, _ = stepbench("profile", "lines", "net/bad", "net/plain", "--plugin", plugin, *QUICK)
    assert code == 3
    assert "failed: RuntimeError: not today" in out
    assert "Function: Net.forward" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lines", "mlp/my-sgd/none", "--function", "Nope.forward"], "unknown function 'Nope.forward'"),
        (["lines", "mlp/my-sgd/none@threads=1", "mlp/my-sgd/none@threads=2"], "give one --threads for all"),
        (["lines", "mlp/my-sdg/none"], "did you mean 'my-sgd'"),
        (["diff", "mlp/*/none", "mlp/*/none"], "name each in full"),
        (["diff", "none.json", "mlp/my-sgd/none"], "none.json: No such file"),
        (["lines", "a/b/none@@one", "a/b/none@@two", "a/b/none@@three"], "no more than two versions"),
        (["stacks", "mlp/*/none", "--output", "x"], "this is of one, name it in full"),
        (["trace", "mlp/*/none"], "this is of one, name it in full"),
        (["lines", "mlp/my-sgd/none", "--lprof", "none/p.lprof"], "No such file or directory"),
        (["lines", "mlp/my-sgd/none@compiled=true"], "lines of compiled code do not run"),
        (
            ["diff", "mlp/my-sgd/none", "mlp/my-sgd/none", "--replicates", "1"],
            "at least 2 are needed to tell a change from noise",
        ),
        (["lines", "mlp/my-sgd/none", "--json", "none/p.json"], "No such file or directory"),
    ],
)
def test_mistakes_are_one_line(stepbench, arguments, message):
    code, out, err = stepbench(
        "profile", *arguments, "--plugin", EXAMPLE, *(["--steps", "1"] if "lines" in arguments else [])
    )
    assert code == 2
    assert message in err
    assert out == ""


def test_a_trace_marks_the_phases(stepbench, tmp_path):
    code, out, _ = stepbench(
        "profile", "trace", "mlp/my-sgd/none", "--plugin", EXAMPLE, "--steps", "3", "--output", "deep/er",
        "--json", "t.json", "--markdown", "t.md",
    )  # fmt: skip
    assert code == 0
    path = tmp_path / "deep/er/mlp-my-sgd-none.trace.json"
    events = json.loads(path.read_text())["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert [names.count(phase) for phase in ("forward", "backward", "optimize")] == [3, 3, 3]
    assert "aten::" in out
    rows = {row["name"]: row for row in json.loads((tmp_path / "t.json").read_text())["operations"]}
    assert rows["aten::addmm"]["calls"] == 1
    assert "aten::addmm" in (tmp_path / "t.md").read_text()


def test_stacks_are_drawn_or_it_is_said_why_not(stepbench, tmp_path):
    code, out, _ = stepbench("profile", "stacks", "mlp/my-sgd/none", "--plugin", EXAMPLE, "--seconds", "2")
    assert code == 0
    if "skipped" in out:
        assert "py-spy" in out
        return
    assert "mlp-my-sgd-none.svg" in out
    assert (tmp_path / "mlp-my-sgd-none.svg").read_text().startswith("<?xml")
    frames = json.loads((tmp_path / "mlp-my-sgd-none.speedscope.json").read_text())["shared"]["frames"]
    assert any(frame["name"].endswith("run") for frame in frames)


def test_where_the_system_forbids_it_the_reason_and_the_remedy_are_said(stepbench, monkeypatch, tmp_path):
    program = tmp_path / "py-spy"
    program.write_text(
        "#!/bin/sh\necho 'Error: Permission Denied: Try running again with elevated permissions' >&2; exit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr("bench.profile.stacks._program", lambda: str(program))
    code, out, _ = stepbench("profile", "stacks", "mlp/my-sgd/none", "--plugin", EXAMPLE, "--seconds", "1")
    assert code == 0
    assert out == (
        "skipped: py-spy: Error: Permission Denied: Try running again with elevated permissions; the system forbids to "
        "read other processes: run as root, give a container --cap-add=SYS_PTRACE, or set "
        "/proc/sys/kernel/yama/ptrace_scope to 0\n"
    )


def test_the_help_of_each_command_has_examples(stepbench):
    for name in ("lines", "diff", "stacks", "trace"):
        code, out, _ = stepbench("profile", name, "--help")
        assert (code, "Examples:" in out) == (0, True)


def test_starting_the_command_imports_neither_torch_nor_a_profiler():
    code = "import sys; from bench.profile import lines; print({'torch', 'line_profiler'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
