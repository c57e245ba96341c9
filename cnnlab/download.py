"""Downloads of data sets: `python -m cnnlab download mnist`.

A file comes from the first mirror that has it.  What breaks off is resumed; what is not what it should be is thrown
away.  Until its content is right a file has a name of its own, so that nothing takes a part for the whole.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import ssl
import sys
import time
import zlib
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from cnnlab import datafiles, environment

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 17  # bytes
# Not every OSError, which a full disk raises.
NETWORK = (URLError, ConnectionError, TimeoutError, HTTPException, ssl.SSLError)


def download(name: str) -> Path:
    """Fetch the data set `name`, "mnist" or "cifar10", unless the original is here.  Returns the folder it is in.

    It goes to CNNLAB_DATA, or else to the cache folder.
    Raises ConnectionError if no mirror has it, which says what each answered; PermissionError if there is no folder
    to write to.  Interrupted, what has come is kept for the next time.
    """
    wanted, here = datafiles.data_set(name), datafiles.find(name)
    if here and here.form.original:
        print(f"{wanted.title} is here: {here.folder}")
        return here.folder
    place = datafiles.writable(datafiles.folders())
    if place is None:
        raise PermissionError(f"{wanted.title} cannot be kept: {' and '.join(map(str, datafiles.folders()))} cannot be "
                              "written to; set CNNLAB_DATA to a folder that can.")
    for file in wanted.downloads:
        target = place / file.file
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _fetch(wanted.title, file, target)
            except KeyboardInterrupt:
                print("\nInterrupted.  What has come is kept, and the next download goes on from there.")
                raise
    print(f"{wanted.title} is in {target.parent}")
    return target.parent


def main(argv: list[str] | None = None) -> int:
    """`python -m cnnlab download`.  Returns 0 if all is here, 1 if not, 2 if asked for anything else."""
    names = sys.argv[2:] if argv is None else argv
    if not names or not set(names) <= set(datafiles.DATA_SETS):
        print(f"usage: python -m cnnlab download {' '.join(datafiles.DATA_SETS)}     fetches one data set or more",
              file=sys.stderr)
        return 2
    try:
        for name in names:
            download(name)
    except OSError as e:
        print(e, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _fetch(title, file, target):
    """Put a file at `target` from the first mirror that gives it whole and right."""
    failed = []
    for url in file.mirrors:
        # Mirrors pack differently, so a part is resumed only where it came from.
        part = target.with_name(f"{target.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        begun = part.exists()
        try:
            _whole(url, part, target.name)
            right = _is(part, file)
            if begun and not right:  # the file has changed there since the part came
                part.unlink()
                _whole(url, part, target.name)
                right = _is(part, file)
        except NETWORK as e:
            failed.append(f"{urlsplit(url).hostname} ({_reason(e)})")
            continue
        if right:
            os.replace(part, target)
            for other in target.parent.glob(f"{target.name}.*.part"):
                other.unlink()
            return
        part.unlink()
        failed.append(f"{urlsplit(url).hostname} (what it gave is not {target.name})")
    raise ConnectionError(f"{title} could not be downloaded from {', '.join(failed)}; try again later, which goes on "
                          f"with what has come, or put {target.name} into {target.parent} yourself.")


def _whole(url, part, name):
    """Fetch until the end, again and again as long as each connection brings more."""
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _more(url, part, before, _Progress(f"{name} from {urlsplit(url).hostname}"))
        except HTTPError:
            raise
        except NETWORK:
            if not part.exists() or part.stat().st_size <= before:
                raise


def _more(url, part, begun, progress):
    """Append to `part`, which holds `begun` bytes, what the server has from there on."""
    ask = Request(url, headers={"User-Agent": "cnnlab", "Accept-Encoding": "identity"}
                  | ({"Range": f"bytes={begun}-"} if begun else {}))
    try:
        answer = urlopen(ask, timeout=TIMEOUT)
    except HTTPError as e:
        if e.code == 416 and begun:  # there is no more: it is whole, or it is something else
            e.close()
            return
        raise
    with answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
        if answer.status == 206 and not resumed:
            raise ConnectionError("it gave another part than was asked for")
        got = begun if resumed else 0
        length = answer.headers.get("Content-Length")
        total = got + int(length) if length else None
        with open(part, "ab" if resumed else "wb") as out:
            while chunk := answer.read1(CHUNK):
                out.write(chunk)
                got += len(chunk)
                progress.show(got, total)
    progress.end(got)
    if total is not None and got < total:
        raise ConnectionError(f"the connection broke off after {got:,} of {total:,} bytes")


def _is(part, file):
    """Whether the content of `part` is that of `file`."""
    digest = hashlib.sha256()
    try:
        with gzip.open(part) if file.packed else open(part, "rb") as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
    except (OSError, EOFError, zlib.error):  # gzip.BadGzipFile is an OSError
        return False
    return digest.hexdigest() == file.sha256


def _reason(error):
    if isinstance(error, HTTPError):
        error.close()
        return f"{error.code} {error.reason}"
    if isinstance(error, URLError):
        return f"no connection: {getattr(error.reason, 'strerror', None) or error.reason}"
    return str(error) or type(error).__name__


class _Progress:
    """One line that is written over; where that cannot be done, the first and the last."""

    def __init__(self, what):
        self.what, self.shown, self.live = what, 0.0, sys.stdout.isatty() or environment.in_kernel()
        self.begun = None

    def show(self, got, total):
        if self.begun is None:
            self.begun = got, time.monotonic()
            if not self.live:
                print(f"{self.what}{f', {total / 1e6:.1f} MB' if total else ''} …", flush=True)
        now = time.monotonic()
        if self.live and now - self.shown > 0.2:
            self.shown = now
            of = f" of {total / 1e6:.1f}" if total else ""
            speed = (got - self.begun[0]) / 1e6 / max(now - self.begun[1], 0.1)
            print(f"\r{self.what}: {got / 1e6:.1f}{of} MB, {speed:.1f} MB/s  ", end="", flush=True)

    def end(self, got):
        if self.begun is not None:
            print(f"{chr(13) if self.live else ''}{self.what}: {got / 1e6:.1f} MB{' ' * 20 if self.live else ''}",
                  flush=True)
