"""The page of a comparison, as a browser lays it out."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from bench.report.comparison import html
from tests.bench.report.comparison.test_golden import mixed


@pytest.fixture(params=[1200, 400])
def page(browser, tmp_path, request):
    path = tmp_path / "page #1.html"
    path.write_text(html.render(mixed()), encoding="utf-8")
    browser.set_window_size(request.param, 900)
    browser.get(path.as_uri())
    return browser


def boxes(page, script):
    return page.execute_script(
        "const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] };" + script
    )


def test_it_loads_without_a_complaint_and_runs_nothing_that_a_name_brought(page):
    assert page.get_log("browser") == []
    assert page.title.startswith("slower: main")
    assert page.find_elements(By.TAG_NAME, "img") == []
    assert "onerror=alert(1)" in page.find_element(By.TAG_NAME, "body").text


def test_only_its_tables_are_wider_than_a_narrow_window(page):
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_every_picture_holds_its_dots_and_its_bar(page):
    found = boxes(
        page,
        "return [...document.querySelectorAll('svg')].map("
        "picture => [box(picture), [...picture.querySelectorAll('circle, rect')].map(box)])",
    )
    assert len(found) == 5 * 4
    for (left, top, right, bottom), inside in found:
        assert len(inside) > 5
        for x, y, to_x, to_y in inside:
            assert left <= x <= to_x <= right
            assert top <= y <= to_y <= bottom


def test_a_slower_row_lies_right_of_no_change_and_a_faster_one_left(page):
    rows = boxes(
        page,
        "return [...document.querySelectorAll('tr')].map(row => [row.children[1].innerText, "
        "box(row.querySelector('rect.bar')), box(row.querySelector('line'))])",
    )
    words = {word for word, _, _ in rows}
    assert words == {"slower", "faster", "equivalent", "inconclusive"}
    for word, (left, _, right, _), (middle, *_) in rows:
        if word == "slower":
            assert left > middle
        if word == "faster":
            assert right < middle
