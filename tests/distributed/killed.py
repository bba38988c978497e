"""`sharewise` in each of several processes, one of which is killed as it sends a message to the others.

    torchrun … killed.py RANK MESSAGE NOTE WORD…

MESSAGE counts from 1, and NOTE says when it was; 0 kills nobody, and the first process leaves in NOTE how many there
were.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from torch import distributed as dist

from sharewise.cli import main


def run(rank: str, message: int, note: Path, words: list[str]) -> int:
    """The exit code of the command, where nobody was killed."""
    send, sent = dist.all_reduce, 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == message and os.environ["RANK"] == rank:
            note.write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        return send(*arguments, **options)

    dist.all_reduce = counted
    code = main(words)
    if not message and os.environ["RANK"] == "0":
        note.write_text(str(sent))
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
