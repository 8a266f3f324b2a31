"""The page of a model's performance, as a browser lays it out and sorts it."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from lowbit.deploy import page as pages
from tests.lowbit.deploy.samples import two

GRAPH = '<svg class="drawn" width="2000" height="20" role="img"><title>graph</title></svg>'


@pytest.fixture(params=[1200, 400])
def page(browser, tmp_path, request):
    path = tmp_path / "page #1.html"
    path.write_text(pages.render(two(), [GRAPH, GRAPH]), encoding="utf-8")
    browser.set_window_size(request.param, 900)
    browser.get(path.as_uri())
    return browser


def tables(page):
    return page.find_elements(By.TAG_NAME, "table")


def names(table):
    script = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[0].innerText)"
    return table.parent.execute_script(script, table)


def sort(table, head):
    """Clicks on a head, as a script does that need not scroll."""
    script = "[...arguments[0].tHead.querySelectorAll('button')].find(b => b.textContent === arguments[1]).click()"
    table.parent.execute_script(script, table, head)


def test_it_loads_without_a_complaint_and_names_are_text(page):
    assert page.get_log("browser") == []
    assert page.title == "model/none/int8 and model/none/none"
    assert page.find_elements(By.CSS_SELECTOR, "td i, dd b") == []
    assert "b<i>" in page.find_element(By.TAG_NAME, "body").text
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_only_tables_and_graphs_are_wider_than_a_narrow_window(page):
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert len(page.find_elements(By.CSS_SELECTOR, "svg.drawn")) == 2


def test_a_table_is_sorted_by_the_head_that_is_clicked(page):
    both, _, whole = tables(page)
    assert names(whole) == ["a", "norm", "b<i>", "(between)", "(glue)"]
    sort(whole, "ms")
    assert names(whole) == ["b<i>", "a", "norm", "(between)", "(glue)"]
    sort(whole, "ms")
    assert names(whole) == ["(glue)", "(between)", "norm", "a", "b<i>"]
    sort(whole, "layer")
    assert names(whole)[0] == "(between)"
    # What has no value is last both ways: the glue has no weights.
    for _ in range(2):
        sort(whole, "weights kB")
        assert names(whole)[-1] == "(glue)"
    assert names(both)[0] == "a"


def test_every_layer_with_operations_is_a_dot_inside_of_its_roofline(page):
    found = page.execute_script(
        "const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] };"
        "return [...document.querySelectorAll('svg.roofline')].map(picture => [box(picture),"
        "[...picture.querySelectorAll('circle')].map(box), [...picture.querySelectorAll('text')].map(box)])"
    )
    assert [len(dots) for _, dots, _ in found] == [2, 2]
    for (left, top, right, bottom), dots, words in found:
        for x, y, to_x, to_y in dots + words:
            assert left - 1 <= x <= to_x <= right + 1
            assert top - 1 <= y <= to_y <= bottom + 1
    titles = page.execute_script("return [...document.querySelectorAll('circle title')].map(e => e.textContent)")
    assert titles[0].startswith("a: 0.500 ms, 33.3 % of the whole")
