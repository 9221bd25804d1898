"""``python -m fastmlp`` is the ``fastmlp`` command."""

import sys

from fastmlp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
