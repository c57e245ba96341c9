"""What becomes of a notebook on its way to a page."""

import base64
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from autograder import build, sources
from autograder.exercise import load_all
from autograder.site import outputs, pages, papers, run
from autograder.site.__main__ import main
from autograder.site.figures import WORDS, describe
from autograder.sources import KERNELSPEC
from cnnlab import plots


def notebook_of(*code):
    cells = [new_code_cell(c, id=f"cell-{n}") for n, c in enumerate(code)]
    return new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})


def test_a_notebook_runs_once_for_the_same_source(tmp_path):
    code = f"open({str(tmp_path / 'runs')!r}, 'a').write('x')"
    for _ in range(2):
        ran = run.executed("20_runs", notebook_of(code), [], tmp_path / "cache")
        assert [c.source for c in ran.cells] == [code]
    assert (tmp_path / "runs").read_text() == "x"
    run.executed("20_runs", notebook_of(code, "1"), [], tmp_path / "cache")
    assert (tmp_path / "runs").read_text() == "xx"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_failing_notebook_is_named_in_one_sentence(tmp_path):
    with pytest.raises(run.PageError) as failed:
        run.executed("20_fails", notebook_of("1 / 0"), [], tmp_path)
    assert str(failed.value) == "20_fails: a cell failed with ZeroDivisionError: division by zero"
    assert not list(tmp_path.iterdir())


def test_a_notebook_that_is_not_there_is_named(capsys):
    assert main(["99"]) == 1
    assert "there is no notebook 99" in capsys.readouterr().err


def test_figures_carry_their_words_from_the_kernel_to_the_page(tmp_path):
    ran = run.executed("20_draws", notebook_of(
        "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.title('the loss')\nplt.show()"), [], tmp_path)
    (shown,) = outputs.on_page(ran.cells[0], tmp_path / "figures", "../_static")
    image = BeautifulSoup(shown.data["text/html"], "html.parser").img
    assert image["alt"] == "Figure: the loss (curve)" and image["src"].startswith("../_static/figures/")
    with Image.open(tmp_path / "figures" / image["src"].rpartition("/")[2]) as picture:
        assert picture.width == pytest.approx(1.5 * int(image["width"]), abs=2)


def test_a_figure_is_described_by_titles_axes_and_legend():
    fig, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2, 3], label="train")
    left.plot([3, 2, 1], label="test")
    left.set(title="accuracy", xlabel="epoch", ylabel="share")
    left.legend()
    plots.grid(right, np.array([[1, -2], [0.5, 4]]), "kernel")
    assert describe(fig) == ("Figure with 2 panels: accuracy (curves of share against epoch, with train, test); "
                             "kernel (grid of the numbers 1 −2 0.5 4)")
    plt.close(fig)


def test_a_description_is_no_longer_than_can_be_listened_to():
    fig, ax = plt.subplots()
    ax.set_title("word " * 200)
    assert len(describe(fig).split()) == WORDS + 1
    plt.close(fig)


def png(colour):
    Image.new("RGB", (20, 10), colour).save(out := io.BytesIO(), "png")
    return base64.b64encode(out.getvalue()).decode()


def test_frames_of_an_animation_become_files_and_the_same_frame_one_file(tmp_path):
    page = "".join(f'frames[{n}] = "data:image/png;base64,{p[:30]}\\\n{p[30:]}"\n'
                   for n, p in enumerate([png("red"), png("blue"), png("red")]))
    cell = new_code_cell("", outputs=[new_output("display_data", {"text/html": page})])
    (shown,) = outputs.on_page(cell, tmp_path / "figures", "../_static")
    red, blue, again = re.findall(r'= "\.\./_static/figures/(\w+\.webp)"', shown.data["text/html"])
    assert red == again and {p.name for p in (tmp_path / "figures").iterdir()} == {red, blue}
    with Image.open(tmp_path / "figures" / blue) as picture:
        assert picture.convert("RGB").getpixel((5, 5)) == (0, 0, 255)


def test_a_widget_becomes_an_element_with_its_still_figure_inside(tmp_path):
    asked = {"module": "convolution", "state": {"kernel": [[1, 0]], "name": 'a "b" <c>'}}
    cell = new_code_cell("", outputs=[new_output(
        "display_data", {outputs.WIDGET: asked, "image/png": png("red"), "text/plain": "convolution"},
        metadata={"image/png": {"alt": "a kernel on an image"}})])
    (shown,) = outputs.on_page(cell, tmp_path, "../_static")
    soup = BeautifulSoup(shown.data["text/html"], "html.parser")
    assert soup.div["data-module"] == "convolution"
    assert json.loads(soup.div["data-state"]) == asked["state"]
    assert soup.div.img["alt"] == "a kernel on an image"
    assert soup.script["type"] == "module" and soup.script["src"] == "../_static/live.js"


def test_a_written_question_is_boxed_without_its_answer_and_below_its_heading():
    source = "## In your own words\n\n**Question.** Why?\n\n<!-- BEGIN SOLUTION -->\nBecause.\n<!-- END SOLUTION -->"
    heading, box, question, end = pages.written(source).split("\n\n")
    assert (heading, question, end) == ("## In your own words", "**Question.** Why?", "</div>")
    assert BeautifulSoup(box, "html.parser").div["class"] == ["written"]
    assert pages.written("**Question.** Why?").startswith("<div")


def test_papers_are_gathered_once_with_all_that_they_are_used_for():
    def notebook(*items):
        return new_notebook(cells=[new_markdown_cell("# A\n- *No paper*, 1999."), new_markdown_cell(
            "## Where to read more\n\n" + "\n".join(items)), new_markdown_cell("## Next\n\n- *None either*, 1990.")])

    found = papers.gather({
        "01_a": notebook("- Ann Ash and others, *Great nets: a study*, 2001: why\n  they are great."),
        "02_b": notebook("- Ann Ash, Ben Box and others, *Great nets*, CVPR 2001: section 2.",
                         "- The same, *Better nets*, 2000."),
        "03_c": notebook("- Cy Cox, *Old nets*, 1990: the start; and *A guide*: coalescing.",
                         "- Dee Dow, *New nets*, 2020; and section 2 of *Great nets*, 2001: both.")})
    assert [(p.year, p.authors, p.title) for p in found] == [
        (1990, "Cy Cox", "Old nets"), (2000, "Ann Ash, Ben Box and others", "Better nets"),
        (2001, "Ann Ash, Ben Box and others", "Great nets: a study"), (2020, "Dee Dow", "New nets"),
        (0, "Cy Cox", "A guide")]
    assert found[0].uses == {"03_c": "the start"} and found[4].uses == {"03_c": "coalescing"}
    assert found[2].uses == {"01_a": "why they are great", "02_b": "section 2", "03_c": "both"}


def test_every_work_that_a_notebook_names_is_in_the_index_with_authors_and_year():
    notebooks = build.source_notebooks(load_all())
    index = papers.gather(notebooks)
    text = papers.as_markdown(index, {slug: slug for slug in sources.slugs()})
    assert all(p.authors and (1900 < p.year < 2030 or "guide" in p.title) for p in index)
    named = 0
    for slug, notebook in notebooks.items():
        section = "\n".join(c.source for c in notebook.cells).partition("\n## Where to read")[2].partition("\n## ")[0]
        for title in papers.TITLE.findall(section):
            named += 1
            start = " ".join(title.split()).partition(":")[0]
            entry = next(e for e in text.split("\n- ") if f"*{start.lower()}" in e.partition("\n")[0].lower())
            assert f"notebooks/{slug}.ipynb" in entry, (slug, title)
    assert named > 100
