"""The hub's server with nothing joined: every event is a write of its own. `python -m benchmarks.uncoalesced --port 8000`"""

from __future__ import annotations

import sys

from hub import server

# isort: split
from consumers import switchboard

if __name__ == "__main__":
    switchboard.RUN = 0  # type: ignore[misc]
    switchboard.WINDOW = 0.0  # type: ignore[misc]
    sys.exit(server.main())
