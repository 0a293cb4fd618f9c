"""`doctor`: what is wrong between this machine, the settings and the cluster, and how to mend it."""

from convex_messaging_fastapi.cli.doctor.examination import Examination, examine
from convex_messaging_fastapi.cli.doctor.findings import Finding, Mark

__all__ = ["Examination", "Finding", "Mark", "examine"]
