"""When two versions live in one process, and when each gets its own: by the whole command, as in test_compare."""

from __future__ import annotations

import pytest

from tests.tools.toys import OPERATOR, toys


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
