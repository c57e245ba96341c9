"""Exercises of notebook 07: batch norm, local response normalisation, dropout, colour augmentation.

The oracle is torch's own layer or function throughout, with gradients from autograd; for the colours it is
torch's covariance and eigendecomposition.
"""

from textwrap import dedent

import numpy as np

from autograder.exercise import Exercise, Mistake, call
from autograder.exercises.draws import ints, quarters, tensor
from cnnlab.probes import strided


def column(*values):
    """One feature of several examples: (N, 1)."""
    return np.array(values, dtype=float)[:, None]


def along_width(values, x):
    """What broadcasting makes of one value per channel that is not given the axes of height and width."""
    return np.broadcast_to(values, x.shape)


def per_channel(values):
    return values[:, None, None]


# ---------------------------------------------------------------------------- batch_norm_dense

def torch_batch_norm(x, gamma, beta, eps):
    """torch.nn.functional.batch_norm in training mode, for (N, D) and (N, C, H, W)."""
    import torch

    return torch.nn.functional.batch_norm(tensor(x), None, None, tensor(gamma), tensor(beta),
                                          training=True, eps=eps).numpy()


def batch_norm_dense(x, gamma, beta, eps=1e-5):
    """Oracle: torch.nn.functional.batch_norm."""
    return torch_batch_norm(x, gamma, beta, eps)


def dense_by_columns(x, gamma, beta, eps=1e-5):
    out = np.zeros(x.shape)
    for d in range(x.shape[1]):
        values = [float(v) for v in x[:, d]]
        mean = sum(values) / len(values)
        var = sum((v - mean) ** 2 for v in values) / len(values)
        for n, v in enumerate(values):
            out[n, d] = gamma[d] * (v - mean) / (var + eps) ** 0.5 + beta[d]
    return out


def dense_by_scale_and_shift(x, gamma, beta, eps=1e-5):
    scale = gamma / np.sqrt(x.var(axis=0) + eps)
    return np.einsum("nd,d->nd", x, scale) + (beta - scale * x.mean(axis=0))


def dense_by_transposing(x, gamma, beta, eps=1e-5):
    centred = x.T - np.average(x.T, axis=1, keepdims=True)
    root = (np.sum(centred * centred, axis=1, keepdims=True) / len(x) + eps) ** -0.5
    return (centred * root * gamma.reshape(-1, 1) + beta.reshape(-1, 1)).T


def standardise(x, axes, eps, ddof=0):
    """x less its mean over `axes`, divided by the root of its variance plus eps."""
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, ddof=ddof, keepdims=True) + eps)


def dense_mean_of_squares(x, gamma, beta, eps=1e-5):
    return gamma * (x - x.mean(axis=0)) / np.sqrt((x ** 2).mean(axis=0) + eps) + beta


def random_dense(rng):
    n, d = int(rng.integers(3, 7)), int(rng.integers(1, 5))
    x = rng.integers(-8, 9, (n, d)) / 4 * rng.choice([0.5, 1, 4], d)
    x[0], x[1] = x[1] + 1, x[0] - 2  # no feature is constant
    return call(x, rng.integers(1, 9, d) / 4, rng.integers(-8, 9, d) / 4, eps=float(rng.choice([0.25, 0.01])))


BATCH_NORM_DENSE = Exercise(
    id="batch_norm_dense", points=1,
    oracle=batch_norm_dense,
    probes=[call(column(1, 3), np.array([4.0]), np.array([1.0]), eps=3.0),
            call(ints(1, 4, 3), np.array([2.0, -1, 0.5]), np.array([1.0, 0, -3]), eps=0.25),
            call(quarters(2, 5, 2), np.array([1.5, -2]), np.array([0.25, 4])),
            call(np.array([[5.0, 0.004], [5, -0.002], [5, 0.001]]), np.array([2.0, 3]), np.array([-1.0, 0.5])),
            call(strided(ints(3, 3, 4)), quarters(4, 4), quarters(5, 4), eps=0.5)],
    random=random_dense,
    mistakes=[
        Mistake("unbiased_variance", "The variance is divided by N − 1. The normaliser uses the biased one, "
                "divided by N.",  # 75
                lambda x, gamma, beta, eps=1e-5: gamma * standardise(x, 0, eps, ddof=1) + beta),
        Mistake("over_the_features", "The mean and the variance of each row are used: of one example over its "
                "features. Batch norm takes those of each column, one feature over the batch.",  # 74
                lambda x, gamma, beta, eps=1e-5: gamma * standardise(x, 1, eps) + beta),
        Mistake("over_everything", "One mean and one variance are used for the whole table. Each feature has "
                "its own.",
                lambda x, gamma, beta, eps=1e-5: gamma * standardise(x, (0, 1), eps) + beta),
        Mistake("eps_outside_the_root", "ε is added after the root is taken. It belongs to the variance, under "
                "the root.",  # 83
                lambda x, gamma, beta, eps=1e-5:
                gamma * (x - x.mean(axis=0)) / (x.std(axis=0) + eps) + beta),
        Mistake("eps_missing", "ε is not used. Look at a feature with the same value in every example.",  # 83
                lambda x, gamma, beta, eps=1e-5: gamma * standardise(x, 0, 0.0) + beta),
        Mistake("eps_fixed", "ε is taken as 1e-5, whatever is passed. It is an argument.",  # 83
                lambda x, gamma, beta, eps=1e-5: gamma * standardise(x, 0, 1e-5) + beta),
        Mistake("root_missing", "It divides by the variance plus ε. Without the root the result does not have "
                "standard deviation 1.",
                lambda x, gamma, beta, eps=1e-5:
                gamma * (x - x.mean(axis=0)) / (x.var(axis=0) + eps) + beta),
        Mistake("gamma_ignored", "γ is not used: the normalised values are not scaled.",  # 84
                lambda x, gamma, beta, eps=1e-5: standardise(x, 0, eps) + beta),
        Mistake("beta_ignored", "β is not added.",  # 84
                lambda x, gamma, beta, eps=1e-5: gamma * standardise(x, 0, eps)),
        Mistake("beta_before_gamma", "β is added before the scaling, so γ scales it too. Scale first, then "
                "shift.",
                lambda x, gamma, beta, eps=1e-5: gamma * (standardise(x, 0, eps) + beta)),
        Mistake("gamma_and_beta_exchanged", "γ and β have changed places: γ multiplies, β is added.",
                lambda x, gamma, beta, eps=1e-5: beta * standardise(x, 0, eps) + gamma),
        Mistake("not_centred", "The mean is not subtracted.",
                lambda x, gamma, beta, eps=1e-5: gamma * x / np.sqrt(x.var(axis=0) + eps) + beta),
        Mistake("mean_of_squares", "What is used as the variance is the mean of the squares. A variance is "
                "about the mean: subtract it first.",
                dense_mean_of_squares),
        Mistake("sum_of_squares", "The squared deviations are summed. The variance is their mean.",
                lambda x, gamma, beta, eps=1e-5:
                gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) * len(x) + eps) + beta),
    ],
    alternatives=[dense_by_columns, dense_by_scale_and_shift, dense_by_transposing],
    hints=[
        "Each column of `x` is one feature. Which of its numbers go into its mean, and along which axis do they lie?",
        dedent("""\
        One feature of two examples, γ = 4, β = 1, ε = 3:

        ```
        x           1    3
        mean        2          x − mean    −1    1
        variance    1          variance + ε = 4, its root 2
        normalised −½    ½
        y = 4 · (−½) + 1 = −1      and      4 · ½ + 1 = 3
        ```"""),
        dedent("""\
        ```
        mean <- of each column                               # (D,)
        var  <- of each column, divided by N                 # (D,)
        xhat <- (x - mean) over the root of (var + eps)      # (N, D)
        y    <- gamma times xhat, plus beta                  # (N, D)
        ```"""),
        "The batch stands for the data: its mean and variance are what one can know about a feature at this "
        "step. ε keeps the root away from 0 for a feature that does not vary. γ and β, which are learned, can "
        "give the layer any other scale and centre it needs.",
    ])


# ---------------------------------------------------------------------------- batch_norm_conv

def batch_norm_conv(x, gamma, beta, eps=1e-5):
    """Oracle: torch.nn.functional.batch_norm."""
    return torch_batch_norm(x, gamma, beta, eps)


def conv_by_channels(x, gamma, beta, eps=1e-5):
    out = np.empty(x.shape)
    for c in range(x.shape[1]):
        channel = x[:, c]
        out[:, c] = gamma[c] * (channel - channel.mean()) / np.sqrt(channel.var() + eps) + beta[c]
    return out


def conv_by_rows(x, gamma, beta, eps=1e-5):
    rows = x.transpose(0, 2, 3, 1)
    flat = rows.reshape(-1, x.shape[1])
    flat = gamma * (flat - flat.mean(axis=0)) / np.sqrt(flat.var(axis=0) + eps) + beta
    return flat.reshape(rows.shape).transpose(0, 3, 1, 2)


def conv_by_einsum(x, gamma, beta, eps=1e-5):
    count = x.size / x.shape[1]
    mean = np.einsum("nchw->c", x) / count
    centred = x - mean[None, :, None, None]
    var = np.einsum("nchw,nchw->c", centred, centred) / count
    return centred * (gamma / np.sqrt(var + eps)).reshape(1, -1, 1, 1) + beta.reshape(1, -1, 1, 1)


def scaled(xhat, gamma, beta):
    return per_channel(gamma) * xhat + per_channel(beta)


def conv_by_reshape(x, gamma, beta, eps=1e-5):
    flat = np.ascontiguousarray(x).reshape(-1, x.shape[1])
    return (gamma * standardise(flat, 0, eps) + beta).reshape(x.shape)


def conv_reshaped_back(x, gamma, beta, eps=1e-5):
    rows = x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])
    return (gamma * standardise(rows, 0, eps) + beta).reshape(x.shape)


def conv_along_width(x, gamma, beta, eps=1e-5):
    return along_width(gamma, x) * standardise(x, (0, 2, 3), eps) + along_width(beta, x)


def conv_statistics_along_width(x, gamma, beta, eps=1e-5):
    mean, root = x.mean(axis=(0, 2, 3)), np.sqrt(x.var(axis=(0, 2, 3)) + eps)
    return scaled((x - along_width(mean, x)) / along_width(root, x), gamma, beta)


def conv_all_along_width(x, gamma, beta, eps=1e-5):
    mean, root = x.mean(axis=(0, 2, 3)), np.sqrt(x.var(axis=(0, 2, 3)) + eps)
    return (along_width(gamma, x) * (x - along_width(mean, x)) / along_width(root, x) + along_width(beta, x))


def conv_means_of_images(x, gamma, beta, eps=1e-5):
    var = x.var(axis=(2, 3), keepdims=True).mean(axis=0, keepdims=True)
    return scaled((x - x.mean(axis=(0, 2, 3), keepdims=True)) / np.sqrt(var + eps), gamma, beta)


def over(*axes):
    return lambda x, gamma, beta, eps=1e-5: scaled(standardise(x, axes, eps), gamma, beta)


def random_maps(rng, n=None):
    """A small batch of maps in which no channel is constant."""
    n, c, h, w = n or int(rng.integers(1, 4)), *(int(v) for v in rng.integers(1, 4, 3))
    x = rng.integers(-8, 9, (n, c, h, w + 1)) / 4
    x[0, :, 0, 0], x[-1, :, -1, -1] = 3, -2.5
    return x


def random_conv(rng):
    x = random_maps(rng)
    c = x.shape[1]
    return call(x, rng.integers(1, 9, c) / 4, rng.integers(-8, 9, c) / 4, eps=float(rng.choice([0.25, 0.01])))


BATCH_NORM_CONV = Exercise(
    id="batch_norm_conv", points=2,
    oracle=batch_norm_conv,
    probes=[call(np.array([[[[1.0, 3]]], [[[1, 3]]]]), np.array([4.0]), np.array([1.0]), eps=3.0),
            call(ints(10, 2, 3, 2, 4), np.array([2.0, -1, 0.5]), np.array([1.0, 0, -3]), eps=0.25),
            call(quarters(11, 1, 2, 3, 2), np.array([1.5, -2]), np.array([0.25, 4])),
            call(ints(12, 4, 3, 2, 3), np.array([1.0, 3, -0.5]), np.array([2.0, -1, 0.5]), eps=0.01),
            call(strided(quarters(13, 3, 2, 1, 5)), np.array([-1.0, 2]), np.array([0.0, 3]), eps=0.5),
            call(np.array([[[[2.0, 2, 2]], [[0.003, 0, -0.001]]], [[[2, 2, 2]], [[0.001, 0.002, 0]]]]),
                 np.array([2.0, 3]), np.array([-1.0, 0.5]))],
    random=random_conv,
    mistakes=[
        Mistake("over_the_batch_only", "Every position of a map gets its own mean and variance, over the images "
                "only. For maps the statistics run over both spatial axes too.",  # 72
                over(0)),
        Mistake("over_space_only", "Each image gets its own mean and variance in each channel. That is instance "
                "norm; batch norm also runs over the images.",  # 73
                over(2, 3)),
        Mistake("over_channels_and_space", "Each image gets one mean and one variance, over channels and space. "
                "That is layer norm; batch norm keeps the channels apart and joins the images.",  # 74
                over(1, 2, 3)),
        Mistake("over_everything", "All channels share one mean and one variance. Each channel has its own.",
                over(0, 1, 2, 3)),
        Mistake("over_batch_and_rows", "The statistics run over images and rows, but each column of a map has its "
                "own. Three of the four axes go.",
                over(0, 2)),
        Mistake("over_channels", "The statistics run over the channels of each pixel. It is the other way "
                "round: over all axes but the channels.",
                over(1)),
        Mistake("variance_of_each_image", "The variance is computed in each image and then averaged. That leaves "
                "out how the images differ from one another.",
                conv_means_of_images),
        Mistake("reshaped_without_moving_axes", "`x` is reshaped to rows of C numbers, but its channels are not "
                "its last axis, so the rows mix channels. Move the axis first.",  # 27
                conv_by_reshape),
        Mistake("reshaped_back_without_moving_axes", "The rows are reshaped straight to the shape of `x`. They come "
                "from an array whose channels are last: reshape to that one first, then move the axis back.",  # 27
                conv_reshaped_back),
        Mistake("along_the_width", "γ and β are lined up with the last axis, the width: that is how broadcasting "
                "reads an array of shape (C,). Give them the axes of height and width.",  # 84
                conv_along_width),
        Mistake("statistics_along_the_width", "Mean and variance, of shape (C,), are lined up with the last axis, "
                "the width: that is how broadcasting reads them. Give them the axes of height and width.",  # 84
                conv_statistics_along_width),
        Mistake("everything_along_the_width", "Arrays of shape (C,) are lined up with the last axis, the width: that "
                "is how broadcasting reads them. Give all four the axes of height and width.",  # 84
                conv_all_along_width),
        Mistake("unbiased_variance", "The variance is divided by N·H·W − 1. The normaliser uses the biased one, "
                "divided by N·H·W.",  # 75
                lambda x, gamma, beta, eps=1e-5: scaled(standardise(x, (0, 2, 3), eps, ddof=1), gamma, beta)),
        Mistake("eps_outside_the_root", "ε is added after the root is taken. It belongs to the variance, under "
                "the root.",  # 83
                lambda x, gamma, beta, eps=1e-5: scaled(
                    (x - x.mean(axis=(0, 2, 3), keepdims=True)) / (x.std(axis=(0, 2, 3), keepdims=True) + eps),
                    gamma, beta)),
        Mistake("eps_missing", "ε is not used. Look at a channel with the same value everywhere.",  # 83
                lambda x, gamma, beta, eps=1e-5: scaled(standardise(x, (0, 2, 3), 0.0), gamma, beta)),
        Mistake("eps_fixed", "ε is taken as 1e-5, whatever is passed. It is an argument.",  # 83
                lambda x, gamma, beta, eps=1e-5: scaled(standardise(x, (0, 2, 3), 1e-5), gamma, beta)),
        Mistake("root_missing", "It divides by the variance plus ε, without the root.",
                lambda x, gamma, beta, eps=1e-5: scaled(
                    (x - x.mean(axis=(0, 2, 3), keepdims=True)) / (x.var(axis=(0, 2, 3), keepdims=True) + eps),
                    gamma, beta)),
        Mistake("gamma_and_beta_ignored", "γ and β are not used: what is returned is only normalised.",  # 84
                lambda x, gamma, beta, eps=1e-5: standardise(x, (0, 2, 3), eps)),
        Mistake("gamma_ignored", "γ is not used: the normalised values are not scaled.",  # 84
                lambda x, gamma, beta, eps=1e-5: scaled(standardise(x, (0, 2, 3), eps), gamma ** 0, beta)),
        Mistake("beta_ignored", "β is not added.",  # 84
                lambda x, gamma, beta, eps=1e-5: scaled(standardise(x, (0, 2, 3), eps), gamma, 0 * beta)),
    ],
    alternatives=[conv_by_channels, conv_by_rows, conv_by_einsum],
    hints=[
        "A channel is one feature, measured at many places. How many numbers of `x` belong to channel 0?",
        dedent("""\
        Two images of one channel, 1×2 pixels each; γ = 4, β = 1, ε = 3:

        ```
        image 0     1  3
        image 1     1  3        4 numbers: mean 2, variance 1, root of 1 + 3 is 2
        normalised −½  ½        in both images
        y          −1  3        in both images
        ```"""),
        dedent("""\
        ```
        mean <- over images, rows and columns, one per channel           # (C,)
        var  <- the same, divided by N*H*W                               # (C,)
        give mean, var, gamma and beta the shape (C, 1, 1)
        xhat <- (x - mean) over the root of (var + eps)                  # (N, C, H, W)
        y    <- gamma times xhat, plus beta                              # (N, C, H, W)
        ```

        `mean` and `var` take a tuple of axes."""),
        "A filter is the same at every position, so what it finds at one position and at another is the same "
        "feature. Sharing mean and variance over positions keeps it so: the normalised map is the map that the "
        "same filter, scaled and shifted, would give.",
    ])


# ---------------------------------------------------------------------------- update_running

def update_running(running_mean, running_var, x, momentum=0.1):
    """Oracle: what torch.nn.functional.batch_norm leaves in its buffers."""
    import torch

    mean, var = tensor(running_mean), tensor(running_var)
    torch.nn.functional.batch_norm(tensor(x), mean, var, training=True, momentum=momentum)
    return mean.numpy(), var.numpy()


def running_by_numpy(running_mean, running_var, x, momentum=0.1):
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)
    return (1 - momentum) * running_mean + momentum * mean, (1 - momentum) * running_var + momentum * var


def running_by_steps(running_mean, running_var, x, momentum=0.1):
    means, variances = [], []
    for c, (m, v) in enumerate(zip(running_mean, running_var)):
        values = x[:, c].ravel()
        mean = sum(values) / len(values)
        means.append(m + momentum * (mean - m))
        variances.append(v + momentum * (sum((values - mean) ** 2) / (len(values) - 1) - v))
    return [means, variances]


def running_by_correction(running_mean, running_var, x, momentum=0.1):
    flat = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    n = flat.shape[1]
    weights = np.array([1 - momentum, momentum])
    return (weights @ np.stack([running_mean, flat.mean(axis=1)]),
            weights @ np.stack([running_var, flat.var(axis=1) * n / (n - 1)]))


def moved(running, batch, momentum):
    return (1 - momentum) * running + momentum * batch


def batch_statistics(x, ddof=1):
    return x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=ddof)


def running_changing_input(running_mean, running_var, x, momentum=0.1):
    running_mean[...], running_var[...] = running_by_numpy(running_mean, running_var, x, momentum)
    return running_mean, running_var


def running_corrected_by_images(running_mean, running_var, x, momentum=0.1):
    mean, var = batch_statistics(x, ddof=0)
    return moved(running_mean, mean, momentum), moved(running_var, var * len(x) / (len(x) - 1), momentum)


def running_var_of_images(running_mean, running_var, x, momentum=0.1):
    var = x.var(axis=(2, 3), ddof=1).mean(axis=0)
    return moved(running_mean, batch_statistics(x)[0], momentum), moved(running_var, var, momentum)


def running_var_about_running_mean(running_mean, running_var, x, momentum=0.1):
    mean = moved(running_mean, batch_statistics(x)[0], momentum)
    var = ((x - per_channel(mean)) ** 2).sum(axis=(0, 2, 3)) / (x.size / x.shape[1] - 1)
    return mean, moved(running_var, var, momentum)


def random_running(rng):
    x = random_maps(rng, n=int(rng.integers(2, 4)))
    c = x.shape[1]
    return call(rng.integers(-8, 9, c) / 4, rng.integers(1, 9, c) / 4, x,
                momentum=float(rng.choice([0.1, 0.25, 0.01])))


ONE_TO_FOUR = np.arange(1.0, 5).reshape(2, 1, 1, 2)

UPDATE_RUNNING = Exercise(
    id="update_running", points=2,
    oracle=update_running,
    probes=[call(np.array([0.0]), np.array([1.0]), ONE_TO_FOUR),
            call(np.array([1.0, -2, 0.5]), np.array([2.0, 4, 0.25]), ints(20, 2, 3, 2, 4), momentum=0.25),
            call(np.array([0.25, 3]), np.array([1.0, 0.5]), quarters(21, 4, 2, 1, 3)),
            call(np.array([-1.0, 2]), np.array([3.0, 1.5]), strided(ints(22, 3, 2, 3, 2)), momentum=0.01),
            call(np.array([0.5, -1.5, 2]), np.array([1.0, 2, 0.75]), quarters(23, 2, 3, 2, 2), momentum=1.0)],
    random=random_running,
    mistakes=[
        Mistake("biased_variance", "The batch's variance is divided by N·H·W. Running statistics take the "
                "unbiased one, divided by N·H·W − 1, although the normaliser does not.",  # 76
                lambda running_mean, running_var, x, momentum=0.1: (
                    moved(running_mean, batch_statistics(x)[0], momentum),
                    moved(running_var, batch_statistics(x, ddof=0)[1], momentum))),
        Mistake("momentum_the_other_way_round", "The old value is weighted with the momentum. In PyTorch's "
                "convention the momentum is the weight of the new batch.",  # 77
                lambda running_mean, running_var, x, momentum=0.1:
                running_by_numpy(running_mean, running_var, x, 1 - momentum)),
        Mistake("standard_deviation_stored", "The standard deviation of the batch is averaged in place of its "
                "variance.",  # 79
                lambda running_mean, running_var, x, momentum=0.1: (
                    moved(running_mean, batch_statistics(x)[0], momentum),
                    moved(running_var, np.sqrt(batch_statistics(x)[1]), momentum))),
        Mistake("batch_statistics_returned", "What is returned are the statistics of the batch. They have to be "
                "mixed into the running ones.",
                lambda running_mean, running_var, x, momentum=0.1: batch_statistics(x)),
        Mistake("old_value_not_shrunk", "The new part is added to the whole old value. The two weights must sum "
                "to 1.",
                lambda running_mean, running_var, x, momentum=0.1: (
                    running_mean + momentum * batch_statistics(x)[0],
                    running_var + momentum * batch_statistics(x)[1])),
        Mistake("momentum_fixed", "The momentum is taken as 0.1, whatever is passed. It is an argument.",
                lambda running_mean, running_var, x, momentum=0.1:
                running_by_numpy(running_mean, running_var, x, 0.1)),
        Mistake("equal_weights", "Old and new are averaged with equal weights. The momentum says how much the "
                "new batch counts.",
                lambda running_mean, running_var, x, momentum=0.1:
                running_by_numpy(running_mean, running_var, x, 0.5)),
        Mistake("corrected_by_the_number_of_images", "The variance is corrected by N / (N − 1). It was taken "
                "over N·H·W numbers, so that is the count to correct with.",  # 76
                running_corrected_by_images),
        Mistake("variance_of_each_image", "The variance is computed in each image and then averaged. That leaves "
                "out how the images differ from one another.",  # 73
                running_var_of_images),
        Mistake("variance_about_the_running_mean", "The variance is taken about the running mean. The batch's "
                "variance is about the batch's own mean.",
                running_var_about_running_mean),
        Mistake("mean_not_updated", "The running mean is returned as it was.",
                lambda running_mean, running_var, x, momentum=0.1: (
                    running_mean, moved(running_var, batch_statistics(x)[1], momentum))),
        Mistake("variance_not_updated", "The running variance is returned as it was.",
                lambda running_mean, running_var, x, momentum=0.1: (
                    moved(running_mean, batch_statistics(x)[0], momentum), running_var)),
        Mistake("exchanged", "The variance is returned first. The order is mean, variance.",
                lambda running_mean, running_var, x, momentum=0.1:
                running_by_numpy(running_mean, running_var, x, momentum)[::-1]),
        Mistake("changes_input", "The arrays that were passed in are changed.",  # 32
                running_changing_input),
    ],
    alternatives=[running_by_numpy, running_by_steps, running_by_correction],
    hints=[
        "With momentum 0.1, how much of the old value stays, and how much of the new batch comes in?",
        dedent("""\
        One channel, four numbers 1, 2, 3, 4; running mean 0, running variance 1, momentum 0.1:

        ```
        batch mean      2.5
        batch variance  (2.25 + 0.25 + 0.25 + 2.25) / 3 = 1.6667
        running mean     0.9 · 0 + 0.1 · 2.5    = 0.25
        running variance 0.9 · 1 + 0.1 · 1.6667 = 1.0667
        ```"""),
        dedent("""\
        ```
        mean <- of the batch, over images, rows and columns                 # (C,)
        var  <- the same, but divided by the count less one                 # (C,)
        result <- (1 - momentum) * running_mean + momentum * mean,
                  and the same for the variance                             # (C,), (C,)
        ```"""),
        "During training the batch itself is what gets normalised, and its own spread is the biased variance. "
        "The running variance has another task: it estimates the spread of data not in the batch, and dividing "
        "by the count would make that too small on average.",
    ])


# ---------------------------------------------------------------------------- batch_norm_backward

def batch_norm_backward(dy, x, gamma, eps=1e-5):
    """Oracle: torch's autograd through its batch_norm."""
    import torch

    xt, gt = tensor(x).requires_grad_(), tensor(gamma).requires_grad_()
    bt = torch.zeros_like(gt).requires_grad_()
    y = torch.nn.functional.batch_norm(xt, None, None, gt, bt, training=True, eps=eps)
    y.backward(tensor(dy))
    return xt.grad.numpy(), gt.grad.numpy(), bt.grad.numpy()


def backward_compact(dy, x, gamma, eps=1e-5):
    root = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / root
    g = dy * gamma
    return ((g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)) / root,
            (dy * xhat).sum(axis=0), dy.sum(axis=0))


def backward_step_by_step(dy, x, gamma, eps=1e-5):
    n = len(x)
    mean = x.sum(axis=0) / n
    centred = x - mean
    var = (centred ** 2).sum(axis=0) / n
    inverse = 1 / np.sqrt(var + eps)
    dxhat = dy * gamma
    dvar = (dxhat * centred).sum(axis=0) * -0.5 * inverse ** 3
    dmean = -(dxhat * inverse).sum(axis=0) + dvar * -2 * centred.sum(axis=0) / n
    dx = dxhat * inverse + dvar * 2 * centred / n + dmean / n
    return dx, (dy * centred * inverse).sum(axis=0), dy.sum(axis=0)


def backward_by_jacobian(dy, x, gamma, eps=1e-5):
    n, dx = len(x), np.zeros(x.shape)
    root = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / root
    for d in range(x.shape[1]):
        jacobian = (np.eye(n) - 1 / n - np.outer(xhat[:, d], xhat[:, d]) / n) * gamma[d] / root[d]
        dx[:, d] = jacobian.T @ dy[:, d]
    return dx, np.einsum("nd,nd->d", dy, xhat), np.ones(n) @ dy


def backward_with(dx):
    """A mistake in dx alone: `dx(g, xhat, root)` takes the gradient of xhat, xhat and the root."""
    def wrong(dy, x, gamma, eps=1e-5):
        root = np.sqrt(x.var(axis=0) + eps)
        xhat = (x - x.mean(axis=0)) / root
        return dx(dy * gamma, xhat, root), (dy * xhat).sum(axis=0), dy.sum(axis=0)
    return wrong


def backward_with_dy(dx):
    """The same with dy itself: `dx(g, dy, xhat, root)`."""
    return lambda dy, x, gamma, eps=1e-5: backward_with(lambda g, xhat, root: dx(g, dy, xhat, root))(dy, x, gamma, eps)


def backward_then(change):
    """A mistake made of the right answer: `change(dx, dgamma, dbeta, dy, x, gamma)`."""
    return lambda dy, x, gamma, eps=1e-5: change(*backward_compact(dy, x, gamma, eps), dy, x, gamma)


def backward_unbiased(dy, x, gamma, eps=1e-5):
    root = np.sqrt(x.var(axis=0, ddof=1) + eps)
    xhat, g = (x - x.mean(axis=0)) / root, dy * gamma
    dx = (g - g.mean(axis=0) - xhat * (g * xhat).sum(axis=0) / (len(x) - 1)) / root
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def backward_not_summed(dy, x, gamma, eps=1e-5):
    return backward_compact(dy, x, gamma, eps)[0], dy * standardise(x, 0, eps), dy


def random_backward(rng):
    n, d = int(rng.integers(3, 7)), int(rng.integers(1, 5))
    x = rng.integers(-8, 9, (n, d)) / 4
    x[0], x[1] = 3, -2.5
    return call(rng.integers(-8, 9, (n, d)) / 4 + 0.125, x, rng.integers(1, 9, d) / 4,
                eps=float(rng.choice([0.25, 0.5])))


BATCH_NORM_BACKWARD = Exercise(
    id="batch_norm_backward", points=3,
    oracle=batch_norm_backward,
    probes=[call(column(8, 0), column(1, 3), np.array([4.0]), eps=3.0),
            call(ints(30, 4, 3), ints(31, 4, 3), np.array([2.0, -1, 0.5]), eps=0.25),
            call(quarters(32, 5, 2), quarters(33, 5, 2), np.array([1.5, -2])),
            call(np.array([[1.0, 2], [-3, 0.5], [4, 1]]), np.array([[5.0, 0.25], [5, -1], [5, 2]]),
                 np.array([0.5, 3]), eps=0.25),
            call(strided(ints(34, 3, 4)), strided(quarters(35, 3, 4)), quarters(36, 4), eps=0.5),
            call(quarters(37, 6, 1), ints(38, 6, 1), np.array([-1.5]), eps=0.01)],
    random=random_backward,
    mistakes=[
        Mistake("statistics_as_constants", "Mean and variance are treated as constants. They depend on every "
                "x of the batch, so two more paths lead from x to y.",  # 85
                backward_with(lambda g, xhat, root: g / root)),
        Mistake("variance_as_a_constant", "The path through the mean is there, but not the one through the "
                "variance.",  # 85
                backward_with(lambda g, xhat, root: (g - g.mean(axis=0)) / root)),
        Mistake("mean_as_a_constant", "The path through the variance is there, but not the one through the "
                "mean: the column sums of dx are not 0.",  # 85
                backward_with(lambda g, xhat, root: (g - xhat * (g * xhat).mean(axis=0)) / root)),
        Mistake("sums_for_means", "The two corrections in dx are sums over the batch where they should be means: "
                "a factor 1/N is missing.",
                backward_with(lambda g, xhat, root: (g - g.sum(axis=0) - xhat * (g * xhat).sum(axis=0)) / root)),
        Mistake("corrections_added", "The two corrections in dx are added. Both have a minus.",
                backward_with(lambda g, xhat, root: (g + g.mean(axis=0) + xhat * (g * xhat).mean(axis=0)) / root)),
        Mistake("second_correction_without_xhat", "The correction for the variance is the same for all examples. "
                "It grows with an example's distance from the mean: a factor x̂ is missing.",
                backward_with(lambda g, xhat, root: (g - g.mean(axis=0) - (g * xhat).mean(axis=0)) / root)),
        Mistake("root_missing", "dx is not divided by the root of variance plus ε.",
                backward_with(lambda g, xhat, root: g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0))),
        Mistake("divided_by_the_variance", "dx is divided by the variance plus ε. It should be its root.",
                backward_with(lambda g, xhat, root:
                              (g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)) / root ** 2)),
        Mistake("gamma_missing_in_dx", "dx does not contain γ. On its way back the gradient passes the scaling "
                "first.",  # 84
                backward_then(lambda dx, dgamma, dbeta, dy, x, gamma: (dx / gamma, dgamma, dbeta))),
        Mistake("gamma_missing_in_a_correction", "The mean of the gradient times x̂ is taken without γ. Multiply `dy` "
                "by γ first, and use the product in all three terms of dx.",
                backward_with_dy(lambda g, dy, xhat, root:
                                 (g - g.mean(axis=0) - xhat * (dy * xhat).mean(axis=0)) / root)),
        Mistake("gamma_missing_in_both_corrections", "The means in the two corrections are taken without γ. Multiply "
                "`dy` by γ first, and use the product in all three terms of dx.",
                backward_with_dy(lambda g, dy, xhat, root:
                                 (g - dy.mean(axis=0) - xhat * (dy * xhat).mean(axis=0)) / root)),
        Mistake("means_over_everything", "The two corrections in dx are means over the whole table. Each feature has "
                "its own: take them over the batch only.",
                backward_with(lambda g, xhat, root: (g - g.mean() - xhat * (g * xhat).mean()) / root)),
        Mistake("averaged", "dγ and dβ are divided by N. Each is a sum: the loss depends on γ through every "
                "example.",  # 86
                backward_then(lambda dx, dgamma, dbeta, dy, x, gamma: (dx, dgamma / len(x), dbeta / len(x)))),
        Mistake("not_summed", "dγ and dβ have one row for each example. γ and β are shared by the batch, so their "
                "gradients are summed over it.",  # 42
                backward_not_summed),
        Mistake("dgamma_with_x", "dγ is computed with x. What γ multiplies is x̂.",
                backward_then(lambda dx, dgamma, dbeta, dy, x, gamma: (dx, (dy * x).sum(axis=0), dbeta))),
        Mistake("gamma_in_dgamma_and_dbeta", "dγ and dβ contain γ. They branch off before the gradient passes the "
                "scaling.",
                backward_then(lambda dx, dgamma, dbeta, dy, x, gamma: (dx, dgamma * gamma, dbeta * gamma))),
        Mistake("dgamma_and_dbeta_exchanged", "dγ and dβ have changed places. The order is dx, dγ, dβ.",
                backward_then(lambda dx, dgamma, dbeta, dy, x, gamma: (dx, dbeta, dgamma))),
        Mistake("unbiased_variance", "The variance is divided by N − 1. The layer divides by N.",  # 75
                backward_unbiased),
        Mistake("eps_fixed", "ε is taken as 1e-5, whatever is passed. It is an argument.",  # 83
                lambda dy, x, gamma, eps=1e-5: backward_compact(dy, x, gamma)),
        Mistake("ones_for_dy", "The gradient that arrives, `dy`, is not used: it is taken as all ones.",  # 54
                lambda dy, x, gamma, eps=1e-5: backward_compact(np.ones(dy.shape), x, gamma, eps)),
    ],
    alternatives=[backward_compact, backward_step_by_step, backward_by_jacobian],
    hints=[
        "If one x of a feature changes, which of the outputs of that feature change? Through what?",
        dedent("""\
        One feature of two examples, x = 1, 3, γ = 4, ε = 3, so the root is 2 and x̂ = −½, ½. Let dy = 8, 0:

        ```
        g = γ · dy                 32     0
        mean of g                  16            g − mean         16   −16
        mean of g · x̂             −8            x̂ · mean          4    −4
        difference                 12   −12
        dx = difference / root      6    −6
        dγ = 8 · (−½) + 0 · ½ = −4        dβ = 8 + 0 = 8
        ```"""),
        dedent("""\
        ```
        root, xhat <- as in the forward pass                     # (D,), (N, D)
        dbeta      <- sum of dy over the batch                   # (D,)
        dgamma     <- sum of dy times xhat over the batch        # (D,)
        g          <- the gradient of xhat: gamma times dy       # (N, D)
        dx         <- g less its mean, less xhat times the mean of (g times xhat),
                      all divided by root                        # (N, D)
        ```"""),
        "Subtracting the mean removes from x whatever is common to the batch, and dividing by the root removes its "
        "scale. What the layer removes, the loss cannot depend on, so the backward pass removes the same two parts "
        "from the gradient: its mean, and its component along x̂.",
    ])


# ---------------------------------------------------------------------------- BatchNorm2d

class BatchNorm2d:
    """Oracle: torch.nn.BatchNorm2d in float64."""

    def __init__(self, weight, bias, eps=1e-5, momentum=0.1):
        import torch

        self.layer = torch.nn.BatchNorm2d(len(weight), eps=eps, momentum=momentum, dtype=torch.float64)
        with torch.no_grad():
            self.layer.weight.copy_(tensor(weight))
            self.layer.bias.copy_(tensor(bias))

    def train(self):
        self.layer.train()

    def eval(self):
        self.layer.eval()

    def forward(self, x):
        self.x = tensor(x).requires_grad_()
        self.y = self.layer(self.x)
        return self.y.detach().numpy()

    def backward(self, dy):
        self.layer.zero_grad()
        self.y.backward(tensor(dy))
        return self.x.grad.numpy()

    training = property(lambda self: self.layer.training)
    running_mean = property(lambda self: self.layer.running_mean.numpy().copy())
    running_var = property(lambda self: self.layer.running_var.numpy().copy())
    grad_weight = property(lambda self: self.layer.weight.grad.numpy().copy())
    grad_bias = property(lambda self: self.layer.bias.grad.numpy().copy())


class LayerByAxes:
    """A right answer in NumPy; mistakes change one of its parts."""

    axes, ddof, running_ddof, first_var, counts = (0, 2, 3), 0, 1, 1.0, 1

    def __init__(self, weight, bias, eps=1e-5, momentum=0.1):
        self.weight, self.bias, self.eps, self.momentum = weight, bias, eps, momentum
        self.running_mean = np.zeros(len(weight))
        self.running_var = np.full(len(weight), self.first_var)
        self.training = True

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def batch(self, x):
        keep = {"axis": self.axes, "keepdims": True}
        return x.mean(**keep), x.var(ddof=self.ddof, **keep)

    def running(self):
        return per_channel(self.running_mean), per_channel(self.running_var)

    def update(self, x):
        mean, var = batch_statistics(x, self.running_ddof)
        self.running_mean = moved(self.running_mean, mean, self.momentum)
        self.running_var = moved(self.running_var, var, self.momentum)

    def statistics(self, x):
        if not self.training:
            return self.running()
        self.update(x)
        return self.batch(x)

    def forward(self, x):
        mean, var = self.statistics(x)
        self.root = np.sqrt(var + self.eps)
        self.xhat = (x - mean) / self.root
        return self.scale(self.xhat)

    def scale(self, xhat):
        return scaled(xhat, self.weight, self.bias)

    def gradients(self, dy):
        self.grad_weight = (dy * self.xhat).sum(axis=(0, 2, 3)) / self.counts
        self.grad_bias = dy.sum(axis=(0, 2, 3)) / self.counts

    def backward(self, dy):
        self.gradients(dy)
        return self.dx(per_channel(self.weight) * dy)

    def dx(self, g):
        keep = {"axis": (0, 2, 3), "keepdims": True}
        return (g - g.mean(**keep) - self.xhat * (g * self.xhat).mean(**keep)) / self.root


class LayerByChannels:
    """Another right answer: channel by channel, with lists."""

    def __init__(self, weight, bias, eps=1e-5, momentum=0.1):
        self.weight, self.bias, self.eps, self.momentum = weight, bias, eps, momentum
        self.running_mean, self.running_var = [0.0] * len(weight), [1.0] * len(weight)
        self.training = True

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def forward(self, x):
        out, self.kept = np.zeros(x.shape), []
        for c in range(x.shape[1]):
            values, m = x[:, c], self.momentum
            mean, var = self.running_mean[c], self.running_var[c]
            if self.training:
                mean, var = values.mean(), values.var()
                n = values.size
                self.running_mean[c] += m * (mean - self.running_mean[c])
                self.running_var[c] += m * (var * n / (n - 1) - self.running_var[c])
            xhat = (values - mean) / (var + self.eps) ** 0.5
            self.kept.append((xhat, (var + self.eps) ** 0.5))
            out[:, c] = self.weight[c] * xhat + self.bias[c]
        return out

    def backward(self, dy):
        dx, self.grad_weight, self.grad_bias = np.zeros(dy.shape), [], []
        for c, (xhat, root) in enumerate(self.kept):
            d = dy[:, c]
            self.grad_weight.append((d * xhat).sum())
            self.grad_bias.append(d.sum())
            dx[:, c] = self.weight[c] / root * (d - d.mean() - xhat * (d * xhat).mean())
        return dx


class LayerByRows(LayerByAxes):
    """Another right answer: the channels as columns of a table, and the dense functions."""

    def rows(self, x):
        return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])

    def maps(self, rows, shape):
        return rows.reshape(shape[0], *shape[2:], shape[1]).transpose(0, 3, 1, 2)

    def forward(self, x):
        self.x = self.rows(x)
        if self.training:
            self.running_mean, self.running_var = running_by_numpy(
                self.running_mean, self.running_var, x, self.momentum)
            return self.maps(dense_by_transposing(self.x, self.weight, self.bias, self.eps), x.shape)
        scale = self.weight / np.sqrt(self.running_var + self.eps)
        return self.maps(self.x * scale + (self.bias - self.running_mean * scale), x.shape)

    def backward(self, dy):
        dx, self.grad_weight, self.grad_bias = backward_step_by_step(self.rows(dy), self.x, self.weight, self.eps)
        return self.maps(dx, dy.shape)


def layer_with(**parts):
    """A class that is right but for these parts of LayerByAxes."""
    return type("BatchNorm2d", (LayerByAxes,), parts)


def _update_biased(self, x):
    mean, var = batch_statistics(x, ddof=0)
    self.running_mean = moved(self.running_mean, mean, self.momentum)
    self.running_var = moved(self.running_var, var, self.momentum)


def _update_reversed(self, x):
    mean, var = batch_statistics(x)
    self.running_mean = moved(self.running_mean, mean, 1 - self.momentum)
    self.running_var = moved(self.running_var, var, 1 - self.momentum)


def _update_fixed(self, x):
    self.running_mean, self.running_var = running_by_numpy(self.running_mean, self.running_var, x)


def _update_std(self, x):
    mean, var = batch_statistics(x)
    self.running_mean = moved(self.running_mean, mean, self.momentum)
    self.running_var = moved(self.running_var, np.sqrt(var), self.momentum)


def _update_twice(self, x):
    LayerByAxes.update(self, x)
    LayerByAxes.update(self, x)


def _always_batch(self, x):
    if self.training:
        self.update(x)
    return self.batch(x)


def _always_running(self, x):
    if self.training:
        self.update(x)
    return self.running()


def _update_always(self, x):
    self.update(x)
    return self.batch(x) if self.training else self.running()


def _mode_ignored(self, x):
    self.update(x)
    return self.batch(x)


def _momentum_mean_only(self, x):
    self.running_mean = moved(self.running_mean, batch_statistics(x)[0], self.momentum)


def _not_scaled_in_evaluation(self, xhat):
    return scaled(xhat, self.weight, self.bias) if self.training else xhat


def _eps_outside(self, x):
    mean, var = self.statistics(x)
    self.root = np.sqrt(var) + self.eps
    self.xhat = (x - mean) / self.root
    return self.scale(self.xhat)


def _eps_fixed(self, x):
    self.eps = 1e-5
    return LayerByAxes.forward(self, x)


def _eps_missing_in_evaluation(self, x):
    mean, var = self.statistics(x)
    self.root = np.sqrt(var + self.eps * self.training)
    self.xhat = (x - mean) / self.root
    return self.scale(self.xhat)


def _pile_up(self, dy):
    before = getattr(self, "grad_weight", 0), getattr(self, "grad_bias", 0)
    LayerByAxes.gradients(self, dy)
    self.grad_weight, self.grad_bias = self.grad_weight + before[0], self.grad_bias + before[1]


def _averaged_over_positions(self, dy):
    count = dy.size / dy.shape[1]
    self.grad_weight = (dy * self.xhat).sum(axis=(0, 2, 3)) / count
    self.grad_bias = dy.sum(axis=(0, 2, 3)) / count


def _averaged_over_images(self, dy):
    self.grad_weight = (dy * self.xhat).sum(axis=(0, 2, 3)) / len(dy)
    self.grad_bias = dy.sum(axis=(0, 2, 3)) / len(dy)


def _divided_by_images(self, g):
    keep = {"axis": (0, 2, 3), "keepdims": True}
    n = len(g)
    return (g - g.sum(**keep) / n - self.xhat * (g * self.xhat).sum(**keep) / n) / self.root


def _means_over_batch(self, g):
    keep = {"axis": 0, "keepdims": True}
    return (g - g.mean(**keep) - self.xhat * (g * self.xhat).mean(**keep)) / self.root


TRAINING, RUNNING, EVALUATION, BACKWARD = "training", "running statistics", "evaluation", "backward"
READ = [("running_mean", None), ("running_var", None)]
GRADS = [("grad_weight", None), ("grad_bias", None)]


def layer_call(part, weight, bias, x, x2, dy, dy2, **settings):
    """A probe of one part of the layer, whose steps belong to that part."""
    steps = {
        TRAINING: [("training", None), ("forward", {"x": x}), ("forward", {"x2": x2})],
        RUNNING: [*READ, ("forward", {"x": x}), *READ, ("forward", {"x2": x2}), *READ],
        EVALUATION: [("forward", {"x": x}), ("eval", {}), ("training", None), ("forward", {"x2": x2}), *READ,
                     ("train", {}), ("forward", {"x3": x2})],
        BACKWARD: [("forward", {"x": x}), ("backward", {"dy": dy}), *GRADS,
                   ("forward", {"x2": x2}), ("backward", {"dy2": dy2}), *GRADS]}
    return call(weight, bias, **settings, part=part, steps=steps[part])


def layer_probe(part, seed, first, second, draw, **settings):
    c = first[1]
    weight, bias = ints(seed, c) + 0.5, quarters(seed + 1, c)
    return layer_call(part, weight, bias, draw(seed + 2, *first), draw(seed + 3, *second),
                      quarters(seed + 4, *first), quarters(seed + 5, *second), **settings)


def random_layer(rng):
    x = random_maps(rng, n=int(rng.integers(2, 4)))
    x2 = rng.integers(-8, 9, (x.shape[0] + 1, *x.shape[1:])) / 4
    x2[0, :, 0, 0], x2[-1, :, -1, -1] = 3, -2.5
    c = x.shape[1]
    part = (TRAINING, RUNNING, EVALUATION, BACKWARD)[rng.integers(4)]
    return layer_call(part, rng.integers(1, 9, c) / 4, rng.integers(-8, 9, c) / 4, x, x2,
                      rng.integers(-8, 9, x.shape) / 4 + 0.125, rng.integers(-8, 9, x2.shape) / 4 + 0.125,
                      eps=float(rng.choice([0.25, 0.5])), momentum=float(rng.choice([0.1, 0.25])))


TWO = np.array([[[[1.0, 3]]], [[[1, 3]]]])
FOUR = np.array([[[[0.0, 4]]], [[[4, 0]]]])
UP, UP2 = np.array([[[[8.0, 0]]], [[[4, 4]]]]), np.array([[[[1.0, 2]]], [[[-3, 0]]]])

BATCH_NORM_2D = Exercise(
    id="batch_norm_layer", points=3,
    oracle=BatchNorm2d,
    probes=[layer_call(part, np.array([4.0]), np.array([1.0]), TWO, FOUR, UP, UP2, eps=3.0)
            for part in (TRAINING, RUNNING, EVALUATION, BACKWARD)]
    + [layer_probe(TRAINING, 40, (3, 2, 1, 2), (1, 2, 3, 2), ints, eps=0.25),
       layer_probe(RUNNING, 50, (2, 3, 2, 4), (4, 3, 1, 2), quarters, momentum=0.25),
       layer_probe(EVALUATION, 60, (2, 3, 2, 2), (1, 3, 2, 4), ints, eps=0.5, momentum=0.25),
       layer_probe(EVALUATION, 70, (3, 2, 2, 1), (2, 2, 1, 2), quarters),
       layer_probe(BACKWARD, 80, (2, 3, 2, 3), (4, 3, 1, 2), ints, eps=0.5)],
    random=random_layer,
    mistakes=[
        Mistake("mode_ignored", "`training` makes no difference: also in evaluation mode the statistics of the "
                "batch are used, and the running ones updated.",  # 80, 82, 102
                layer_with(statistics=_mode_ignored)),
        Mistake("evaluates_on_the_batch", "In evaluation mode the statistics of the batch are still used. That "
                "is what the running statistics were kept for.",  # 80
                layer_with(statistics=_always_batch)),
        Mistake("trains_on_running_statistics", "In training mode the running statistics are used. They are for "
                "evaluation; training normalises with the batch's own.",  # 81
                layer_with(statistics=_always_running)),
        Mistake("updates_in_evaluation", "The running statistics change in evaluation mode. Then the answer to "
                "one image depends on the images before it.",  # 82
                layer_with(statistics=_update_always)),
        Mistake("updates_twice", "The running statistics are updated twice in each step.",  # 82
                layer_with(update=_update_twice)),
        Mistake("never_updates", "The running statistics stay as they were made. Each forward pass in training "
                "mode moves them.",
                layer_with(update=lambda self, x: None)),
        Mistake("variance_not_updated", "The running variance stays as it was made. It moves like the mean.",
                layer_with(update=_momentum_mean_only)),
        Mistake("running_variance_starts_at_0", "The running variance starts at 0. It starts at 1, so that a "
                "fresh layer in evaluation mode changes little.",  # 78
                layer_with(first_var=0.0)),
        Mistake("biased_running_variance", "The running variance takes the biased variance. It takes the "
                "unbiased one, divided by N·H·W − 1.",  # 76
                layer_with(update=_update_biased)),
        Mistake("momentum_the_other_way_round", "The old running value is weighted with the momentum. In PyTorch's "
                "convention the momentum is the weight of the new batch.",  # 77
                layer_with(update=_update_reversed)),
        Mistake("momentum_fixed", "The momentum is taken as 0.1, whatever is passed. It is an argument.",
                layer_with(update=_update_fixed)),
        Mistake("standard_deviation_stored", "The running variance averages standard deviations.",  # 79
                layer_with(update=_update_std)),
        Mistake("unbiased_normaliser", "The forward pass divides by the unbiased standard deviation. Only the "
                "running variance is unbiased.",  # 75
                layer_with(ddof=1)),
        Mistake("instance_statistics", "Each image is normalised on its own. Batch norm runs over the images "
                "too.",  # 73
                layer_with(axes=(2, 3))),
        Mistake("eps_outside_the_root", "ε is added after the root is taken. It belongs under the root.",  # 83
                layer_with(forward=_eps_outside)),
        Mistake("eps_fixed", "ε is taken as 1e-5, whatever is passed. It is an argument.",  # 83
                layer_with(forward=_eps_fixed)),
        Mistake("eps_missing_in_evaluation", "In evaluation mode ε is missing under the root.",  # 83
                layer_with(forward=_eps_missing_in_evaluation)),
        Mistake("not_scaled_in_evaluation", "In evaluation mode weight and bias are not applied. Only the "
                "statistics differ between the modes.",  # 84
                layer_with(scale=_not_scaled_in_evaluation)),
        Mistake("statistics_as_constants", "`backward` treats mean and variance as constants.",  # 85
                layer_with(dx=lambda self, g: g / self.root)),
        Mistake("divided_by_images", "The two corrections in `backward` are divided by N. The statistics ran over "
                "N·H·W numbers, so that is the count.",  # 85
                layer_with(dx=_divided_by_images)),
        Mistake("means_over_the_batch_only", "The two corrections in `backward` are means over the images only. "
                "The forward pass ran over the spatial axes too.",
                layer_with(dx=_means_over_batch)),
        Mistake("weight_missing_in_dx", "`weight` is missing in dx.",  # 84
                layer_with(backward=lambda self, dy: (self.gradients(dy), self.dx(dy))[1])),
        Mistake("gradients_averaged_over_images", "The gradients of weight and bias are divided by N. They are "
                "sums.",  # 86
                layer_with(gradients=_averaged_over_images)),
        Mistake("gradients_averaged", "The gradients of weight and bias are means over N·H·W. They are sums.",  # 86
                layer_with(gradients=_averaged_over_positions)),
        Mistake("gradients_pile_up", "The gradients of the last call are still in those of this one. Each "
                "`backward` overwrites them.",  # 57
                layer_with(gradients=_pile_up)),
    ],
    alternatives=[LayerByAxes, LayerByChannels, LayerByRows],
    hints=[
        "Which lines of `forward` are the same in both modes, and which two numbers differ?",
        dedent("""\
        One channel, weight 4, bias 1, ε = 3, momentum 0.1; the batch is 1, 3 | 1, 3:

        ```
        step          normalises with      output       running mean   running variance
        made                                              0              1
        forward       mean 2, variance 1   −1  3 | −1  3  0.2            0.9 · 1 + 0.1 · 4/3 = 1.0333
        eval, forward the running ones     2.59 6.58 | … 0.2            1.0333
        ```"""),
        dedent("""\
        ```
        forward(x):
            if training: mean, var <- of the batch; move the running statistics (unbiased!)
            else:        mean, var <- the running statistics
            root, xhat <- keep both for backward
            return weight * xhat + bias
        backward(dy):
            grad_bias, grad_weight <- sums over images, rows and columns            # (C,), (C,)
            g <- weight * dy
            return (g - mean of g - xhat * mean of (g * xhat)) / root               # (N, C, H, W)
        ```

        Every mean and sum runs over the axes (0, 2, 3)."""),
        "The two modes exist because an answer should not depend on its company, while training wants the "
        "statistics of this very moment. In between, the running statistics carry what training saw over to "
        "evaluation, which must read them and never change them.",
    ])


# ---------------------------------------------------------------------------- fold_batch_norm

def fold_batch_norm(weight, bias, gamma, beta, mean, var, eps=1e-5):
    """Oracle: torch.nn.utils.fusion.fuse_conv_bn_weights."""
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    w, b = fuse_conv_bn_weights(tensor(weight), tensor(bias), tensor(mean), tensor(var), eps, tensor(gamma),
                                tensor(beta))
    return w.detach().numpy(), b.detach().numpy()


def fold_by_scale(weight, bias, gamma, beta, mean, var, eps=1e-5):
    scale = gamma / np.sqrt(var + eps)
    return weight * scale[:, None, None, None], (bias - mean) * scale + beta


def fold_by_filters(weight, bias, gamma, beta, mean, var, eps=1e-5):
    weights, biases = [], []
    for o in range(len(weight)):
        root = (var[o] + eps) ** 0.5
        weights.append(gamma[o] * weight[o] / root)
        biases.append(gamma[o] * bias[o] / root - gamma[o] * mean[o] / root + beta[o])
    return np.stack(weights), np.array(biases)


def fold_by_einsum(weight, bias, gamma, beta, mean, var, eps=1e-5):
    scale = np.diag(gamma * (var + eps) ** -0.5)
    return np.einsum("po,oihw->pihw", scale, weight), scale @ (bias - mean) + beta


def folded(new_weight=None, new_bias=None):
    """A mistake in one of the two: functions of (weight or bias, gamma, beta, mean, scale)."""
    def wrong(weight, bias, gamma, beta, mean, var, eps=1e-5):
        right = fold_by_scale(weight, bias, gamma, beta, mean, var, eps)
        scale = gamma / np.sqrt(var + eps)
        return (new_weight(weight, scale) if new_weight else right[0],
                new_bias(bias, beta, mean, scale) if new_bias else right[1])
    return wrong


def fold_along_input(weight, bias, gamma, beta, mean, var, eps=1e-5):
    scale = gamma / np.sqrt(var + eps)
    return weight * scale[:, None, None], (bias - mean) * scale + beta


def fold_along_width(weight, bias, gamma, beta, mean, var, eps=1e-5):
    scale = gamma / np.sqrt(var + eps)
    return weight * along_width(scale, weight), (bias - mean) * scale + beta


def fold_without_root(weight, bias, gamma, beta, mean, var, eps=1e-5):
    return fold_by_scale(weight, bias, gamma, beta, mean, (var + eps) ** 2, 0.0)


def fold_bias_without_gamma(weight, bias, gamma, beta, mean, var, eps=1e-5):
    return (fold_by_scale(weight, bias, gamma, beta, mean, var, eps)[0],
            fold_by_scale(weight, bias, gamma ** 0, beta, mean, var, eps)[1])


def random_fold(rng):
    o, i, kh, kw = (int(v) for v in rng.integers(1, 4, 4))
    return call(rng.integers(-8, 9, (o, i, kh, kw)) / 4, rng.integers(-8, 9, o) / 4, rng.integers(1, 9, o) / 4,
                rng.integers(-8, 9, o) / 4, rng.integers(-8, 9, o) / 4, rng.integers(1, 9, o) / 4,
                eps=float(rng.choice([0.25, 0.01])))


FOLD_BATCH_NORM = Exercise(
    id="fold_batch_norm", points=2,
    oracle=fold_batch_norm,
    probes=[call(np.full((1, 1, 1, 1), 3.0), np.array([5.0]), np.array([4.0]), np.array([1.0]), np.array([2.0]),
                 np.array([1.0]), eps=3.0),
            call(ints(90, 2, 3, 1, 2), np.array([1.0, -2]), np.array([2.0, 0.5]), np.array([1.0, 3]),
                 np.array([0.5, -1.0]), np.array([0.75, 3.75]), eps=0.25),
            call(quarters(91, 3, 2, 2, 3), quarters(92, 3), np.array([1.5, -2, 0.25]), quarters(93, 3),
                 ints(94, 3), np.array([0.5, 2, 4])),
            call(strided(ints(95, 2, 2, 2, 2)), np.array([0.5, -1.5]), np.array([-1.0, 3]), np.array([2.0, 0.25]),
                 np.array([1.0, -2]), np.array([1.0, 0.25]), eps=0.5),
            call(ints(96, 3, 3, 1, 1), np.array([0.5, 4, -1]), np.array([1.0, 2, 0.5]), np.array([-1.0, 0.5, 2]),
                 np.array([3.0, -0.5, 1]), np.array([0.0, 1, 2.5]), eps=0.01)],
    random=random_fold,
    mistakes=[
        Mistake("bias_not_scaled", "The convolution's own bias keeps its size. It passes through batch norm like "
                "everything that the convolution gives, so it is scaled too.",
                folded(new_bias=lambda bias, beta, mean, scale: bias - mean * scale + beta)),
        Mistake("bias_dropped", "The convolution's own bias is lost. In evaluation mode nothing cancels it.",  # 87
                folded(new_bias=lambda bias, beta, mean, scale: beta - mean * scale)),
        Mistake("mean_missing", "The running mean is not subtracted.",
                folded(new_bias=lambda bias, beta, mean, scale: bias * scale + beta)),
        Mistake("mean_not_scaled", "The running mean is subtracted as it is. Batch norm subtracts it before the "
                "scaling.",
                folded(new_bias=lambda bias, beta, mean, scale: bias * scale - mean + beta)),
        Mistake("beta_scaled", "β is scaled as well. It is added after the scaling.",
                folded(new_bias=lambda bias, beta, mean, scale: (bias - mean + beta) * scale)),
        Mistake("beta_missing", "β is missing in the new bias.",
                folded(new_bias=lambda bias, beta, mean, scale: (bias - mean) * scale)),
        Mistake("mean_added", "The running mean is added. Batch norm subtracts it.",
                folded(new_bias=lambda bias, beta, mean, scale: (bias + mean) * scale + beta)),
        Mistake("bias_unchanged", "The bias is returned as it was: batch norm's shift is lost.",
                folded(new_bias=lambda bias, beta, mean, scale: bias)),
        Mistake("weight_not_scaled", "The weight is returned as it was: batch norm's scale is lost.",
                folded(new_weight=lambda weight, scale: weight)),
        Mistake("scaled_along_the_input", "The scale is lined up with the input channels. Batch norm acts on what "
                "comes out, so each filter, axis 0 of `weight`, gets its own factor.",  # 84
                fold_along_input),
        Mistake("scaled_along_the_width", "The scale is lined up with the last axis of `weight`, the width of the "
                "kernel. Each filter, axis 0, gets its own factor.",  # 84
                fold_along_width),
        Mistake("gamma_missing_in_the_bias", "The new bias is divided by the root but not multiplied by γ. What "
                "scales the weight scales the bias too.",
                fold_bias_without_gamma),
        Mistake("eps_outside_the_root", "ε is added after the root is taken. It belongs to the variance, under "
                "the root.",  # 83
                lambda weight, bias, gamma, beta, mean, var, eps=1e-5:
                fold_by_scale(weight, bias, gamma, beta, mean, (np.sqrt(var) + eps) ** 2, 0.0)),
        Mistake("gamma_missing", "γ is not part of the scale.",
                lambda weight, bias, gamma, beta, mean, var, eps=1e-5:
                fold_by_scale(weight, bias, gamma ** 0, beta, mean, var, eps)),
        Mistake("root_missing", "It divides by the variance plus ε, without the root.",
                fold_without_root),
        Mistake("eps_missing", "ε is missing under the root.",  # 83
                lambda weight, bias, gamma, beta, mean, var, eps=1e-5:
                fold_by_scale(weight, bias, gamma, beta, mean, var, 0.0)),
        Mistake("eps_fixed", "ε is taken as 1e-5, whatever is passed. It is an argument.",  # 83
                lambda weight, bias, gamma, beta, mean, var, eps=1e-5:
                fold_by_scale(weight, bias, gamma, beta, mean, var)),
    ],
    alternatives=[fold_by_scale, fold_by_filters, fold_by_einsum],
    hints=[
        "In evaluation mode, what does batch norm do to one channel? Write it as: a number times the channel, "
        "plus a number.",
        dedent("""\
        One filter of one weight, 3, with bias 5; γ = 4, β = 1, running mean 2, variance 1, ε = 3:

        ```
        convolution    z = 3 x + 5
        batch norm     y = 4 · (z − 2) / 2 + 1 = 2 (3 x + 5 − 2) + 1
        together       y = 6 x + 7
        ```"""),
        dedent("""\
        ```
        scale      <- gamma over the root of (var + eps)            # (C_out,)
        new weight <- each filter times its scale                   # (C_out, C_in, kH, kW)
        new bias   <- what becomes of bias, mean and beta when x is 0   # (C_out,)
        ```"""),
        "With fixed statistics batch norm is an affine map of each channel, and a convolution is affine too. Two "
        "affine maps in a row are one. In training mode this is impossible: there the statistics depend on the "
        "input.",
    ])


# ---------------------------------------------------------------------------- local_response_norm

def local_response_norm(x, n=5, k=2.0, alpha=1e-4, beta=0.75):
    """Oracle: torch.nn.functional.local_response_norm, which divides alpha by n."""
    import torch

    return torch.nn.functional.local_response_norm(tensor(x), n, alpha * n, beta, k).numpy()


def lrn_by_channels(x, n=5, k=2.0, alpha=1e-4, beta=0.75):
    out = np.zeros(x.shape)
    for i in range(x.shape[1]):
        near = x[:, max(0, i - n // 2):i + n // 2 + 1]
        out[:, i] = x[:, i] / (k + alpha * (near ** 2).sum(axis=1)) ** beta
    return out


def lrn_by_padding(x, n=5, k=2.0, alpha=1e-4, beta=0.75):
    squares = np.pad(x ** 2, ((0, 0), (n // 2, n // 2), (0, 0), (0, 0)))
    total = sum(squares[:, j:j + x.shape[1]] for j in range(n))
    return x * (k + alpha * total) ** -beta


def lrn_by_matrix(x, n=5, k=2.0, alpha=1e-4, beta=0.75):
    channels = np.arange(x.shape[1])
    near = np.abs(channels[:, None] - channels) <= n // 2
    return x / (k + alpha * np.einsum("ij,njhw->nihw", near.astype(float), x ** 2)) ** beta


def lrn_with(total, settings=lambda n, k, alpha, beta: (n, k, alpha, beta)):
    """A mistake in the sum over the neighbours, `total(x, i, n)`, or in a setting."""
    def wrong(x, n=5, k=2.0, alpha=1e-4, beta=0.75):
        n, k, alpha, beta = settings(n, k, alpha, beta)
        sums = np.stack([total(x, i, n) for i in range(x.shape[1])], axis=1)
        return x / (k + alpha * sums) ** beta
    return wrong


def near(x, i, n):
    return x[:, max(0, i - n // 2):i + n // 2 + 1]


def squares(x, i, n):
    return (near(x, i, n) ** 2).sum(axis=1)


def lrn_in_space(x, n=5, k=2.0, alpha=1e-4, beta=0.75):
    total = np.zeros(x.shape)
    for r in range(x.shape[2]):
        for c in range(x.shape[3]):
            part = x[:, :, max(0, r - n // 2):r + n // 2 + 1, max(0, c - n // 2):c + n // 2 + 1]
            total[:, :, r, c] = (part ** 2).sum(axis=(2, 3))
    return x / (k + alpha * total) ** beta


def lrn_of_normalised(x, n=5, k=2.0, alpha=1e-4, beta=0.75):
    out = x.copy()
    for i in range(x.shape[1]):
        out[:, i] = out[:, i] / (k + alpha * squares(out, i, n)) ** beta
    return out


def random_lrn(rng):
    n, c, h, w = int(rng.integers(1, 3)), int(rng.integers(1, 7)), *(int(v) for v in rng.integers(1, 4, 2))
    return call(rng.integers(-8, 9, (n, c, h, w)) / 4, n=int(rng.choice([1, 3, 5])), k=float(rng.choice([1, 2])),
                alpha=float(rng.choice([0.5, 0.25])), beta=float(rng.choice([0.75, 0.5])))


LOCAL_RESPONSE_NORM = Exercise(
    id="local_response_norm", points=1,
    oracle=local_response_norm,
    probes=[call(np.array([1.0, 2, 2]).reshape(1, 3, 1, 1), n=3, k=1.0, alpha=1.0, beta=1.0),
            call(ints(100, 2, 5, 1, 2), n=3, k=2.0, alpha=0.5, beta=0.75),
            call(quarters(101, 1, 7, 2, 3), n=5, k=1.0, alpha=0.25, beta=0.5),
            call(ints(102, 1, 6, 2, 1) * 20),
            call(strided(ints(103, 2, 4, 3, 2)), n=1, k=1.0, alpha=0.5, beta=2.0),
            call(quarters(104, 1, 2, 2, 2), n=5, k=0.5, alpha=2.0, beta=1.0)],
    random=random_lrn,
    mistakes=[
        Mistake("alpha_divided_by_n", "α is divided by n. That is PyTorch's convention; the paper's formula, used "
                "here, does not divide.",
                lrn_with(squares, lambda n, k, alpha, beta: (n, k, alpha / n, beta))),
        Mistake("neighbours_in_space", "The squares are summed over neighbouring pixels. The sum runs over "
                "neighbouring channels at the same pixel.",
                lrn_in_space),
        Mistake("all_channels", "The squares of all channels are summed. Only n of them count, around the "
                "channel itself.",
                lrn_with(lambda x, i, n: (x ** 2).sum(axis=1))),
        Mistake("n_on_each_side", "The sum takes n channels on each side. n is the whole width, with the channel "
                "in the middle.",
                lrn_with(lambda x, i, n: squares(x, i, 2 * n + 1))),
        Mistake("last_neighbour_missing", "The sum leaves out the last neighbour: the end of a slice is not "
                "part of it.",
                lrn_with(lambda x, i, n: (x[:, max(0, i - n // 2):i + n // 2] ** 2).sum(axis=1))),
        Mistake("bounds_left_out", "The upper bound of the sum is left out, also at the last channel: a range or a "
                "slice ends before its end, while the formula's sum includes both bounds.",
                lrn_with(lambda x, i, n: (x[:, max(0, i - n // 2):min(x.shape[1] - 1, i + n // 2)] ** 2).sum(axis=1))),
        Mistake("negative_index", "For the first channels the slice starts at a negative index, which counts from "
                "the end. It has to stop at channel 0.",
                lrn_with(lambda x, i, n: (x[:, i - n // 2:i + n // 2 + 1] ** 2).sum(axis=1))),
        Mistake("goes_round", "For the first and last channels the sum goes round to the other end. It stops "
                "there.",
                lrn_with(lambda x, i, n: (np.take(x, range(i - n // 2, i + n // 2 + 1), axis=1,
                                                  mode="wrap") ** 2).sum(axis=1))),
        Mistake("itself_left_out", "The channel itself is left out of its sum.",
                lrn_with(lambda x, i, n: squares(x, i, n) - x[:, i] ** 2)),
        Mistake("not_squared", "The responses are summed without being squared.",
                lrn_with(lambda x, i, n: np.abs(near(x, i, n)).sum(axis=1))),
        Mistake("averaged", "The squares are averaged. The formula sums them.",
                lrn_with(lambda x, i, n: (near(x, i, n) ** 2).mean(axis=1))),
        Mistake("sum_squared", "The sum is squared. The squares are summed.",
                lrn_with(lambda x, i, n: near(x, i, n).sum(axis=1) ** 2)),
        Mistake("root_for_power", "A square root is taken, whatever β is. The power β is an argument.",
                lrn_with(squares, lambda n, k, alpha, beta: (n, k, alpha, 0.5))),
        Mistake("power_missing", "The power β is missing.",
                lrn_with(squares, lambda n, k, alpha, beta: (n, k, alpha, 1.0))),
        Mistake("power_of_the_sum_only", "The power β is taken of the sum of squares only. It belongs to the whole "
                "bracket, k included; without brackets `**` goes before `*` and `+`.",
                lambda x, n=5, k=2.0, alpha=1e-4, beta=0.75: np.stack(
                    [x[:, i] / (k + alpha * squares(x, i, n) ** beta) for i in range(x.shape[1])], axis=1)),
        Mistake("neighbours_already_normalised", "Results are written over the channels that are still needed: the "
                "neighbours in the sum are partly normalised already. It takes the responses as they came.",  # 32
                lrn_of_normalised),
        Mistake("k_fixed", "k is taken as 2, whatever is passed. It is an argument.",
                lrn_with(squares, lambda n, k, alpha, beta: (n, 2.0, alpha, beta))),
        Mistake("multiplied", "The response is multiplied by the term in brackets. It is divided by it.",
                lambda x, n=5, k=2.0, alpha=1e-4, beta=0.75: lrn_by_matrix(x, n, k, alpha, -beta)),
    ],
    alternatives=[lrn_by_channels, lrn_by_padding, lrn_by_matrix],
    hints=[
        "With n = 5, which channels does channel 4 look at? And channel 0?",
        dedent("""\
        Three channels of one pixel, 1, 2, 2; n = 3, k = 1, α = 1, β = 1:

        ```
        channel   neighbours   sum of squares   result
        0         1 2          5                1 / (1 + 5)
        1         1 2 2        9                2 / (1 + 9)
        2           2 2        8                2 / (1 + 8)
        ```"""),
        dedent("""\
        ```
        for each channel i:
            near  <- channels from i - n//2 to i + n//2, those that exist   # (N, up to n, H, W)
            total <- sum of their squares, over the channels                # (N, H, W)
            out[:, i] <- x[:, i] over (k + alpha * total) to the power beta
        ```"""),
        "A strong response makes the denominator of its neighbours large, so channels compete at each pixel. "
        "The sum has no mean to subtract and nothing to learn, and it looks at one pixel of one image only: the "
        "result does not depend on the batch, and both modes are the same.",
    ])


# ---------------------------------------------------------------------------- dropout

def dropout(x, dy, u, p):
    """Oracle: torch's autograd through the mask."""
    import torch

    xt = tensor(x).requires_grad_()
    y = torch.where(tensor(u) >= p, xt / (1 - p), torch.zeros_like(xt))
    y.backward(tensor(dy))
    return y.detach().numpy(), xt.grad.numpy()


def dropout_by_mask(x, dy, u, p):
    mask = (u >= p) / (1 - p)
    return x * mask, dy * mask


def dropout_by_index(x, dy, u, p):
    y, dx = x / (1 - p), dy / (1 - p)
    y[u < p], dx[u < p] = 0, 0
    return y, dx


def dropout_by_loops(x, dy, u, p):
    y, dx = np.zeros(x.shape), np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        if not u[i] < p:
            y[i], dx[i] = x[i] / (1 - p), dy[i] / (1 - p)
    return y, dx


def masked(forward, backward):
    """A mistake: two functions of (values, keep, p, right), right being the right answer."""
    def wrong(x, dy, u, p):
        keep = (u >= p).astype(float)
        right = dropout_by_mask(x, dy, u, p)
        return forward(x, keep, p, right[0]), backward(dy, keep, p, right[1])
    return wrong


def the_right(values, keep, p, right):
    return right


def dropout_mask_from_output(x, dy, u, p):
    y = dropout_by_mask(x, dy, u, p)[0]
    return y, dy * (y != 0) / (1 - p)


def dropout_one_mask_for_all(x, dy, u, p):
    keep = (u[:1] >= p) / (1 - p)
    return x * keep, dy * keep


def dropout_by_fraction_kept(x, dy, u, p):
    keep = (u >= p).astype(float)
    return x * keep / keep.mean(), dy * keep / keep.mean()


def random_dropout(rng):
    shape = tuple(int(v) for v in rng.integers(1, 5, rng.integers(1, 4)))
    u = rng.integers(0, 8, shape) / 8
    x = rng.integers(-8, 9, shape) / 4
    x.flat[0] = 0.0
    return call(x, rng.integers(-8, 9, shape) / 4 + 0.125, u, float(rng.choice([0.25, 0.5, 0.75, 0.0])))


DROPOUT = Exercise(
    id="dropout", points=1,
    oracle=dropout,
    probes=[call(np.array([3.0, 0, -2, 5]), np.array([1.0, 4, 2, -3]), np.array([0.5, 0.75, 0.25, 0]), 0.5),
            call(ints(110, 2, 3), quarters(111, 2, 3), np.array([[0.125, 0.5, 0.25], [0.75, 0, 0.375]]), 0.25),
            call(quarters(112, 3, 2), ints(113, 3, 2), np.array([[0.75, 0.5], [0.875, 0.25], [0, 0.625]]), 0.75),
            call(strided(ints(114, 2, 4)), strided(ints(115, 2, 4) + 0.5),
                 np.array([[0.0, 0.5, 0.25, 0.875], [0.625, 0.125, 0.75, 0.375]]), 0.5),
            call(ints(116, 1, 3), ints(117, 1, 3), np.array([[0.0, 0.5, 0.875]]), 0.0)],
    random=random_dropout,
    mistakes=[
        Mistake("not_scaled", "What is kept keeps its size. In inverted dropout it is divided by 1 − p, so that "
                "the expectation stays what it was.",  # 103
                masked(lambda x, keep, p, right: x * keep, lambda dy, keep, p, right: dy * keep)),
        Mistake("multiplied_by_the_rate_kept", "What is kept is multiplied by 1 − p. It is divided: fewer values "
                "have to carry the same sum.",  # 103
                masked(lambda x, keep, p, right: x * keep * (1 - p), lambda dy, keep, p, right: dy * keep * (1 - p))),
        Mistake("divided_by_the_rate_of_dropping", "What is kept is divided by p. The share that is kept is 1 − p, "
                "so that is what to divide by.",  # 103
                masked(lambda x, keep, p, right: x * keep / p, lambda dy, keep, p, right: dy * keep / p)),
        Mistake("scaled_without_dropping", "Everything is divided by 1 − p, and nothing is dropped.",
                masked(lambda x, keep, p, right: x / (1 - p), lambda dy, keep, p, right: dy / (1 - p))),
        Mistake("kept_and_dropped_exchanged", "What should be kept is dropped, and the other way round. p is the "
                "rate of dropping; keep where u is at least p.",
                lambda x, dy, u, p: (x * (u < p) / (1 - p), dy * (u < p) / (1 - p))),
        Mistake("keeps_with_rate_p", "p is taken as the rate of keeping, as in the first paper on dropout. Here "
                "it is the rate of dropping.",
                lambda x, dy, u, p: dropout_by_mask(x, dy, u, 1 - p) if p else (0 * x, 0 * dy)),
        Mistake("equal_dropped", "A value whose u equals p is dropped. The rule keeps it: u >= p.",
                lambda x, dy, u, p: (x * (u > p) / (1 - p), dy * (u > p) / (1 - p))),
        Mistake("gradient_not_masked", "The gradient flows to dropped values too. They did not reach the output, "
                "so theirs is 0.",
                masked(the_right, lambda dy, keep, p, right: dy / (1 - p))),
        Mistake("gradient_not_scaled", "The gradient is masked but not divided by 1 − p. A factor in the forward "
                "pass is a factor in the backward pass.",
                masked(the_right, lambda dy, keep, p, right: dy * keep)),
        Mistake("gradient_passed_through", "dx is dy. The backward pass uses the same mask and the same factor as "
                "the forward pass.",
                masked(the_right, lambda dy, keep, p, right: dy)),
        Mistake("gradient_scaled_twice", "The gradient is divided by 1 − p twice.",
                masked(the_right, lambda dy, keep, p, right: right / (1 - p))),
        Mistake("mask_read_off_the_output", "The mask of the backward pass is where y is not 0. A kept value can "
                "be 0 and still has a gradient.",  # 56
                dropout_mask_from_output),
        Mistake("evaluation_mode", "Nothing is dropped: that is evaluation mode.",  # 102
                lambda x, dy, u, p: (x, dy)),
        Mistake("one_mask_for_all", "Every row is masked with the first row of u. Each value has its own number.",
                dropout_one_mask_for_all),
        Mistake("scaled_by_the_fraction_kept", "The factor is the fraction that happened to be kept. It is the "
                "expected fraction, 1 − p, whatever was drawn.",
                dropout_by_fraction_kept),
    ],
    alternatives=[dropout_by_mask, dropout_by_index, dropout_by_loops],
    hints=[
        "A value is kept with probability 1 − p. What must happen to the kept ones so that the average over many "
        "draws is the value itself?",
        dedent("""\
        p = 0.5, so a kept value is divided by 0.5:

        ```
        x     3     0    −2     5
        u    0.5   0.75  0.25   0
        keep yes   yes   no     no
        y     6     0     0     0
        dy    1     4     2    −3
        dx    2     8     0     0
        ```"""),
        dedent("""\
        ```
        mask <- where u is at least p, divided by 1 - p     # the shape of x
        y    <- x times mask
        dx   <- dy times the same mask
        ```"""),
        "Given the mask, dropout multiplies each value by a constant, 0 or 1/(1 − p), and the gradient of a "
        "product with a constant is that constant. The expectation of the factor is (1 − p) · 1/(1 − p) = 1, so "
        "evaluation mode needs no factor at all.",
    ])


# ---------------------------------------------------------------------------- pca_colour

def principal_colours(covariance):
    """The notebook's helper: eigenvalues, largest first, and eigenvectors as columns whose sums are positive."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    return values, vectors * np.where(vectors.sum(axis=0) < 0, -1, 1)


def pca_colour(image, alpha):
    """Oracle: torch's covariance and eigendecomposition, with the notebook's order and signs."""
    import torch

    x = tensor(image)
    values, vectors = torch.linalg.eigh(torch.cov(x.reshape(3, -1), correction=0))
    shift = torch.zeros(3, dtype=torch.float64)
    for a, value, vector in zip(alpha, values.flip(0), vectors.T.flip(0)):
        shift += float(a) * value * vector * (-1 if vector.sum() < 0 else 1)
    return (x + shift[:, None, None]).numpy()


def colour_by_numpy(image, alpha):
    values, vectors = principal_colours(np.cov(image.reshape(3, -1), bias=True))
    return image + (vectors @ (alpha * values))[:, None, None]


def colour_by_pixels(image, alpha):
    pixels = image.transpose(1, 2, 0).reshape(-1, 3)
    centred = pixels - pixels.mean(axis=0)
    values, vectors = principal_colours(centred.T @ centred / len(pixels))
    shifted = pixels + sum(alpha[i] * values[i] * vectors[:, i] for i in range(3))
    return shifted.reshape(*image.shape[1:], 3).transpose(2, 0, 1)


def colour_by_svd(image, alpha):
    flat = image.reshape(3, -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    vectors, singular, _ = np.linalg.svd(centred, full_matrices=False)
    vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1, 1)
    return image + np.einsum("ci,i->c", vectors, alpha * singular ** 2 / flat.shape[1]).reshape(3, 1, 1)


def colour_with(covariance=lambda flat: np.cov(flat, bias=True),
                shift=lambda values, vectors, alpha: vectors @ (alpha * values)):
    """A mistake in the covariance or in the shift."""
    def wrong(image, alpha):
        values, vectors = principal_colours(covariance(image.reshape(3, -1)))
        return image + shift(np.maximum(values, 0), vectors, alpha)[:, None, None]
    return wrong


def colour_then(change):
    """A mistake made of the right answer: `change(image, shift)`, shift being (3, 1, 1)."""
    return lambda image, alpha: change(image, (colour_by_numpy(image, alpha) - image)[:, :1, :1])


def colour_scrambled(image, alpha):
    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    values, vectors = principal_colours(np.cov(pixels.T, bias=True))
    return image + (vectors @ (alpha * values))[:, None, None]


def colour_other_signs(values, vectors):
    """The eigenvectors with their last component positive: for these probes, what LAPACK gives."""
    return values, vectors * np.where(vectors[-1] < 0, -1, 1)


def colour_from_library(change):
    """A mistake in order or signs: `change(values, vectors)` of the agreed ones."""
    def wrong(image, alpha):
        values, vectors = change(*principal_colours(np.cov(image.reshape(3, -1), bias=True)))
        return image + (vectors @ (alpha * values))[:, None, None]
    return wrong


def colour_rounded(image, alpha):
    return np.clip(colour_by_numpy(image, alpha), 0, 1)


def well_posed(image):
    """Are the principal colours of the image well apart, and the signs of the vectors plain?

    Plain also: eigh and svd give each vector with its last component positive.  So a mistake can tell of an answer
    that calls them itself, by a rule, not by whatever the LAPACK here gives.
    """
    covariance = np.cov(image.reshape(3, -1), bias=True)
    values, vectors = principal_colours(covariance)
    last = np.linalg.eigh(covariance)[1][-1], np.linalg.svd(covariance)[0][-1]
    return (-np.diff(values).max() > 0.1 and np.abs(vectors.sum(axis=0)).min() > 0.1 and np.min(last) > 0.1)


def random_colour(rng):
    while True:
        image = rng.integers(-8, 9, (3, *rng.integers(2, 5, 2))) / 4
        if well_posed(image):
            return call(image, rng.integers(-8, 9, 3) / 4 + 0.125)


# Red takes the values 1 and -1, green 2 and -2, blue 3: the covariance is diagonal.
PLAIN_COLOURS = np.array([[[1.0, -1], [1, -1]], [[2, 2], [-2, -2]], [[3, 3], [3, 3]]])

PCA_COLOUR = Exercise(
    id="pca_colour", points=2,
    oracle=pca_colour,
    # The seeds are such that eigh, eig and svd give every vector with its last component positive: see well_posed.
    probes=[call(PLAIN_COLOURS, np.array([0.5, 2, 1])),
            call(quarters(339, 3, 2, 4), np.array([1.0, -2, 0.5])),
            call(ints(220, 3, 3, 2), np.array([-0.25, 1, 3])),
            call(strided(quarters(832, 3, 3, 5)), np.array([0.5, 0.25, -4])),
            call(ints(407, 3, 1, 6) / 8 + 0.5, np.array([1.0, 0, -1]))],
    random=random_colour,
    mistakes=[
        Mistake("root_of_the_eigenvalues", "α is multiplied by the root of the eigenvalue, a standard deviation. "
                "The formula takes the eigenvalue.",
                colour_with(shift=lambda values, vectors, alpha: vectors @ (alpha * np.sqrt(values)))),
        Mistake("eigenvalues_missing", "The eigenvalues are not used: every direction is as strong as every "
                "other.",
                colour_with(shift=lambda values, vectors, alpha: vectors @ alpha)),
        Mistake("rows_for_columns", "The rows of the matrix are taken as eigenvectors. They are its columns.",
                colour_with(shift=lambda values, vectors, alpha: vectors.T @ (alpha * values))),
        Mistake("order_reversed", "The first α is paired with the smallest eigenvalue. The order is from the "
                "largest on.",
                colour_with(shift=lambda values, vectors, alpha: vectors @ (alpha[::-1] * values))),
        Mistake("eigh_signs", "Some eigenvectors point the other way. NumPy leaves their signs open; take them from "
                "`principal_colours`, which settles them.",
                colour_from_library(colour_other_signs)),
        Mistake("eigh_order_and_signs", "Eigenvalues and eigenvectors are taken as `np.linalg.eigh` gives them: the "
                "smallest first, the signs left open. Take them from `principal_colours`, which settles both.",
                colour_from_library(lambda values, vectors:
                                    tuple(a[..., ::-1] for a in colour_other_signs(values, vectors)))),
        Mistake("first_component_only", "Only the first principal colour is used. Three terms are summed.",
                colour_with(shift=lambda values, vectors, alpha: vectors[:, 0] * alpha[0] * values[0])),
        Mistake("one_number_for_all_colours", "The same number is added to red, green and blue. The shift is a "
                "vector of three.",
                colour_with(shift=lambda values, vectors, alpha: np.full(3, (vectors @ (alpha * values)).sum()))),
        Mistake("not_centred", "The covariance is computed without subtracting each channel's mean.",
                colour_with(covariance=lambda flat: flat @ flat.T / flat.shape[1])),
        Mistake("unbiased", "The covariance is divided by H·W − 1, as `np.cov` does unless it is told otherwise. "
                "Here it is divided by H·W.",
                colour_with(covariance=np.cov)),
        Mistake("not_divided", "The covariance is not divided by the number of pixels.",
                colour_with(covariance=lambda flat: np.cov(flat, bias=True) * flat.shape[1])),
        Mistake("reshaped_without_moving_axes", "The image is reshaped to rows of three numbers, but its channels "
                "are its first axis, so the rows are not pixels.",  # 27
                colour_scrambled),
        Mistake("shift_only", "The shift is returned in place of the image. It has to be added to every pixel.",
                colour_then(lambda image, shift: shift + 0 * image)),
        Mistake("subtracted", "The shift is subtracted. It is added.",
                colour_then(lambda image, shift: image - shift)),
        Mistake("multiplied", "The image is multiplied by 1 plus the shift. The shift is added.",
                colour_then(lambda image, shift: image * (1 + shift))),
        Mistake("clipped", "The result is clipped to 0 … 1. Here nothing is clipped: that is left to whoever "
                "shows the image.",  # 113
                colour_rounded),
        Mistake("mean_removed", "The mean of each channel is taken out of the result. It is subtracted for the "
                "covariance only.",
                colour_then(lambda image, shift: image - image.mean(axis=(1, 2), keepdims=True) + shift)),
    ],
    alternatives=[colour_by_numpy, colour_by_pixels, colour_by_svd],
    hints=[
        "How many numbers does the shift have, and to how many pixels is it added?",
        dedent("""\
        Four pixels whose red is ±1, whose green is ±2 independently of it, and whose blue is always 3:

        ```
        covariance          eigenvalues   eigenvectors   α     α · λ
        1  0  0             4             green          0.5   2
        0  4  0             1             red            2     2
        0  0  0             0             blue           1     0
        shift: red 2, green 2, blue 0
        ```"""),
        dedent("""\
        ```
        flat       <- the three channels, each as one row of pixels              # (3, H*W)
        covariance <- of the rows: centred, products, divided by H*W             # (3, 3)
        values, vectors <- principal_colours(covariance)                         # (3,), (3, 3)
        shift      <- sum over i of alpha[i] * values[i] * column i of vectors   # (3,)
        result     <- image plus shift at every pixel                            # (3, H, W)
        ```"""),
        "The eigenvectors are the directions in which the colours of this image really vary, and the eigenvalues "
        "say how much. A random step along them changes the light more than it changes what is seen: strong where "
        "the data vary strongly, and next to nothing where they do not.",
    ])


EXERCISES = [BATCH_NORM_DENSE, BATCH_NORM_CONV, UPDATE_RUNNING, BATCH_NORM_BACKWARD, BATCH_NORM_2D,
             FOLD_BATCH_NORM, LOCAL_RESPONSE_NORM, DROPOUT, PCA_COLOUR]
