"""What an operator may see and do: one answer for the command line, pages, and users' own code.

from convex_messaging_fastapi.operations import Filter

page = await bus.operations.dead_letters(Filter(topic="payments"))
"""

from convex_messaging_fastapi.messages.pauses import PauseScope as PauseScope
from convex_messaging_fastapi.messages.pauses import Whom as Whom
from convex_messaging_fastapi.operations.filtering import Filter as Filter
from convex_messaging_fastapi.operations.filtering import StateWanted as StateWanted
from convex_messaging_fastapi.operations.found import still_open as still_open
from convex_messaging_fastapi.operations.lag import PartitionLag as PartitionLag
from convex_messaging_fastapi.operations.operations import Operations as Operations
from convex_messaging_fastapi.operations.replaying import MAX_REPLAYS as MAX_REPLAYS
from convex_messaging_fastapi.operations.replaying import Job as Job
from convex_messaging_fastapi.operations.replaying import JobStatus as JobStatus
from convex_messaging_fastapi.operations.tailing import Tail as Tail
from convex_messaging_fastapi.operations.tailing import TailedRecord as TailedRecord
from convex_messaging_fastapi.operations.validating import KnownHandler as KnownHandler
from convex_messaging_fastapi.operations.validating import known_handlers as known_handlers
from convex_messaging_fastapi.operations.values import KeptState as KeptState
from convex_messaging_fastapi.operations.values import Letter as Letter
from convex_messaging_fastapi.operations.values import LetterGroup as LetterGroup
from convex_messaging_fastapi.operations.values import LetterKind as LetterKind
from convex_messaging_fastapi.operations.values import LetterPage as LetterPage
from convex_messaging_fastapi.operations.values import LetterPlace as LetterPlace
from convex_messaging_fastapi.operations.values import LetterState as LetterState
from convex_messaging_fastapi.operations.values import Origin as Origin
from convex_messaging_fastapi.operations.values import StateChange as StateChange
from convex_messaging_fastapi.operations.values import ValidatedAlike as ValidatedAlike
from convex_messaging_fastapi.operations.values import Validation as Validation
from convex_messaging_fastapi.operations.values import Verdict as Verdict
