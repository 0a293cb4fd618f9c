"""Message ids: random UUIDs that no two messages share, in threads and forked processes neither."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from convex_messaging_fastapi.publishing import ids
from convex_messaging_fastapi.publishing.ids import new_message_id


def test_each_is_a_random_uuid_as_everybody_writes_them() -> None:
    for _ in range(3 * ids.AT_ONCE):
        made = new_message_id()
        read = uuid.UUID(made.decode())
        assert str(read).encode() == made
        assert (read.version, read.variant) == (4, uuid.RFC_4122)


def test_all_variants_occur() -> None:
    assert {new_message_id()[19:20] for _ in range(1000)} == {b"8", b"9", b"a", b"b"}


def test_no_two_are_the_same_whichever_thread_asks() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: new_message_id(), range(20_000)))
    assert len(set(made)) == len(made)


_FORKING = """
import os
from convex_messaging_fastapi.publishing.ids import AT_ONCE, new_message_id
new_message_id()  # so that there is something left over to inherit
child = os.fork()
for _ in range(AT_ONCE // 2):
    os.write(1, new_message_id() + b"\\n")
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_makes_none_that_its_parent_makes() -> None:
    ran = subprocess.run([sys.executable, "-c", _FORKING], capture_output=True, text=True, check=True)
    made = ran.stdout.split()
    assert len(made) == len(set(made)) == ids.AT_ONCE
