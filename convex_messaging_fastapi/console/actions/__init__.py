"""What an operator may do: each says first what it would do and to how many, and then does that."""

from convex_messaging_fastapi.console.actions.discarding import DISCARD as DISCARD
from convex_messaging_fastapi.console.actions.discarding import REOPEN as REOPEN
from convex_messaging_fastapi.console.actions.pausing import PAUSE as PAUSE
from convex_messaging_fastapi.console.actions.pausing import RESUME as RESUME
from convex_messaging_fastapi.console.actions.replaying import REPLAY as REPLAY
from convex_messaging_fastapi.console.actions.shape import Action as Action
from convex_messaging_fastapi.console.actions.stopping import STOP as STOP

ACTIONS: tuple[Action, ...] = (REPLAY, DISCARD, REOPEN, PAUSE, RESUME, STOP)
