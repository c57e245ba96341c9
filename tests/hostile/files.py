"""Attacks by what lies beside the notebook or in its place."""

import os

from tests.hostile.case import attack

FAKE_NUMPY = """
    # Loads the real NumPy and changes what assertions use.
    import importlib, os, sys
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = [p for p in sys.path if os.path.abspath(p or ".") != here]
    sys.path, old = path, sys.path
    del sys.modules["numpy"]
    import numpy
    sys.path = old
    sys.modules["numpy"] = numpy
    numpy.allclose = numpy.array_equal = lambda *a, **k: True
    numpy.testing.assert_allclose = lambda *a, **k: None
"""
FAKE_CNNLAB = "check = lambda *a: 1.0\n"
SITE = """
    import atexit
    try:
        open("@OUT@/@MARK@", "w").write("here")
    except OSError:
        pass
    import builtins
    builtins.round = lambda *a: 1.0
"""


def beside(name, what, files, **how):
    return attack(name, what, "", files=files, **how)


def link_to(target):
    """Puts a link to `target` in place of the notebook."""
    def place(folder, fill):
        path = folder / "00_start_here.ipynb"
        path.unlink()
        path.symlink_to(fill(target))
    return place


def fifo(folder, fill):
    path = folder / "00_start_here.ipynb"
    path.unlink()
    os.mkfifo(path)


def directory(folder, fill):
    path = folder / "00_start_here.ipynb"
    path.unlink()
    path.mkdir()


def nothing(folder, fill):
    (folder / "00_start_here.ipynb").unlink()


def linked_folder(folder, fill):
    (folder / "data").symlink_to(fill("@HOME@/notes"))
    (folder / "private.txt").symlink_to(fill("@HOME@/notes/private.txt"))


def other_notebook(folder, fill):
    (folder / "00_start_here-Copy1.ipynb").write_text("{}")
    (folder / "02_convolution.ipynb").write_text("broken")


READ_LINKS = """
    for path in ("data/private.txt", "private.txt"):
        try:
            print(open(path).read())
        except OSError as e:
            print(e)
"""

CASES = [
    beside("numpy_folder", "a folder numpy/ beside the notebook, with an allclose of its own",
           {"numpy/__init__.py": FAKE_NUMPY}, stock="assert"),
    beside("cnnlab_folder", "a folder cnnlab/ beside the notebook, with a check of its own",
           {"cnnlab/__init__.py": FAKE_CNNLAB, "cnnlab/checks.py": FAKE_CNNLAB}),
    beside("standard_modules", "json.py, ast.py, random.py and ctypes.py beside the notebook",
           dict.fromkeys(["json.py", "ast.py", "random.py", "ctypes.py", "IPython.py", "ipykernel_launcher.py"], SITE)),
    beside("sitecustomize", "sitecustomize.py, usercustomize.py, conftest.py and a .pth file",
           {"sitecustomize.py": SITE, "usercustomize.py": SITE, "conftest.py": SITE,
            "evil.pth": "import os; os.system('touch @OUT@/@MARK@')"}),
    beside("ipython_files", "configuration and start-up files for IPython and Jupyter beside the notebook",
           dict.fromkeys(["ipython_config.py", "ipython_kernel_config.py", ".ipython/profile_default/startup/a.py",
                          "jupyter_config.py", "jupyter_nbconvert_config.py", "nbgrader_config.py"], SITE)),
    attack("linked_files", "links beside the notebook that lead to private files", READ_LINKS, place=linked_folder),
    attack("link_for_a_notebook", "a link to a private file in place of the notebook",
           place=link_to("@HOME@/notes/private.txt")),
    attack("link_to_another_student", "a link to another student's notebook in place of the notebook",
           place=link_to("@COURSE@/submitted/aa_plain/00_start_here/00_start_here.ipynb")),
    attack("link_to_the_solution", "a link to the source notebook in place of the notebook",
           place=link_to("@COURSE@/source/00_start_here/00_start_here.ipynb")),
    attack("fifo_for_a_notebook", "a FIFO, which never answers, in place of the notebook", place=fifo),
    attack("device_for_a_notebook", "a link to /dev/zero in place of the notebook", place=link_to("/dev/zero")),
    attack("folder_for_a_notebook", "a folder in place of the notebook", place=directory),
    attack("no_notebook", "an empty folder", place=nothing),
    attack("other_notebooks", "broken notebooks beside the notebook", place=other_notebook),
]
