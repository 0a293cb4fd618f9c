"""A database of ours keeps what was committed when it is stopped, and when it is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.support.databases import Database
from tools.databases import mariadb, postgres, server
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
    monkeypatch.setattr(module, "UNPACKED", tmp_path / "unpacked")
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


def put(program: Path, text: str = "") -> str:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has no database, whose only programs are those of its `bin`; nobody is root there."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(server, "_unprivileged", lambda: None)
    monkeypatch.setattr(server, "apt_install", lambda *packages: False)
    for module in (postgres, mariadb):
        monkeypatch.setattr(module, "BINARIES", str(tmp_path / "sbin"))
        monkeypatch.setattr(module, "UNPACKED", tmp_path / "unpacked")
    (tmp_path / "bin").mkdir()
    return tmp_path


def test_without_packages_nothing_breaks_and_help_is_told(
    bare: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(bare / "bin" / "apt-get", "exit 100")
    postgres.provide()
    assert postgres.HELP in capfd.readouterr().out.splitlines()[-1]
    mariadb.provide()
    assert mariadb.HELP in capfd.readouterr().out.splitlines()[-1]


def test_where_a_library_is_missing_what_was_unpacked_is_no_server(
    bare: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(bare / "bin" / "apt-get")
    for program in mariadb.PROGRAMS:
        put(bare / "unpacked" / "usr" / "bin" / program, "exit 127")
    (bare / "unpacked" / "usr" / "bin" / "mariadbd").unlink()
    put(bare / "bin" / "dpkg-deb")
    mariadb.provide()
    assert mariadb.HELP in capfd.readouterr().out.splitlines()[-1]
    assert not (bare / "unpacked").exists()


def test_what_is_unpacked_is_found_and_what_is_installed_comes_first(bare: Path) -> None:
    for program in mariadb.PROGRAMS:
        put(bare / "unpacked" / "usr" / "sbin" / program)
    assert not mariadb.missing()
    assert list(mariadb._base()) == [f"--basedir={bare / 'unpacked' / 'usr'}"]
    put(bare / "sbin" / "mariadbd")
    assert list(mariadb._base()) == []
