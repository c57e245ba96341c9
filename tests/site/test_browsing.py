"""A reader goes through the site in a real browser."""

import pytest

from cnnlab.course import NOTEBOOKS

SECOND = "notebooks/03_padding_stride_channels.html"
TITLE = "article h1"  # the theme has another, which is only printed


def pages_of(site):
    return sorted(p.relative_to(site) for p in site.rglob("*.html") if "_static" not in p.parts)


def test_every_page_opens_without_an_error_or_a_request_to_elsewhere(site, visit):
    for path in pages_of(site):
        page = visit.open(path)
        assert page.locator(TITLE).count() == 1 or path.name == "search.html"
    assert len(pages_of(site)) >= 9


def test_pages_follow_each_other_in_the_order_of_the_course(visit):
    page = visit.open("index.html")
    names = []
    while (following := page.locator("a.right-next")).count():
        following.click()
        page.wait_for_load_state()
        names.append(page.locator(TITLE).inner_text().rstrip("#"))
    assert names[:2] == [f"{n:02} {NOTEBOOKS[n].title}" for n in (0, 3)]
    assert names[2:] == ["Papers", "Data", "For students", "For readers on their own", "For instructors",
                         "For contributors"]
    page.locator("a.left-prev").click()
    page.wait_for_url("**/docs/instructor.html")


def test_search_finds_a_word_of_a_notebook(visit):
    page = visit.open("search.html?q=dilation")
    page.locator("#search-results a", has_text="03 Padding").first.click()
    page.wait_for_url(f"**/{SECOND}*")


@pytest.mark.parametrize("visit", [{"color_scheme": "light"}], indirect=True)
def test_a_reader_switches_to_dark_and_it_stays(visit):
    page = visit.open("index.html")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Color mode").click()
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate(ground)
    assert dark != light
    page = visit.open(SECOND)
    assert page.evaluate(ground) == dark


def test_a_solution_asks_once_and_then_opens_at_once(visit):
    page = visit.open(SECOND)
    first, other = page.locator("details.solution").nth(0), page.locator("details.solution").nth(1)
    solution = first.locator("pre")
    first.locator("summary").click()
    assert not solution.is_visible()
    first.get_by_role("button", name="Not yet").click()
    assert first.get_attribute("open") is None
    first.locator("summary").click()
    first.get_by_role("button", name="Show the solution").click()
    assert solution.is_visible() and "SOLUTION" not in solution.inner_text()

    page = visit.open(SECOND)
    first.locator("summary").click()
    assert solution.is_visible()
    other.locator("summary").click()
    assert not other.locator("pre").is_visible()


@pytest.mark.parametrize("visit", [{"java_script_enabled": False}], indirect=True)
def test_without_scripts_folds_open_and_figures_are_there(visit):
    page = visit.page
    page.goto(f"{visit.address}/{SECOND}")
    visit.trouble.clear()  # a script that is not fetched counts as failed
    fold = page.locator("details.solution").first
    fold.locator("summary").click()
    assert fold.locator("pre").is_visible()
    for still in (page.locator(".animation img").first, page.locator(".cnnlab-widget img").first):
        still.scroll_into_view_if_needed()
        still.evaluate("img => img.decode()")


def test_hints_are_climbed_by_keyboard_one_after_the_other(visit):
    page = visit.open(SECOND)
    rungs = page.locator("details.hint").first.locator("xpath=descendant-or-self::details")
    assert rungs.count() == 4
    rungs.nth(0).locator("> summary").focus()
    for n in range(4):
        assert page.evaluate("document.activeElement.innerText").startswith(f"Hint {n + 1} of 4")
        page.keyboard.press("Enter")
        assert rungs.nth(n).get_attribute("open") is not None
        for _ in range(5):  # a hint may hold a table or steps that scroll, which take the focus too
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.tagName") == "SUMMARY":
                break
    assert "The solution" in page.evaluate("document.activeElement.innerText")


def test_a_widget_takes_the_place_of_its_still_figure_and_reacts(visit):
    page = visit.open(SECOND)
    widget = page.locator(".cnnlab-widget").first
    widget.locator("input").first.wait_for()
    assert not widget.locator("> img").count()
    before = widget.inner_text()
    widget.get_by_label("stride").fill("2")
    widget.get_by_label("stride").press("Enter")
    assert widget.inner_text() != before


def test_an_animation_plays(visit):
    page = visit.open(SECOND)
    picture = page.locator(".animation img").first
    first = picture.get_attribute("src")
    page.get_by_role("button", name="Next frame").first.click()
    assert picture.get_attribute("src") != first
    page.wait_for_function("img => img.complete && img.naturalWidth > 0", arg=picture.element_handle())


def test_the_student_notebook_downloads(visit, tmp_path):
    page = visit.open(SECOND)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download this notebook").click()
    download.value.save_as(tmp_path / "got.ipynb")
    assert download.value.suggested_filename == "03_padding_stride_channels.ipynb"
    text = (tmp_path / "got.ipynb").read_text(encoding="utf-8")
    assert "raise NotImplementedError()" in text and "BEGIN SOLUTION" not in text
