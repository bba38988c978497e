"""The appendix's table of *To Share or Not To Share*, TOP-20: regret of guided search less that of random search.

From 1,000 published scores of each of five supernets a space, as far as they go; the output says what is comparable.
Usage, from anywhere::

    python experiments/to_share_or_not/table3.py --data FOLDER [--json]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from regrets import program

TOPS = (20,)


def main(words: Sequence[str] | None = None) -> int:
    return program(__doc__, TOPS, words)


if __name__ == "__main__":
    sys.exit(main())
