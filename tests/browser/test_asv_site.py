"""The pages that asv makes of our results: in a browser, from the list of benchmarks to a point of a plot."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.repositories import Repository
from tests.tools.conftest import ROOT

NAME = "asv_steps.Times.track_phase"
VARIANTS, PHASES = ("resnet20/sgd/none", "resnet20/eva/none"), ("forward", "step")
# asv's pages take these from content networks; the test gives them from packages of the same versions.
LIBRARIES = {
    "jquery-3.3.1.min.js": "jquery/dist/jquery.min.js",
    "jquery.flot.min.js": "flot-charts/jquery.flot.js",
    "jquery.flot.time.min.js": "flot-charts/jquery.flot.time.js",
    "jquery.flot.selection.min.js": "flot-charts/jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "flot-charts/jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "flot-orderbars/js/jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupid-table-plugin/stupidtable.min.js",
    "md5.min.js": "blueimp-md5/js/md5.min.js",
    "bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
    "bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
}
ELSEWHERE = re.compile(r'(src|href)="https://[^"]*/([^/"]+)" integrity="[^"]*"')


@pytest.fixture
def libraries(tmp_path):
    folder = tmp_path / "libraries"
    shutil.copytree(ROOT / "tests/browser/asv_site", folder, dirs_exist_ok=True)
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, which fetches the libraries of asv's pages")
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"npm ci: {done.stderr.decode().strip().splitlines()[-1:]}")
    return folder / "node_modules"


@pytest.fixture
def site(libraries, tmp_path):
    """The pages of eight commits, the fifth of which made every phase a fifth slower."""
    home = tmp_path / "site of 'asv'"
    repo = Repository(home / "repo", {"README": "empty"})
    commits = [repo.commit(f"commit {number}") for number in range(8)]
    results = home / "results/asv"
    for number, commit in enumerate(commits):
        write(results / "runner" / f"{commit[:8]}-virtualenv-py3.11.json", result(commit, number))
    write(results / "runner/machine.json", MACHINE | {"version": 1})
    write(results / "benchmarks.json", {NAME: BENCHMARK, "version": 2})
    config = json.loads(re.sub(r"^\s*//.*$", "", (ROOT / "asv.conf.json").read_text(), flags=re.MULTILINE))
    write(home / "asv.conf.json", config | {"repo": str(repo.path)})
    subprocess.run([sys.executable, "-m", "asv", "publish"], cwd=home, check=True, capture_output=True)
    html = home / ".asv/html"
    index = html / "index.html"
    text, count = ELSEWHERE.subn(lambda found: f'{found[1]}="libraries/{LIBRARIES[found[2]]}"', index.read_text())
    assert count == len(LIBRARIES)
    index.write_text(text)
    (html / "libraries").symlink_to(libraries)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(html))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", commits
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


MACHINE = {"machine": "runner", "arch": "x86_64", "cpu": "a CPU", "num_cpu": "2", "os": "Linux", "ram": "8"}
PARAMS = [[repr(name) for name in names] for names in (VARIANTS, PHASES)]
BENCHMARK = {
    "name": NAME, "code": "track_phase", "type": "time", "unit": "seconds", "version": "protocol 1", "timeout": 60,
    "params": PARAMS, "param_names": ["variant", "phase"],
}  # fmt: skip


def result(commit, number):
    seconds = [
        base * (1.2 if number >= 4 else 1.0) * (1 + 0.002 * (-1) ** number) for base in (7e-3, 19e-3, 12e-3, 3e-2)
    ]
    return {
        "commit_hash": commit, "env_name": "virtualenv-py3.11", "date": 1_700_000_000_000 + number * 86_400_000,
        "params": MACHINE | {"python": "3.11"}, "python": "3.11", "requirements": {}, "env_vars": {},
        "result_columns": ["result", "params", "version"], "results": {NAME: [seconds, PARAMS, "protocol 1"]},
        "durations": {}, "version": 2,
    }  # fmt: skip


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_click_on_a_benchmark_shows_a_plot_whose_points_are_our_results(site, browser):
    address, commits = site
    browser.set_window_size(1200, 900)
    browser.get(address)
    wait = WebDriverWait(browser, 20)
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "a.benchmark-container"))[0].click()
    points = wait.until(
        lambda page: page.execute_script("return ($('#main-graph').data('plot') || {getData: () => null}).getData()")
    )
    series = {line["label"]: [round(y, 9) for _, y in line["data"]] for line in points}
    assert len(points) == len(VARIANTS) * len(PHASES), series.keys()
    wanted = [result("", number)["results"][NAME][0] for number in range(8)]
    assert sorted(series.values()) == sorted([round(y, 9) for y in column] for column in zip(*wanted, strict=True))
    # The pointer on a point says what it is.
    at = browser.execute_script(
        "const graph = $('#main-graph'), plot = graph.data('plot'), [x, y] = plot.getData()[0].data[0];"
        "const spot = plot.pointOffset({x, y}), box = graph[0].getBoundingClientRect();"
        "return [box.left + spot.left, box.top + spot.top]"
    )
    pointer = ActionChains(browser)
    pointer.w3c_actions.pointer_action.move_to_location(*map(round, at))
    pointer.perform()
    (said,) = wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".tooltip-inner"))
    assert said.text.endswith(f"@ {commits[0][:8]}")
    if folder := os.environ.get("STEPBENCH_SCREENSHOTS"):
        browser.save_screenshot(f"{Path(folder)}/asv-site.png")
    assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []
    # And a step that asv has detected is on its page of regressions.
    browser.get(f"{address}#/regressions")
    wait.until(
        lambda page: page.execute_script(
            "return [...document.querySelectorAll('#regressions-body tr')].map(row => row.innerText)"
            ".some(text => text.includes('resnet20/eva/none') && text.includes('1.20'))"
        )
    )
