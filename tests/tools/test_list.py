from __future__ import annotations

from tests.tools.conftest import EXAMPLE, ROOT


def test_every_part_axis_and_set_is_listed(stepbench):
    code, out, _ = stepbench("list", "--plugin", EXAMPLE, "--catalog", ROOT / "suites/catalog.py")
    assert code == 0
    for name in ("resnet20", "eva-8bit-cpu", "my-sgd", "Plain gradient descent.", "digits", "threads", "smoke"):
        assert name in out


def test_metrics_are_listed_with_their_unit(stepbench):
    code, out, _ = stepbench("list", "--metrics")
    assert code == 0
    assert "optimize.syncs" in out
