"""Run in an environment that has nothing but the wheel: all that the front door shows can be imported."""

from __future__ import annotations

import convex_messaging_fastapi as installed

shown = [getattr(installed, name) for name in installed.__all__]
print(f"{installed.__file__}: {installed.__version__}, {len(shown)} names")
