"""The frame of the website; `make site` prepares its pages (autograder/site)."""

import os

# Where the repository is to be found, such as https://github.com/NAME/cnnlab.  Pages of notebooks then have a button
# that opens them in Binder, which builds environment.yml; without it, notebooks are downloaded.
REPOSITORY = os.environ.get("CNNLAB_REPOSITORY", "")

project = "cnnlab"
author = "The cnnlab authors"
copyright = "the cnnlab authors. Text and figures: CC BY 4.0; code: MIT License"
language = "en"

extensions = ["myst_nb"]
nb_execution_mode = "off"  # autograder.site executes them
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# MathJax and its fonts are served with the pages, as jupyter_server_mathjax packs them (version 2.7).
mathjax_path = "mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full"
myst_update_mathjax = False  # which would configure version 4
mathjax2_config = {
    "jax": ["input/TeX", "output/HTML-CSS"], "extensions": ["AssistiveMML.js"],
    "tex2jax": {"inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]], "processClass": "math",
                "ignoreClass": "tex2jax_ignore|mathjax_ignore"},
    "HTML-CSS": {"availableFonts": [], "imageFont": None, "preferredFont": None, "webFont": "STIX-Web",
                 "matchFontHeight": False, "scale": 112,  # nothing can be measured inside a fold
                 "linebreaks": {"automatic": True},
                 # While a font loads, MathJax 2 uses one at about:blank, which browsers now call an error.
                 "styles": {"@font-face": {"src": "local('MathJax_Blank')"}}},
    "menuSettings": {"zoom": "None", "inTabOrder": False}, "messageStyle": "none", "showMathMenu": False}

html_theme = "sphinx_book_theme"
html_title = "cnnlab"
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the system is
html_css_files = ["site.css"]
html_js_files = [("folds.js", {"defer": "defer"})]
html_copy_source = False  # the source of a page is the solution
html_show_sourcelink = False
html_use_index = False
html_theme_options = {
    "use_download_button": False,  # it would give the executed solution; each page links the student notebook
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the sidebar has the search
    "search_as_you_type": True,
    "navigation_with_keys": False,  # arrow keys belong to the widgets and animations
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if REPOSITORY:
    html_theme_options |= {
        "repository_url": REPOSITORY, "repository_branch": "main", "use_repository_button": True,
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}}
