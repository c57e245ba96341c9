"""What runs inside of the guard of a stock case: listeners, `nbgrader autograde`, and a look at the processes left.

    python -m tests.hostile.stock_inside BASE SLUG PORT SOCKET
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.hostile.watch import Watch, wait_for_processes


def main(base: Path, slug: str, port: int, name: str) -> None:
    with Watch(port, name, base / "outside") as watch:
        subprocess.run([sys.executable, "-m", "nbgrader", "autograde", slug], cwd=base / "course", check=False)
        left = wait_for_processes()
        heard = [(where, data.decode(errors="replace")) for where, data in watch.heard]
    (base / "seen.json").write_text(json.dumps({"heard": heard, "processes": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
