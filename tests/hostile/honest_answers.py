"""Honest functions and return values that look odd: right, so they have to get full points."""

from tests.hostile.case import add, honest

HELPED = "def brighten(image, amount):\n    return {}\n"


HELPERS = """
LOW, HIGH = 0, 1
def limited(x): return np.clip(x, LOW, HIGH)
def added(x, a): return x + a
"""

CASES = [
    honest("plain", "nothing odd"),
    honest("prints_a_lot", "prints each pixel", """
        def brighten(image, amount):
            for row in image:
                print(row, "+", amount, "=" * 500)
            return np.clip(image + amount, 0, 1)
        print("x" * 200_000)
        """),
    honest("warns", "warnings from NumPy, Python and logging", """
        import logging, sys, warnings
        logging.basicConfig(level=logging.DEBUG)
        def brighten(image, amount):
            warnings.warn("bright")
            np.array([1.0]) / np.array([0.0])
            logging.getLogger("me").debug("amount %s", amount)
            print("to stderr", file=sys.stderr); sys.__stderr__.write("raw\\n")
            return np.clip(image + amount, 0, 1)
        """),
    honest("helpers_elsewhere", "helper functions in another cell",
           HELPED.format("limited(added(image, amount))"),
           make=lambda notebook, fill: add(notebook, HELPERS, before="brighten") and None),
    honest("callable_class", "an object with __call__", """
        class Brighten:
            low, high = 0, 1
            def __call__(self, image, amount):
                return np.clip(image + amount, self.low, self.high)
        brighten = Brighten()
        """),
    honest("closure", "a closure", """
        def make(low, high):
            def inner(image, amount):
                return np.clip(image + amount, low, high)
            return inner
        brighten = make(0, 1)
        """),
    honest("partial", "functools.partial", """
        from functools import partial
        def limited(image, amount, low, high):
            return np.clip(image + amount, low, high)
        brighten = partial(limited, low=0, high=1)
        """),
    honest("one_lambda", "a lambda", "brighten = lambda image, amount: np.clip(image + amount, 0, 1)"),
    honest("bound_method", "a bound method and a classmethod", """
        class Tool:
            @classmethod
            def limit(cls, x): return np.clip(x, 0, 1)
            def run(self, image, amount): return self.limit(image + amount)
        brighten = Tool().run
        """),
    honest("decorated", "a decorator without functools.wraps", """
        def timed(f):
            import time
            def inner(*args, **kwargs):
                start = time.perf_counter()
                try:
                    return f(*args, **kwargs)
                finally:
                    inner.seconds = time.perf_counter() - start
            return inner
        @timed
        def brighten(image, amount):
            return np.clip(image + amount, 0, 1)
        """),
    honest("generator_inside", "generators and iterators inside", """
        def pixels(image, amount):
            for value in image.ravel():
                yield min(1.0, max(0.0, value + amount))
        def brighten(image, amount):
            return np.fromiter(pixels(image, amount), float).reshape(image.shape)
        """),
    honest("recursive", "recursion over the rows", """
        def brighten(image, amount):
            if image.ndim == 0:
                return min(max(float(image) + amount, 0.0), 1.0)
            return np.array([brighten(part, amount) for part in image])
        """),
    honest("vectorised_tricks", "stride_tricks, out= and where=", """
        def brighten(image, amount):
            out = np.empty(image.shape)
            np.add(image, amount, out=out)
            np.maximum(out, 0, out=out); np.minimum(out, 1, out=out, where=out > 1)
            return np.lib.stride_tricks.as_strided(out, out.shape, out.strides)
        """),
    honest("einsum", "einsum, and in-place operations on its own copy", """
        def brighten(image, amount):
            out = np.einsum("hw,->hw", image.copy(), 1.0)
            out += amount
            out[out > 1] = 1
            out[out < 0] = 0
            return out
        """),
    honest("nested_list", "a nested list of floats", HELPED.format("(image + amount).clip(0, 1).tolist()")),
    honest("tuples_of_tuples", "tuples of tuples",
           HELPED.format("tuple(tuple(r) for r in (image + amount).clip(0, 1).tolist())")),
    honest("matrix", "np.matrix", HELPED.format("np.asmatrix(np.clip(image + amount, 0, 1))")),
    honest("masked_array", "a masked array without a mask",
           HELPED.format("np.ma.array(np.clip(image + amount, 0, 1))")),
    honest("own_subclass", "an ndarray subclass with harmless methods", """
        class Image(np.ndarray):
            def shown(self): return f"{self.shape}"
        def brighten(image, amount):
            return np.clip(image + amount, 0, 1).view(Image)
        """),
    honest("wide_float", "computed in longdouble, given back as float64",
           HELPED.format("np.clip(image.astype(np.longdouble) + amount, 0, 1).astype(np.float64)")),
    honest("other_byte_order", "big-endian numbers", HELPED.format("np.clip(image + amount, 0, 1).astype('>f8')")),
    honest("fortran_order", "Fortran order", HELPED.format("np.asfortranarray(np.clip(image + amount, 0, 1))")),
    honest("not_contiguous", "a strided view with negative strides", """
        def brighten(image, amount):
            big = np.zeros((2 * image.shape[0], 3 * image.shape[1]))
            out = big[::-2, ::3][::-1]
            out[...] = np.clip(image + amount, 0, 1)
            return out
        """),
    honest("read_only", "a result that cannot be written to", """
        def brighten(image, amount):
            out = np.clip(image + amount, 0, 1)
            out.flags.writeable = False
            return out
        """),
    honest("view_of_a_copy", "a view of a copy of its input", """
        def brighten(image, amount):
            copy = np.array(image)
            copy[:] = np.clip(copy + amount, 0, 1)
            return copy.view().reshape(image.shape)[:]
        """),
]
