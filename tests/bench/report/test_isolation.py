from __future__ import annotations

import subprocess
import sys


def test_reports_are_rendered_without_torch():
    names = ("document", "markdown", "seed", "terminal")
    code = f"import sys; from bench.report import {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
