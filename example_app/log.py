"""Log lines with time, level and name, unless somebody has configured the log already."""

from __future__ import annotations

import logging.config


def configure() -> None:
    """uvicorn configures its own lines alone. Of the engine below us only what is wrong is shown."""
    if logging.getLogger().handlers:
        return
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": "INFO", "handlers": ["stderr"]},
            "loggers": {"aiokafka": {"level": "WARNING"}},
        }
    )
