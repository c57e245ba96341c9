"""What the pages hold, read as files."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag

import pytest
from bs4 import BeautifulSoup

from autograder.site import weight
from tests.site.test_browsing import pages_of


@pytest.fixture(scope="session")
def soups(site):
    """Every page, parsed, by its path."""
    return {site / path: BeautifulSoup((site / path).read_text(encoding="utf-8"), "html.parser")
            for path in pages_of(site)}


def test_every_link_and_anchor_within_the_site_resolves(site, soups):
    broken, checked = [], 0
    for page, soup in soups.items():
        for element in soup.find_all(href=True) + soup.find_all(src=True):
            target, anchor = urldefrag(element.get("href") or element.get("src"))
            if re.match(r"[a-z]+:|//", target):
                continue
            path = (page.parent / unquote(target.partition("?")[0])).resolve() if target else page
            checked += 1
            if not path.exists() or site.resolve() not in (path, *path.parents):
                broken.append(f"{page.name}: {target}")
            elif anchor and path in soups and not soups[path].find(id=unquote(anchor)):
                broken.append(f"{page.name}: {target}#{anchor}")
    assert not broken and checked > 300


class Nesting(HTMLParser):
    """What is open, and every end tag that closes something else."""

    EMPTY = {"img", "br", "input", "meta", "link", "hr", "col", "source", "wbr"}

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        self.open += [tag] if tag not in self.EMPTY else []

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))


def test_every_element_is_closed_where_it_was_opened(soups):
    for page in soups:
        nesting = Nesting()
        nesting.feed(page.read_text(encoding="utf-8"))
        assert not nesting.wrong and not nesting.open, (page.name, nesting.wrong[:1], nesting.open)


def test_no_link_leads_elsewhere(soups):
    elsewhere = {e["href"] for soup in soups.values() for e in soup.find_all("a", href=re.compile("^https?:"))}
    assert not elsewhere


def test_headings_come_in_order_and_no_page_has_two_titles(soups):
    for page, soup in soups.items():
        levels = [int(h.name[1]) for h in (soup.article or soup.main).find_all(re.compile("^h[1-6]$"))]
        assert levels.count(1) == 1 and levels[0] == 1, (page.name, levels)
        assert all(after - before <= 1 for before, after in zip(levels, levels[1:])), (page.name, levels)


def test_every_picture_has_a_text_alternative_in_words(soups):
    pictures = [(page, i) for page, soup in soups.items() for i in soup.find_all("img")]
    assert len(pictures) > 20
    for page, picture in pictures:
        words = picture.get("alt", "").split()
        assert len(words) >= 2 and not words[0].endswith((".png", ".svg", ".webp")), (page.name, picture)


def test_fields_and_buttons_have_names(soups):
    for page, soup in soups.items():
        for button in soup.find_all("button"):
            assert button.get_text(strip=True) or button.get("aria-label") or button.get("title"), (page.name, button)
        for field in soup.find_all("input"):
            label = field.get("id") and soup.find("label", attrs={"for": field["id"]})
            assert label or field.get("aria-label") or field.get("type") in ("hidden", "submit"), (page.name, field)


def test_no_page_weighs_more_than_two_megabytes(site):
    weights = weight.pages(site)
    assert weights and max(weights.values()) < weight.LIMIT
    notebook = next(w for page, w in weights.items() if page.stem == "03_padding_stride_channels")
    assert notebook > 300_000  # its pictures are counted


def test_a_notebook_shows_what_students_get_and_folds_what_they_do_not(site, soups):
    soup = soups[site / "notebooks" / "03_padding_stride_channels.html"]
    folds = [fold.extract() for fold in soup.find_all("details")]
    solutions = [fold for fold in folds if "solution" in fold["class"]]
    assert len(solutions) == 11 and all("def " in fold.pre.get_text() for fold in solutions)
    page = soup.get_text()
    assert page.count("raise NotImplementedError()") == 11
    assert "BEGIN SOLUTION" not in page and "Rubric" not in page
    assert page.count("✓") >= 11 and "nbgrader" not in page


def test_nothing_but_students_notebooks_is_there_to_download(site):
    notebooks = [p.relative_to(site) for p in site.rglob("*.ipynb")]
    assert {str(p.parent) for p in notebooks} == {"_static/download"}
    assert not list(site.rglob("*.ipynb.txt"))
