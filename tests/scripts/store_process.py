"""Another process that uses a gallery: `python tests/scripts/store_process.py PLACE search enroll remove`.

What it does is printed, with how many faces that was; then it waits for a line of its standard input.
"""

from __future__ import annotations

import sys

import tests_folder  # noqa: F401
from stores import faces, open_store


def main() -> None:
    """Do each of the arguments in turn."""
    with open_store(sys.argv[1], create=False) as store:
        for what in sys.argv[2:]:
            if what == "enroll":
                done = len(store.enroll("new", faces(1, seed=77)))
            elif what == "remove":
                done = store.remove("person 0007")
            else:
                done = sum(match.person == "person 0007" for match in store.search(faces(1, seed=5), 100)[0])
            print(what, done, flush=True)
            sys.stdin.readline()


if __name__ == "__main__":
    main()
