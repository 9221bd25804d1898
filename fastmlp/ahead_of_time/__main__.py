"""Build libraries of the kernels: ``python -m fastmlp.ahead_of_time FOLDER``."""

import argparse
from pathlib import Path

from fastmlp.ahead_of_time.building import WHY_NOT, build, build_for_this_machine
from fastmlp.ahead_of_time.levels import SYSTEMS


def main() -> None:
    """Build them, and say what was built."""
    parser = argparse.ArgumentParser(prog="python -m fastmlp.ahead_of_time", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the libraries go")
    parser.add_argument("--system", choices=SYSTEMS, help="make them for this system, instead of this machine")
    arguments = parser.parse_args()
    if arguments.system is None:
        libraries = build_for_this_machine(arguments.folder)
    else:
        system = SYSTEMS[arguments.system]
        libraries = build(arguments.folder, system, system.tiles, is_foreign=True)
    reason = arguments.folder / WHY_NOT
    print("\n".join(map(str, libraries)) or reason.read_text(encoding="utf-8").strip())


if __name__ == "__main__":
    main()
