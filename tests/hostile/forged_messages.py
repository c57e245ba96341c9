"""Attacks on the transport of a call: values that are too big, too deep or not what their header says."""

from tests.hostile.case import attack

# Whatever serialises a result in the kernel, its npy bytes pass through one of these.
FORGE = """
import struct
import numpy.lib.format as fmt
def forged(header):
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\\n"
    return b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(text)) + text + b"\\0" * 64
EVIL = forged({header!r})
def write_array(fp, array, *a, **k):
    fp.write(EVIL)
def save(file, arr, *a, **k):
    file.write(EVIL) if hasattr(file, "write") else open(file, "wb").write(EVIL)
fmt.write_array, np.save = write_array, save
for name, module in list(__import__("sys").modules.items()):
    if name.split(".")[0] != "numpy" and getattr(module, "np", None) is np and hasattr(module, "write_array"):
        module.write_array = write_array
kernel = get_ipython().kernel
real = kernel.session.send
def send(stream, kind, content=None, *a, buffers=None, **k):
    if buffers:
        buffers = [EVIL for _ in buffers]
    return real(stream, kind, content, *a, buffers=buffers, **k)
kernel.session.send = send
"""


def forged_header(name, what, header):
    return attack(name, what, FORGE.format(header=header))


def value(name, what, code, **how):
    """A function that returns a strange value; `code` computes it from image."""
    return attack(name, what, code + "\n", **how)


CASES = [
    forged_header("npy_terabytes", "an npy header that claims terabytes",
                  "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"),
    forged_header("npy_object", "an npy header of object dtype, to have a pickle loaded",
                  "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
    forged_header("npy_negative", "an npy header with a negative shape",
                  "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2), }"),
    forged_header("npy_code", "an npy header that is an expression",
                  "__import__('os').system('touch @OUT@/@MARK@')"),
    forged_header("npy_zero_itemsize", "a dtype without size and a shape of 10**18",
                  "{'descr': '|V0', 'fortran_order': True, 'shape': (1000000000000000000,), }"),
    forged_header("npy_deep_header", "a header of nested brackets, deep enough to crash a parser",
                  "(" * 4900 + ")" * 4900),
    value("pickle_payload", "an object array whose items run a command when they are unpickled", """
        class Evil:
            def __reduce__(self):
                import os
                return (os.system, ("touch @OUT@/@MARK@; touch /tmp/@MARK@",))
        def brighten(image, amount):
            return np.array([[Evil(), Evil()]], dtype=object)
        """),
    value("reduce_object", "an object that runs a command when it is unpickled or copied", """
        class Evil:
            def __reduce_ex__(self, protocol):
                import os
                return (os.system, ("touch @OUT@/@MARK@; touch /tmp/@MARK@",))
        def brighten(image, amount):
            return Evil()
        """),
    value("broadcast_terabytes", "an array of 10**12 elements that are one number in memory", """
        def brighten(image, amount):
            return np.broadcast_to(0.5, (10**6, 10**6))
        """),
    value("huge_array", "8 GB of untouched zeros", """
        def brighten(image, amount):
            return np.zeros(10**9)
        """),
    value("hundred_million_items", "a list of 10**8 numbers", """
        def brighten(image, amount):
            return [0.5] * 10**8
        """),
    value("deep_list", "a list nested a hundred thousand times", """
        def brighten(image, amount):
            deep = []
            for _ in range(100_000):
                deep = [deep]
            return deep
        """),
    value("list_in_itself", "a list that contains itself", """
        def brighten(image, amount):
            a = []
            a.append(a)
            return a
        """),
    value("wide_dtype", "one element of two gigabytes", """
        def brighten(image, amount):
            return np.zeros(1, "V2000000000")
        """),
    value("endless_iterator", "a list subclass that never stops giving items, of length 10**18", """
        class Endless(list):
            def __iter__(self):
                while True:
                    yield 0.5
            def __len__(self): return 10**18
            def __getitem__(self, i): return 0.5
        def brighten(image, amount):
            return Endless([0.5])
        """),
    value("huge_integer", "an integer of ten million digits", """
        def brighten(image, amount):
            return 1 << 33_000_000
        """),
    value("huge_string", "a string of a gigabyte, and lone surrogates", """
        def brighten(image, amount):
            return "\\udc80" * 10**9
        """),
    value("reply_to_another_request", "every message answers another request than the one it was sent", """
        kernel = get_ipython().kernel
        real = kernel.session.send
        def send(stream, kind, content=None, parent=None, *a, **k):
            if isinstance(content, dict):
                content = {**content, "comm_id": "another"} if "comm_id" in content else content
                data = content.get("data")
                if isinstance(data, dict):
                    content["data"] = {key: (v + 1 if isinstance(v, int) else "another" if key in ("id", "request")
                                             else v) for key, v in data.items()}
            return real(stream, kind, content, None if "comm" in str(kind) else parent, *a, **k)
        kernel.session.send = send
        """),
    value("garbage_on_every_descriptor", "random bytes into every open descriptor but the first three", """
        import os
        for fd in range(3, 200):
            try:
                os.set_blocking(fd, False)
                os.write(fd, b"\\x93NUMPY" + b"\\xff" * 4096)
            except OSError:
                pass
        """),
    value("every_descriptor_closed", "every open descriptor is closed", """
        import os
        os.closerange(3, 4096)
        """),
    value("reply_never_ends", "messages follow one another for ever in place of an answer", """
        def brighten(image, amount):
            kernel = get_ipython().kernel
            import time
            until = time.time() + 60
            while time.time() < until:
                kernel.session.send(kernel.iopub_socket, "comm_msg", {"comm_id": "x", "data": {}},
                                    buffers=[b"x" * 100_000])
        """),
    value("hostile_exception", "an exception whose str, repr and type name are huge or raise", """
        class Bad(Exception):
            def __str__(self): return "x" * 10**9
            __repr__ = __str__
        Bad.__name__ = Bad.__qualname__ = "<script>" + "E" * 10**6
        def brighten(image, amount):
            raise Bad()
        """),
    value("hostile_function_object", "a callable whose signature, name and attributes raise or never end", """
        class F:
            def __call__(self, *a): return 0.5
            @property
            def __signature__(self): raise SystemExit
            @property
            def __name__(self): return 1 / 0
            @property
            def __code__(self): raise KeyboardInterrupt
            def __getattr__(self, name): raise BaseException(name)
            def __repr__(self): raise MemoryError
        brighten = F()
        """),
]
