"""The pages of profiles, as a browser lays them out."""

from __future__ import annotations

import os

import pytest
from selenium.webdriver.common.by import By

from bench.report.profile import difference, html
from tests.bench.report.profile.samples import explained, function, profile
from tests.bench.report.profile.test_golden import changed, hostile

PAGES = {
    "lines": lambda: html.render([explained(), profile(function(seed=1), variant="net/sgd/none"), hostile()]),
    "diff": lambda: difference.html(changed()),
}


@pytest.fixture(params=[(name, width) for name in PAGES for width in (1200, 400)], ids=str)
def page(browser, tmp_path, request):
    name, width = request.param
    path = tmp_path / "page #1.html"
    path.write_text(PAGES[name](), encoding="utf-8")
    browser.set_window_size(width, 900)
    browser.get(path.as_uri())
    if folder := os.environ.get("STEPBENCH_SCREENSHOTS"):
        browser.save_screenshot(f"{folder}/profile-{name}-{width}.png")
    return browser


def test_it_loads_without_a_complaint_and_runs_nothing_that_source_brought(page):
    assert page.get_log("browser") == []
    assert page.find_elements(By.TAG_NAME, "b") == []
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1


def test_only_its_tables_are_wider_than_a_narrow_window(page):
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def column(page, number):
    return page.execute_script(
        "return [...document.querySelector('table').tBodies[0].rows]"
        ".map(row => Number(row.cells[arguments[0]].dataset.value))",
        number,
    )


def test_a_click_sorts_by_a_column_and_back_by_line(page):
    table = page.find_element(By.TAG_NAME, "table")
    heads = table.find_elements(By.CSS_SELECTOR, "th button")
    before = column(page, 2)
    heads[1].click()
    assert column(page, 2) == sorted(before, reverse=True)
    heads[1].click()
    assert column(page, 2) == sorted(before)
    heads[0].click()
    assert column(page, 2) == before


def test_bars_grow_with_what_lines_cost(page):
    sizes = page.execute_script(
        "return [...document.querySelector('table').tBodies[0].rows].map(row => row.cells[2])"
        ".map(cell => [Number(cell.dataset.value), parseFloat(getComputedStyle(cell).backgroundSize)])"
    )
    ordered = sorted(sizes)
    assert [size for _, size in ordered] == sorted(size for _, size in sizes)
    assert ordered[-1][1] > 0


def test_the_indentation_of_the_source_is_kept(page):
    codes = page.find_elements(By.CSS_SELECTOR, "td.code")
    assert any(code.get_property("textContent").startswith("        x = block(x)") for code in codes)
    assert page.execute_script("return getComputedStyle(document.querySelector('td.code')).whiteSpace") == "pre-wrap"


def test_without_scripts_all_lines_are_there_in_the_order_of_the_source(browser, tmp_path):
    path = tmp_path / "page.html"
    text = PAGES["lines"]()
    path.write_text(text[: text.index("<script>")] + "</html>", encoding="utf-8")
    browser.get(path.as_uri())
    rows = browser.find_element(By.TAG_NAME, "table").find_elements(By.CSS_SELECTOR, "td.code")
    assert [row.text.strip() for row in rows[:3]] == ["def forward(self, x):", '"""Classifies."""', "x = self.conv(x)"]
