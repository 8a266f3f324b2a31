from __future__ import annotations

import subprocess
import sys


def test_the_help_is_a_manual_and_needs_no_torch():
    code = (
        "import sys\nfrom stepbench.__main__ import main\nmain(['quantize', '--help'])\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "False\n"
    assert "\n    stepbench quantize resnet20 --flow kbit-8" in done.stdout
    for word in ("dorefa-W-A-G", "f8net", "pt2e-static", "--high-precision-output", "bit for bit"):
        assert word in done.stdout
