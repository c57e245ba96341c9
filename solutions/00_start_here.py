# %% [markdown]
# # 00 Start here
#
# This notebook shows how the course works: what an exercise is, how its check talks to you, where to get a
# hint, and how to hand in. It takes about fifteen minutes, needs no download, and its one exercise turns
# green within a minute.

# %% [markdown]
# ## What you will be able to do
#
# - run a notebook from top to bottom and know what state it is in;
# - complete an exercise, and read what its check says when it is wrong;
# - ask for hints one at a time;
# - answer a written question and hand the notebook in.

# %% [markdown]
# ## Cells
#
# A notebook is a list of cells. Click the cell below and press **Shift+Enter**: it runs, and the next cell is
# selected. The number in brackets on its left counts what has run, in that order; the order on the page does
# not matter to Python. If things get confused, choose *Kernel → Restart Kernel and Run up to Selected Cell*.

# %%
import numpy as np

from cnnlab import check, course, data, hint, plots, progress

# %% [markdown]
# An image is an array of numbers. This one is grey: one number per pixel, 0 for black, 1 for white. Its shape
# is (height, width), rows first, as everywhere in this course.

# %%
photo = data.grey(data.photo("china"))
plots.images(photo, titles=[f"shape {photo.shape}, values {photo.min():.2f} to {photo.max():.2f}"])

# %% [markdown]
# ## An exercise
#
# Each exercise asks for one function. You get its name, its arguments and a docstring that says what goes in
# and what comes out, with shapes. Below it stands a check: one line, which you run but do not change.
#
# The exercise of this notebook: `brighten(image, amount)` adds `amount` to every pixel. A pixel can be no
# whiter than 1 and no blacker than 0.
#
# **Predict.** A pixel has the value 0.875, and `amount` is 0.25. What should become of it?

# %% [markdown]
# Here is a first try, wrong on purpose, and its check. Run both cells and read what comes out.

# %%
def brighten_too_simple(image, amount):
    return image + amount

# %%
check("brighten", brighten_too_simple)

# %% [markdown]
# ## How to read a check
#
# A check calls your function with small inputs, chosen so that wrong answers show. It then tells you, from the
# top:
#
# - the points, and the kind of trouble, such as a call that failed, a wrong shape, dtype or values;
# - **Called**: the smallest call that went wrong, so that you can repeat it yourself;
# - what came back and what was expected, and where in the array they differ: places marked ✗;
# - **Likely cause**, if your answer is exactly what one known mistake gives. If it could be several, the check
#   stays silent rather than guess.
#
# Green and ✓ mean all points.

# %% [markdown]
# ## Your turn
#
# Complete `brighten`: replace the line `raise NotImplementedError()`, run the cell, then run the check below it.
# Run the check as often as you like; nothing is counted or sent anywhere. When it passes, that is noted beside the
# notebook, for you.

# %% tags=["exercise:brighten"]
def brighten(image, amount):
    """Add `amount` to every pixel and keep the result between 0 and 1.

    image (H, W) float64, values from 0 to 1; amount a number, may be negative.
    Returns a new array (H, W) float64.
    """
    ### BEGIN SOLUTION
    return np.clip(image + amount, 0, 1)
    ### END SOLUTION

# %% tags=["check:brighten"]
check("brighten", brighten)

# %% [markdown]
# ## Hints
#
# Every exercise has four hints: a question, a worked case, the steps with their shapes, and the reason. Each
# call of `hint` shows the next one. Run this cell again for more, and try after each.

# %%
hint("brighten")

# %% [markdown]
# When your function is right, this shows what it does. **Predict** first: after adding 0.4, which parts of the
# photograph have lost all detail, the sky or the trees?

# %%
plots.images(photo, brighten(photo, 0.4), brighten(photo, -0.4), vmin=0, vmax=1, height=2.2,
             titles=["original", "amount 0.4", "amount −0.4"])

# %% [markdown]
# The sky: its pixels were above 0.6 already, so they all end at 1, and what is equal cannot be told apart again.
# Limiting values loses information; subtracting 0.4 afterwards does not bring the shades of the sky back. The
# cell below counts the pixels that have become pure white.

# %%
white_before = np.mean(photo >= 1)
white_after = np.mean(brighten(photo, 0.4) >= 1)
print(f"pure white: {white_before:.1%} of the pixels before, {white_after:.1%} after")

# %% [markdown]
# ## A written question
#
# Some questions are answered in words and graded by a person. Write below, in the cell itself: double-click it,
# replace the line in italics, press Shift+Enter.

# %% [markdown] tags=["written:changed_input:2"]
# **Question (2 points).** A student writes `image += amount` as the first line of `brighten`. The check refuses
# it, although the returned values are right. What would go wrong in the cells above if it did not, and why?
#
# <!-- BEGIN SOLUTION -->
# **Answer.** `image += amount` changes the array that was passed in, and that array is `photo` itself, not a copy.
# After `brighten(photo, 0.4)` the name `photo` stands for an image that is 0.4 too bright. The next call takes 0.4
# away again, so the picture called "amount −0.4" shows the original. The counting cell leaves `photo` 0.4 too bright
# for good: run that cell, or the one before it, once more, and it shows something else.
#
# **Rubric.**
#
# - 1 point: says that the caller's array (`photo`) is changed, because the function works on the same array and not
#   on a copy.
# - 1 point: names a consequence: later uses of `photo`, such as the next call or the count of white pixels, are
#   wrong, or depend on the order in which cells run and how often.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Points and grading
#
# The first line of a check gives your points for that exercise. When your notebook is graded, it is run from top to
# bottom in a fresh kernel, and each check also calls your function with inputs you have not seen, made the same
# way. A function that does what its docstring says passes; one that only fits the visible inputs does not.
#
# Each check stands for itself. Only where an exercise calls a function you wrote earlier, that function has to be
# right first: begin with the first check that fails.

# %% [markdown]
# ## Handing in
#
# 1. *Kernel → Restart Kernel and Run All Cells*: does everything you finished still pass? The run stops where a cell
#    needs a function you have not written; *Run → Run Selected Cell and All Below* takes it up from the next cell.
# 2. Save (Ctrl+S).
# 3. If your course uses nbgrader's *Assignment List*, press *Submit* there. Otherwise give your instructor the file
#    `00_start_here.ipynb` in the way they asked for.
#
# Leave the check cells and the file's name as they are. You may add cells and functions of your own anywhere.

# %% [markdown]
# ## When you are stuck
#
# 1. Repeat the call the check shows, in a new cell, and look at what your function returns.
# 2. Put a `print` into your function: the check shows what it printed.
# 3. Ask for a hint.
# 4. Explain aloud, line by line, what the shapes are. Most errors in this course are shapes.
# 5. Go on. An unfinished exercise says so, and the others can be done without it unless they use its function.

# %% [markdown]
# ## The way through the course
#
# A line in the map below leads to each notebook from those that it builds on. Nineteen rows are a long way; the map
# also shows the short cuts.
#
# **Predict.** You want to know as soon as possible what a trained network looks at in an image. Which notebooks can you
# leave out?

# %%
course.draw_map()

# %% [markdown]
# Follow the lines from 16 upwards: 09, 08, 06, 05, and from there one by one to 00. So 07 can wait, and so can 10 to 15.
# The notebooks up to 08 need NumPy alone; those after it use PyTorch,
# and the last two Triton as well.

# %% [markdown]
# ## What is done, and what is next
#
# The cell below shows which exercises of the course passed, from what their checks noted in the folder `.cnnlab` beside
# the notebooks, and which one comes next. Time is not measured and nothing leaves your machine. Come back and run it at
# any time; `progress("02")` lists the exercises of one notebook. Marked ~ is what you changed and saved after it passed:
# run its check again.

# %%
progress()

# %% [markdown]
# To begin an exercise again, write `import cnnlab; cnnlab.reset("brighten")` into its cell, in the place of your code, and
# run it: the cell becomes what it was at first, and your code is kept in `.cnnlab/kept`. Any other cell only shows it.

# %% [markdown]
# ## Summary
#
# | to do | how |
# |---|---|
# | run a cell | Shift+Enter |
# | start afresh | *Kernel → Restart Kernel and Run All Cells* |
# | test an exercise | run its `check("id", function)` |
# | get help | `hint("id")`, up to four times |
# | see your points | the first line of its check |
# | see what is done and what is next | `progress()` |
# | begin an exercise again | `cnnlab.reset("id")`, in its cell |
# | hand in | save, then *Submit* or give the file to your instructor |

# %% [markdown]
# ## Where to read more
#
# - Catherine Crouch, Adam Fagen, Paul Callan and Eric Mazur, *Classroom demonstrations: learning tools or
#   entertainment?*, American Journal of Physics, 2004: why this course asks you to predict before you run.
# - Project Jupyter and others, *nbgrader: a tool for creating and grading assignments in the Jupyter notebook*,
#   Journal of Open Source Education, 2019: the tool that grades.
