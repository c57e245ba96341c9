# %% [markdown]
# # 00 Start here

# %%
import numpy as np

from cnnlab import check, hint

# %% tags=["exercise:brighten"]
def brighten(image, amount):
    """Add `amount` to every pixel, keeping the result between 0 and 1.

    image (H, W) float64, values 0 to 1; amount a number.  Returns (H, W).
    """
    ### BEGIN SOLUTION
    return np.clip(image + amount, 0, 1)
    ### END SOLUTION

# %% tags=["check:brighten"]
check("brighten", brighten)
