"""`python -m convex_messaging_fastapi`: the command line."""

from __future__ import annotations

from convex_messaging_fastapi.cli import main

if __name__ == "__main__":
    main()
