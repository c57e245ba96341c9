"""The pages can be read by those who see little, and used without a mouse."""

from pathlib import Path

import pytest

from tests.site.test_browsing import SECOND, pages_of

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
OPEN_ALL = """document.querySelectorAll("details").forEach(fold => { fold.open = true; });
              document.querySelectorAll(".ask .yes").forEach(button => button.click());"""


@pytest.mark.parametrize("visit", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True,
                         ids=["light", "dark"])
def test_text_stands_out_from_its_ground_also_in_folds(site, visit):
    for path in pages_of(site):
        page = visit.open(path)
        page.evaluate(OPEN_ALL)
        weak = page.evaluate(CONTRAST)
        assert not weak, f"{path}: {weak}"


def test_the_contrast_check_sees_weak_text(visit):
    page = visit.open("index.html")
    page.evaluate("document.querySelector('main p').style.color = '#999'")
    assert len(page.evaluate(CONTRAST)) == 1


def test_everything_that_can_be_clicked_is_reached_by_keyboard_and_seen_to_be(visit):
    page = visit.open(SECOND)
    wanted = page.evaluate("""() => { window.all = [...document.querySelectorAll("article *")];
        return all.filter(e => e.matches("a[href], button, summary, input:not([type=radio])") &&
                               e.checkVisibility({ visibilityProperty: true })).map(e => all.indexOf(e)); }""")
    page.evaluate("article = document.querySelector('article'); article.tabIndex = -1; article.focus()")
    reached, unseen = set(), []
    while True:
        page.keyboard.press("Tab")
        place, outlined, what = page.evaluate("""() => { const e = document.activeElement, style = getComputedStyle(e);
            const outlined = style.outlineStyle !== "none" || style.boxShadow !== "none";
            return [all.indexOf(e), outlined, e.outerHTML.slice(0, 80)]; }""")
        if place < 0:
            break
        reached.add(place)
        unseen += [] if outlined else [what]
    assert reached >= set(wanted) and len(wanted) > 40
    assert not unseen


@pytest.mark.parametrize("visit", [{"viewport": {"width": 360, "height": 740}}], indirect=True)
def test_on_a_telephone_nothing_is_wider_than_the_screen(site, visit):
    for path in pages_of(site):
        page = visit.open(path)
        page.evaluate(OPEN_ALL)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


@pytest.mark.parametrize("visit", [{"viewport": {"width": 500, "height": 740}}], indirect=True)
def test_code_that_is_too_wide_can_be_scrolled_by_keyboard_also_in_an_opened_fold(visit):
    page = visit.open(SECOND)
    page.evaluate(OPEN_ALL)
    page.wait_for_function("""() => { const wide = [...document.querySelectorAll("details.solution pre")]
        .filter(code => code.scrollWidth > code.clientWidth);
        return wide.length > 3 && wide.every(code => code.tabIndex === 0); }""")
