"""A face-matching service, its database and load on it, on one machine: `python run.py ARTIFACT --faces FACES`."""

from __future__ import annotations

import sys

from interruptions import take_signals

if __name__ == "__main__":
    take_signals()
    try:
        from matching import main  # seconds of imports, which Ctrl-C may end as well

        raise SystemExit(main())
    except KeyboardInterrupt:
        print("interrupted; all that was started is ended", file=sys.stderr)
        raise SystemExit(130) from None
