"""Whole reports of profiles, to be read by people: `STEPBENCH_UPDATE_GOLDEN=1` takes over what was meant."""

from __future__ import annotations

from bench.analyze.line_diff import diff
from bench.report.profile import difference, html, markdown, text
from tests.bench.report.profile.samples import FORWARD, explained, function, profile

HOSTILE = (
    ("def forward(self, x):", None),
    ("    x = self.conv('<script>alert(1)</script>')  # </td></table>", 742e-6),
    ("    s = '" + "wide " * 400 + "'", 90e-6),
    ("    n = 'naïve café \u202e \x1b[31m π 名前'  # ```", 50e-6),
    ("    return x | y  # @octocat #12", 4e-6),
)
SLOWER = (
    *FORWARD[:3],
    ("    x = x.clone()", 60e-6),
    FORWARD[4],
    ("        x = block(x)", 990e-6),
    ("    x = F.relu(x)", 20e-6),
    FORWARD[6],
)


def hostile():
    return profile(function(HOSTILE, name="Net.forward<b>"), variant="net/sgd/none")


def changed():
    return diff(explained(), profile(function(SLOWER, seed=1), version="main", events={"forward": 1000}))


def test_text(golden):
    golden("profile.txt", text.render([explained(), hostile()]))


def test_difference(golden):
    golden("profile-diff.txt", text.difference(changed()))


def test_no_difference(golden):
    golden("profile-same.txt", text.difference(diff(profile(), profile(function(seed=1)))))


def test_markdown(golden):
    golden("profile.md", markdown.render([explained(), hostile()]))


def test_difference_markdown(golden):
    golden("profile-diff.md", difference.markdown(changed()))


def test_page(golden):
    golden("profile.html", html.render([explained(), hostile()]))


def test_difference_page(golden):
    golden("profile-diff.html", difference.html(changed()))
