"""Attacks on the comparison: patched libraries, objects that lie, and messages that are not what they say."""

from tests.hostile.case import CONVOLUTION, attack

LIAR = """
    class Liar(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            if ufunc.__name__ in ("isnan", "isinf", "signbit"):
                return np.zeros(self.shape, bool)
            return np.True_ if ufunc.nout == 1 else (np.True_, np.True_)
        def __array_function__(self, func, types, args, kwargs):
            return True
        def __eq__(self, other): return True
        def __ne__(self, other): return False
        def all(self, *a, **k): return True
        def any(self, *a, **k): return False
"""

CASES = [
    attack("patched_allclose", "np.allclose, np.isclose and np.array_equal say yes", """
        np.allclose = np.array_equal = lambda *a, **k: True
        np.isclose = lambda a, b, *x, **k: np.ones(np.broadcast(a, b).shape, bool)
        np.testing.assert_allclose = np.testing.assert_array_equal = lambda *a, **k: None
        """, stock="assert"),
    attack("patched_testing_core", "the function below every np.testing assertion does nothing", """
        import numpy.testing._private.utils as u
        u.assert_array_compare = lambda *a, **k: None
        np.allclose = lambda *a, **k: True
        """, stock="assert"),
    attack("patched_numpy_functions", "abs, subtract, isfinite and array of NumPy forget differences", """
        zero = lambda *a, **k: np.zeros(())
        np.subtract, np.abs = zero, zero
        """),
    attack("patched_builtin_round", "builtins.round answers 1.0", """
        import builtins
        builtins.round = lambda *a: 1.0
        """),
    attack("patched_builtin_sum", "builtins.sum answers the number of items", """
        import builtins
        builtins.sum = lambda xs, *a: len(list(xs))
        """),
    attack("patched_builtin_isinstance", "builtins.isinstance, len, abs and float lie, print does nothing", """
        import builtins
        real = builtins.isinstance
        builtins.abs = lambda x: 0
        builtins.print = lambda *a, **k: None
        builtins.all = builtins.any = lambda *a: True
        """, stock="assert"),
    attack("liar_array", "an ndarray subclass that equals everything", LIAR + """
    def brighten(image, amount):
        return (image * 0).view(Liar)
        """, stock="assert"),
    attack("liar_object", "an object that answers every operation and question with itself or yes", """
        class Yes:
            shape = property(lambda self: (2, 2))
            dtype, ndim = np.dtype(float), 0
            __array_priority__ = 1e9
            def __array_ufunc__(self, *a, **k): return np.True_
            def __array_function__(self, *a, **k): return True
            def __bool__(self): return True
            def __eq__(self, other): return True
            def __hash__(self): return 0
            def __getattr__(self, name):
                if name.startswith("__"): raise AttributeError(name)
                return lambda *a, **k: True
        def brighten(image, amount):
            return Yes()
        """, stock="assert"),
    attack("array_protocol_reads_frames", "__array__ looks up the expected value in its caller's frames", """
        import sys
        class Answer:
            shape = (2, 2)
            def __array__(self, dtype=None, copy=None):
                frame = sys._getframe(1)
                while frame:
                    for name in ("desired", "y", "b", "expected"):
                        value = frame.f_locals.get(name)
                        if isinstance(value, (np.ndarray, list)):
                            return np.array(value, float)
                    frame = frame.f_back
                return np.zeros((2, 2))
        def brighten(image, amount):
            return Answer()
        """, stock="assert"),
    attack("stateful_array", "__array__ gives another array each time it is asked", """
        class Answer:
            n = 0
            def __array__(self, dtype=None, copy=None):
                Answer.n += 1
                return np.full((2, 2), Answer.n / 8)
            def __array_interface__(self): raise KeyError
        def brighten(image, amount):
            return Answer()
        """),
    attack("liar_float", "a float subclass whose difference from anything is 0", """
        class F(float):
            def __sub__(self, other): return 0.0
            __rsub__ = __sub__
            def __abs__(self): return 0.0
            def __eq__(self, other): return True
            def __le__(self, other): return True
            def __reduce__(self): return (float, (1.0,))
            __hash__ = float.__hash__
        def window_response(window, kernel, bias):
            return F(0.5)
        """, slug=CONVOLUTION, exercise="window_response"),
    attack("liar_integers", "NumPy integers whose item() equals everything", """
        class Any(int):
            def __eq__(self, other): return True
            def __int__(self): return self
            __index__ = __trunc__ = __int__
            __hash__ = int.__hash__
        class N(np.int64):
            def item(self, *a): return Any(1)
            def __int__(self): return Any(1)
            def __eq__(self, other): return True
            __hash__ = np.int64.__hash__
        def separable_cost(height, width, kernel_height, kernel_width):
            return N(1), N(1)
        """, slug=CONVOLUTION, exercise="separable_cost"),
    attack("liar_tuple", "a tuple subclass whose items depend on who asks and how often", """
        class T(tuple):
            def __iter__(self):
                import sys
                frame = sys._getframe(1)
                while frame:
                    if isinstance(frame.f_locals.get("expected"), tuple):
                        return iter(frame.f_locals["expected"])
                    frame = frame.f_back
                return iter((1, 2))
            def __deepcopy__(self, memo): return self
        def separable_cost(height, width, kernel_height, kernel_width):
            return T((1, 2))
        """, slug=CONVOLUTION, exercise="separable_cost"),
    attack("frames_give_expected", "the function takes the probe with its expected value from its caller", """
        import sys
        def brighten(image, amount):
            frame = sys._getframe(1)
            while frame:
                probe = frame.f_locals.get("probe")
                if hasattr(probe, "expected"):
                    return np.array(probe.expected)
                frame = frame.f_back
            return image * 0
        """),
    attack("gc_gives_expected", "the function finds probes with its arguments among all objects of the process", """
        import gc
        def brighten(image, amount):
            for thing in gc.get_objects():
                try:
                    if np.array_equal(thing.args[0], image) and thing.args[1] == amount:
                        return np.array(thing.expected)
                except Exception:
                    pass
            return image * 0
        """),
    attack("patched_compare", "cnnlab.compare.compare finds no difference", """
        import cnnlab.calls, cnnlab.checks, cnnlab.compare
        for module in (cnnlab.calls, cnnlab.checks, cnnlab.compare):
            module.compare = lambda *a, **k: None
            module.same = lambda *a: True
        """),
    attack("patched_calls", "cnnlab.calls says that every call passed", """
        import cnnlab.calls as c
        c._difference = lambda probe, reply: None
        """),
    attack("patched_probes", "cnnlab.probes.load expects whatever the function returns", """
        import dataclasses, cnnlab.checks, cnnlab.probes as p
        real = p.load
        def load(name, *a):
            e = real(name, *a)
            return dataclasses.replace(e, probes=tuple(dataclasses.replace(
                q, expected=brighten(*q.args, **q.kwargs)) for q in e.probes))
        p.load = cnnlab.checks.load = load
        """),
    attack("patched_report", "cnnlab.report and Score give full points and a green page", """
        import cnnlab.checks as c
        c.report.html = c.report.text = lambda verdict: "<b>1 of 1 points</b>"
        c.Score.__new__ = lambda cls, verdict: float.__new__(cls, 1.0)
        c.Score._page = "<b>1 of 1 points</b>"
        """),
    attack("patched_judge", "cnnlab.checks.judge gives a verdict of its own", """
        import cnnlab.checks as c, dataclasses
        real = c.judge
        c.judge = lambda e, *a: dataclasses.replace(real(e, *a), score=e.points, shown=None)
        """),
    attack("replaced_check", "another function is called check", "check = lambda *a: 1.0\n"),
    attack("poisoned_modules", "sys.modules holds another cnnlab, and the name check comes from it", """
        import sys, types
        fake = types.ModuleType("cnnlab")
        fake.check = lambda *a: 1.0
        for name in [n for n in sys.modules if n.startswith("cnnlab")]:
            sys.modules[name] = fake
        from cnnlab import check
        """),
    attack("import_hook", "an import hook gives cnnlab and numpy.testing to whoever imports them again", """
        import importlib, sys, types
        class Hook:
            def find_spec(self, name, path=None, target=None):
                if name in ("cnnlab", "cnnlab.checks", "cnnlab.compare"):
                    return importlib.machinery.ModuleSpec(name, self)
            def create_module(self, spec):
                m = types.ModuleType(spec.name)
                m.check, m.compare, m.same = (lambda *a: 1.0), (lambda *a: None), (lambda *a: True)
                m.__path__ = []
                return m
            def exec_module(self, module): pass
        for name in [n for n in sys.modules if n.startswith("cnnlab")]:
            del sys.modules[name]
        sys.meta_path.insert(0, Hook())
        from cnnlab import check
        """),
    attack("patched_by_function_globals", "run_all is replaced in the globals of the function that uses it", """
        import cnnlab.checks as c
        c.judge.__globals__["run_all"] = lambda callee, probes, hidden=(), forbidden=(): tuple(
            c.Outcome(p, c.Reply(), None) for p in probes)
        """),
    attack("swapped_code", "the code of cnnlab's functions is exchanged, so that imported names change too", """
        import cnnlab.calls as c, cnnlab.compare
        cnnlab.compare.compare.__code__ = (lambda expected, got, path="": None).__code__
        """),
    attack("visible_by_heart", "answers of the visible probes, read from cnnlab's own JSON", """
        import cnnlab.probes as p
        KNOWN = {(q.args[0].tobytes(), q.args[1]): q.expected for q in p.load("brighten").probes}
        def brighten(image, amount):
            return KNOWN.get((image.tobytes(), amount), image)
        """),
    attack("asks_check_for_answers", "the function runs check itself and takes the expected numbers from its page", """
        import re
        ANSWERS = str(check("brighten", lambda image, amount: image * 0)._page)
        def brighten(image, amount):
            found = [float(x) for x in re.findall(r"\\d\\.\\d+", ANSWERS)]
            return np.resize(found, image.shape) if found else image
        """),
    attack("wrong_after_the_first_calls", "right for as many calls as there are visible probes, then wrong", """
        CALLS = []
        def brighten(image, amount):
            CALLS.append(1)
            return np.clip(image + amount, 0, 1) if len(CALLS) <= 4 else image
        """),
]
