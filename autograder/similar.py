"""Pairs of students whose code is nearly the same, whatever its names and its layout.

Fingerprints by winnowing: Schleimer, Wilkerson and Aiken, "Winnowing: Local Algorithms for Document
Fingerprinting", SIGMOD 2003.  As there, what everyone was given does not count, nor what many have.
"""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import re
import tokenize
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import isqrt
from zlib import crc32

GRAM = 8  # tokens in a fingerprint: shorter runs are alike by chance
WINDOW = 4  # of so many neighbouring fingerprints one is kept: no shared run of GRAM + WINDOW - 1 tokens is missed
LONG = 20_000  # characters; what stands after is not looked at
SHORT = 8  # fingerprints, about 25 tokens: code with fewer of its own says nothing

LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
WORD = re.compile(r'#.*|(?s:"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\')'
                  r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
                  r"|\w+|[-+*/%@&|^<>=!]+|\S")
KEPT = {*keyword.kwlist, *dir(builtins)}
OWN = re.compile(r"v\d+")
MARK = "__own_"  # before a name that the code itself defines


@dataclass(frozen=True)
class Pair:
    """Two students and how alike their code is: 0 nothing in common, 1 the same but for names and layout.

    shared: the fingerprints they have in common, which is how much there is to go by.
    """

    a: str
    b: str
    similarity: float
    shared: int


def pairs(sources: dict[str, str], known: Iterable[str] = (), least: float = 0.7) -> list[Pair]:
    """The pairs among `sources`, code by student, with a similarity of at least `least`; the most alike first.

    known: code that proves nothing where it is shared: the released cell, a published solution.
    What more than six students, or the square root of the class, have in common proves nothing either.
    Similarity is what two have in common of all that the two have (Jaccard), counted in fingerprints.
    """
    given = {gram for code in known for gram in _grams(normalise(code))}
    prints = {who: fingerprints(code) - given for who, code in sources.items()}
    holders = defaultdict(list)
    for who in sorted(prints):
        for one in prints[who]:
            holders[one].append(who)
    # Only those who share something rare are compared: not all pairs of the class.
    common = {one for one, who in holders.items() if len(who) > max(6, isqrt(len(sources)))}
    own = {who: len(found - common) for who, found in prints.items()}
    shared = Counter(pair for one, who in holders.items() if one not in common
                     for pair in combinations([w for w in who if own[w] >= SHORT], 2))
    found = [Pair(a, b, n / (own[a] + own[b] - n), n) for (a, b), n in shared.items()]
    return sorted((p for p in found if p.similarity >= least), key=lambda p: (-p.similarity, -p.shared, p.a, p.b))


@lru_cache(4096)
def fingerprints(code: str) -> frozenset[int]:
    """The fingerprints of `code`: of each window of neighbouring k-grams the smallest hash, the last if several."""
    grams = _grams(normalise(code[:LONG]))
    windows = (grams[i:i + WINDOW] for i in range(max(1, len(grams) - WINDOW + 1)))
    return frozenset(min(window) for window in windows if window)


def normalise(code: str) -> tuple[str, ...]:
    """The tokens of `code` without layout, comments and docstrings; names it defines are v0, v1, … in order.

    Code that is not Python is cut into words; the names that it defines are guessed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a SyntaxWarning about an escape in a string
            text = ast.unparse(_marked(ast.parse(code)))
        tokens = [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline)
                  if t.type not in LAYOUT and t.string != ";"]
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        tokens = _words(code)
    return _numbered(tokens, MARK)


def _numbered(tokens, prefix):
    """The tokens with v0, v1, … for those that begin with `prefix`, in order of appearance."""
    seen = {}
    return tuple(seen.setdefault(t, f"v{len(seen)}") if t.startswith(prefix) else t for t in tokens)


def _grams(tokens):
    """The hash of each run of GRAM tokens, with names numbered within it: so it is the same wherever it stands."""
    own = [f"{MARK}{t}" if OWN.fullmatch(t) else t for t in tokens]
    return [crc32("\0".join(_numbered(own[i:i + GRAM], MARK)).encode("utf-8", "replace"))
            for i in range(len(own) - GRAM + 1)]


def _marked(tree):
    """The tree without docstrings and annotations, and with MARK before each name that it binds, but not imports."""
    nodes, bound = list(ast.walk(tree)), set()
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif not isinstance(node, ast.alias):
            bound.update(name for field in ("name", "rest") if isinstance(name := getattr(node, field, None), str))
    in_string = {id(name) for node in nodes if isinstance(node, ast.JoinedStr) for name in ast.walk(node)}
    for node in nodes:
        for field in ("id", "arg", "name", "rest"):
            name = getattr(node, field, None)
            if name in bound and not isinstance(node, ast.alias | ast.keyword):
                setattr(node, field, "v" if id(node) in in_string else MARK + name)
        if isinstance(node, ast.keyword) and node.arg:
            node.arg = "v"  # the name of an argument may be the student's own
        elif isinstance(node, ast.Global | ast.Nonlocal):
            node.names = ["v" for _ in node.names]
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            node.returns = None
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def _words(code):
    """The tokens of text that is not Python, as near as can be to those of the Python it was meant to be."""
    words = [w for w in WORD.findall(code) if not w.startswith(("#", '"""', "'''")) and w != ";"]
    bound, targets = set(), []
    for word in words:
        if word.isidentifier() or word == ",":
            targets.append(word)
        else:
            bound.update(targets if re.fullmatch(r"[-+*/%@&|^]*=|<<=|>>=", word) else ())
            targets = []
    opened = ""  # inside `def …:` or `for … in`
    for word in words:
        if word in ("def", "for"):
            opened = word
        elif word == {"def": ":", "for": "in"}.get(opened):
            opened = ""
        elif opened:
            bound.add(word)
    before = ["", *words]
    return [MARK + w if w in bound and w.isidentifier() and w not in KEPT and b != "." else w
            for w, b in zip(words, before)]
