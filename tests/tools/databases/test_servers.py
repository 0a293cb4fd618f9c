"""A database of ours keeps what was committed when it is stopped, and when it is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.support.databases import Database
from tools.databases import mariadb, postgres
from tools.databases.server import Unavailable, found


def kept_through_ends(database: Database) -> list[int]:
    engine = create_engine(database.sync_url)
    with engine.begin() as connection:
        connection.execute(text("create table kept (id int primary key)"))
    for number, end in enumerate((database.server.stop, database.server.kill)):
        with engine.begin() as connection:
            connection.execute(text("insert into kept values (:id)"), {"id": number})
        end()
        database.server.start()
        engine.dispose()
    with engine.connect() as connection:
        numbers = [row[0] for row in connection.execute(text("select id from kept order by id"))]
    engine.dispose()
    return numbers


def test_postgres_keeps_what_was_committed(postgres: Database) -> None:
    # what was committed last may be lost with a kill: these run without waiting for the disk
    assert kept_through_ends(postgres) in ([0], [0, 1])


def test_mariadb_keeps_what_was_committed(mariadb: Database) -> None:
    assert kept_through_ends(mariadb) in ([0], [0, 1])


@pytest.mark.parametrize("which", [postgres, mariadb])
def test_where_there_is_none_it_is_said_what_helps(
    which: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {postgres: postgres, mariadb: mariadb}[which]  # type: ignore[index]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "BINARIES", str(tmp_path))
    assert module.HELP in module.missing()
    opening = postgres.open_postgres if module is postgres else mariadb.open_mariadb
    with pytest.raises(Unavailable, match="apt-get install"), opening():
        pass


def test_a_program_is_found_in_the_newest_of_several_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for version in ("14", "15"):
        program = tmp_path / version / "bin" / "initdb"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    assert found("initdb", f"{tmp_path}/*/bin") == str(tmp_path / "15" / "bin" / "initdb")
