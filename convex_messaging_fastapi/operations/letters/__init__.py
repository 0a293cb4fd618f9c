"""A dead letter as an operator sees it: what its record tells, whoever wrote it. Pure, and nothing raises.

Anybody may have written anything into a dead-letter topic, so every field may be of any type and size.
"""

from convex_messaging_fastapi.operations.letters.contents import value_text as value_text
from convex_messaging_fastapi.operations.letters.fields import Fields as Fields
from convex_messaging_fastapi.operations.letters.fingerprint import GroupKey as GroupKey
from convex_messaging_fastapi.operations.letters.fingerprint import group_id_of as group_id_of
from convex_messaging_fastapi.operations.letters.fingerprint import group_key_of as group_key_of
from convex_messaging_fastapi.operations.letters.frames import frame_of as frame_of
from convex_messaging_fastapi.operations.letters.glancing import Alike as Alike
from convex_messaging_fastapi.operations.letters.glancing import fields_alike as fields_alike
from convex_messaging_fastapi.operations.letters.glancing import glance_at as glance_at
from convex_messaging_fastapi.operations.letters.glancing import without_message as without_message
from convex_messaging_fastapi.operations.letters.showing import id_of as id_of
from convex_messaging_fastapi.operations.letters.showing import letter_of as letter_of
from convex_messaging_fastapi.operations.letters.showing import place_of as place_of
from convex_messaging_fastapi.operations.letters.showing import replayed_from as replayed_from
from convex_messaging_fastapi.operations.letters.showing import replays as replays
from convex_messaging_fastapi.operations.letters.telling import QUICK_BYTES as QUICK_BYTES
from convex_messaging_fastapi.operations.letters.telling import Told as Told
from convex_messaging_fastapi.operations.letters.telling import is_quickly_told as is_quickly_told
from convex_messaging_fastapi.operations.letters.telling import told_of as told_of
