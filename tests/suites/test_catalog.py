from __future__ import annotations

import subprocess
import sys

import pytest

from bench.data.variant import Variant
from bench.run.load import load
from bench.run.select import check
from stepbench.catalog import sets
from tests.tools.conftest import ROOT

CATALOG = str(ROOT / "suites/catalog.py")


@pytest.mark.parametrize("name", ["smoke", "pr", "history", "full", "quantization"])
def test_every_id_is_canonical_registered_and_listed_once(name):
    registry, ids = load(), sets(CATALOG)[name]
    assert len(set(ids)) == len(ids)
    for text in ids:
        variant = Variant.parse(text)
        assert str(variant) == text
        check(registry, variant)


def test_the_main_job_is_three_forms_of_eva_and_sgd_on_three_models():
    assert len(sets(CATALOG)["pr"]) == 12


def test_the_catalog_needs_the_standard_library_only():
    code = (
        f"import sys, runpy; runpy.run_path({CATALOG!r}); sys.exit(any(m in sys.modules for m in ('torch', 'bench')))"
    )
    assert subprocess.run([sys.executable, "-S", "-c", code], check=False).returncode == 0
