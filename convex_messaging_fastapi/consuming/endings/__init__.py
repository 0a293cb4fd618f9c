"""What becomes of a message that has failed for good: one small file for each ending."""

from convex_messaging_fastapi.consuming.endings.bury import BuryEnding, DeadLetters
from convex_messaging_fastapi.consuming.endings.choice import ending_for
from convex_messaging_fastapi.consuming.endings.discard import DiscardEnding
from convex_messaging_fastapi.consuming.endings.ending import Ending
from convex_messaging_fastapi.consuming.endings.hold import HoldEnding

__all__ = ["BuryEnding", "DeadLetters", "DiscardEnding", "Ending", "HoldEnding", "ending_for"]
