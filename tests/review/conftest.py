"""A PostgreSQL of the tests' own, from Debian's package."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from needs import lacks


def _find(program: str) -> str | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / program).exists():
            return str(folder / program)
    return shutil.which(program)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return the URL of a running server, without the database's name; it is stopped at the end."""
    initdb, server_control = _find("initdb"), _find("pg_ctl")
    if initdb is None or server_control is None:
        lacks("postgres", "no PostgreSQL on this machine: apt-get install postgresql")
    pytest.importorskip("psycopg")
    # A folder of its own: PostgreSQL refuses to run as root, and pytest's folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="overlap-pg-"))
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([*prefix, initdb, "-D", f"{folder}/data", "-U", "tester", "-A", "trust", "--no-sync"], **run)
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c max_connections=300"
    data = [*prefix, server_control, "-D", f"{folder}/data", "-w"]
    subprocess.run([*data, "-l", f"{folder}/log", "-o", options, "start"], **run)
    try:
        yield f"postgresql+psycopg://tester@/{{name}}?host={folder}"
    finally:
        subprocess.run([*data, "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder, ignore_errors=True)


_numbers = count()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> str:
    """Return the URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/votes.sqlite"
    import sqlalchemy as sa

    url = request.getfixturevalue("postgres")
    name = f"votes_{os.getpid()}_{next(_numbers)}"
    admin = sa.create_engine(url.format(name="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return url.format(name=name)
