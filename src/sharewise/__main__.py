"""`python -m sharewise` is the command line."""

import sys

from sharewise.cli import main

sys.exit(main())
