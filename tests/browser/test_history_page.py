"""The page of a history, as a browser lays it out."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from bench.report.history import page as form
from tests.bench.report.history.test_golden import COMMITS, mixed


@pytest.fixture(params=[1200, 400])
def page(browser, tmp_path, request):
    path = tmp_path / "page #1.html"
    path.write_text(form.render(mixed()), encoding="utf-8")
    browser.set_window_size(request.param, 900)
    browser.get(path.as_uri())
    return browser


def test_it_loads_without_a_complaint_and_runs_nothing_that_a_name_brought(page):
    assert page.get_log("browser") == []
    assert page.find_elements(By.TAG_NAME, "img") == []
    assert "onerror=alert(1)" in page.find_element(By.TAG_NAME, "body").text
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_a_click_on_a_change_leads_to_its_plot_with_a_dot_a_commit_on_both_levels(page):
    link = next(one for one in page.find_elements(By.CSS_SELECTOR, "li a") if "none optimize: +" in one.text)
    link.click()
    article = page.find_element(By.CSS_SELECTOR, "article:target")
    assert article.find_element(By.TAG_NAME, "h3").text == "resnet20/eva/none · optimize"
    dots = article.find_elements(By.TAG_NAME, "circle")
    assert [dot.get_attribute("data-commit") for dot in dots] == COMMITS
    heights = [dot.rect["y"] for dot in dots]
    # What is slower stands higher.
    assert max(heights[12:]) < min(heights[:12])
    band = article.find_element(By.CSS_SELECTOR, "rect.change").rect
    middles = [dot.rect["x"] + dot.rect["width"] / 2 for dot in dots]
    assert band["x"] == pytest.approx(middles[11], abs=1)
    assert band["x"] + band["width"] == pytest.approx(middles[12], abs=1)


def test_every_plot_holds_what_is_drawn_in_it(page):
    outside = page.execute_script(
        "const out = []; for (const svg of document.querySelectorAll('svg')) {"
        " const frame = svg.getBoundingClientRect();"
        " for (const part of svg.querySelectorAll('circle, line, rect, text')) {"
        " const box = part.getBoundingClientRect(); if (box.left < frame.left - 1 || box.right > frame.right + 1 ||"
        " box.top < frame.top - 1 || box.bottom > frame.bottom + 1) out.push(part.outerHTML) } } return out"
    )
    assert outside == []


def test_typing_leaves_the_series_that_have_all_the_words(page):
    page.find_element(By.TAG_NAME, "input").send_keys("threads=2 BACK")
    shown = [one for one in page.find_elements(By.TAG_NAME, "article") if one.is_displayed()]
    assert [one.find_element(By.TAG_NAME, "h3").text for one in shown] == ["resnet20/eva/none@threads=2 · backward"]
