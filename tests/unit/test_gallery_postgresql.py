"""Enrolled people in PostgreSQL: what a server does to its clients, roles and rights, and what stays after removal.

What every store does is in test_gallery_stores.py.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from galleries import model
from messages import names, raises_naming
from postgresql import PostgresqlServer, new_place, running_server, shared_database, shared_server
from postgresql_proxy import CommitProxy
from stores import SIZE, faces, open_store

from efq.runtime.errors import GalleryError, InputError, MissingDependencyError, UsageError
from efq.runtime.gallery.stores.open import open_gallery
from efq.runtime.gallery.stores.store import GalleryStore, StoreSize, Template

SCHEMA = "gallery_of_these_tests"


@pytest.fixture
def server() -> PostgresqlServer:
    return shared_server()


@pytest.fixture
def store(server: PostgresqlServer) -> Iterator[GalleryStore]:
    with open_store(new_place()) as opened:
        yield opened


@pytest.fixture
def own_server() -> Iterator[PostgresqlServer]:
    """One that a test may stop."""
    with running_server() as server:
        yield server


def table_bytes(server: PostgresqlServer) -> bytes:
    """What the files of the shared database hold."""
    server.execute("CHECKPOINT")
    ((number,),) = server.execute("SELECT oid FROM pg_database WHERE datname = current_database()", shared_database())
    return b"".join(path.read_bytes() for path in sorted((server.data / "base" / str(number)).iterdir()))


def holds(content: bytes, row: np.ndarray) -> bool:
    """Whether a good part of an embedding's values is there."""
    return row.astype("<f4").tobytes()[8:56] in content


@pytest.mark.parametrize("template", ["best", "mean"])
def test_removed_embeddings_are_in_no_table_file(server: PostgresqlServer, template: Template) -> None:
    rows = faces(60, seed=100 if template == "mean" else 101)
    with open_store(new_place(), template=template) as store:
        for place in range(20):
            for row in rows[place * 3 : place * 3 + 3]:  # means of one and two faces are in dead rows
                store.enroll(f"p{place}", row[None])
        for place in (0, 7, 19):
            mine = rows[place * 3 : place * 3 + 3]
            assert holds(table_bytes(server), mine[0])
            templates = store._templates_of(f"p{place}")
            assert templates is not None
            assert store.remove(f"p{place}") == 3
            content = table_bytes(server)
            assert not any(holds(content, row) for row in (*mine, *templates))
            assert holds(content, rows[5 * 3])


def test_a_removed_face_is_in_no_table_file(server: PostgresqlServer) -> None:
    rows = faces(90, seed=55)
    with open_store(new_place()) as store:
        store.enroll("Ada", rows, faces=[f"{place:02}" for place in range(90)])
        for place in (0, 40, 41, 89):
            assert store.remove("Ada", f"{place:02}") == 1
        content = table_bytes(server)
        assert [place for place in range(90) if not holds(content, rows[place])] == [0, 40, 41, 89]


def test_embeddings_keep_their_bits(store: GalleryStore) -> None:
    rows = faces(5, seed=1)
    rows[0, 0] = -0.0
    rows[0, 1] = 1e-41  # subnormal
    rows[0] /= np.linalg.norm(rows[0].astype(np.float64))
    store.enroll("Ada", rows, faces=list("abcde"))
    (part,) = store.export()
    assert part.embeddings.tobytes() == rows.tobytes()


def test_a_restarted_server_is_found_again(own_server: PostgresqlServer) -> None:
    rows = faces(3, seed=0)
    with open_store(own_server.url(own_server.new_database())) as store:
        store.enroll("Ada", rows[:1])
        own_server.stop()
        with raises_naming(GalleryError, own_server.folder):
            store.enroll("Grace", rows[1:2])
        with pytest.raises(GalleryError):
            store.search(rows)
        own_server.start()
        assert store.search(rows[:1])[0][0].person == "Ada"
        store.enroll("Grace", rows[1:2])
        own_server.stop()
        own_server.start()
        store.enroll("Edith", rows[2:])  # the first call, on connections that the server dropped
        assert store.size() == StoreSize(people=3, faces=3)


@pytest.mark.parametrize("is_sent", [True, False])
def test_a_lost_commit_is_found_out(server: PostgresqlServer, is_sent: bool) -> None:
    rows = faces(3, seed=0)
    place = new_place()
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(CommitProxy(server.folder))
        direct = stack.enter_context(open_store(place))
        with open_store(place.replace(str(server.folder), str(proxy.folder))) as store:
            store.enroll("Ada", rows[:1])
            proxy.lose_next_commit(is_sent=is_sent)
            if is_sent:
                store.enroll("Grace", rows[1:2])
            else:
                with raises_naming(GalleryError, "again"):
                    store.enroll("Grace", rows[1:2])
            assert direct.size() == StoreSize(people=1 + is_sent, faces=1 + is_sent)
            proxy.lose_next_commit(is_sent=is_sent)
            if is_sent:
                assert store.remove("Ada") == 1
            else:
                with raises_naming(GalleryError, "again"):
                    store.remove("Ada")
            assert bool(direct.faces_of("Ada")) != is_sent
            assert proxy.lost == 2


def test_no_server(tmp_path: Path) -> None:
    shared_server()
    with raises_naming(GalleryError, tmp_path) as caught:
        open_store(f"postgresql://somebody:secret-word@/faces?host={tmp_path}")
    assert "secret-word" not in str(caught.value)


def test_wrong_password(server: PostgresqlServer) -> None:
    with raises_naming(GalleryError, "postgres") as caught:
        open_store(server.url(shared_database(), password="secret-word"))
    assert "secret-word" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://user:secret-word%zz@host/database",
        "postgresql://user:secret-word@host:port/database",
        "postgresql://user:secret/word@host/database",
        "postgresql://user:secret-word@host/database?nonsense=1",
        "postgresql://user:secret-word@host/database?schema",
        "postgresql://user:secret-word@host/database?schema=public",
        "postgresql://user:secret-word@host/database?schema=pg_mine",
        'postgresql://user:secret-word@host/database?schema=a"b',
        "postgresql://user:secret-word@host/database?schema=" + "x" * 70,
    ],
)
def test_addresses_that_are_none(place: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(UsageError) as caught:
        open_store(place)
    assert "secret" not in str(caught.value)


def test_a_database_without_the_extension(server: PostgresqlServer) -> None:
    with raises_naming(GalleryError, "pgvector", "vector"):
        open_store(server.url(server.new_database(vector=False)))


def test_a_role_of_few_rights(server: PostgresqlServer) -> None:
    database = server.new_database()
    role, password = server.new_role()
    place = server.url(database, role, password, schema=SCHEMA)
    with raises_naming(GalleryError, 42501):
        open_store(place)
    server.execute(f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {role}", database)
    with open_store(place) as store:  # the owner of a schema, of nothing else
        store.enroll("Ada", faces(1, seed=0))
        store.enroll("Grace", faces(1, seed=1))
        assert store.remove("Ada") == 1
    reader, password = server.new_role()
    server.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {reader}", database)
    server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {reader}", database)
    with open_store(server.url(database, reader, password, schema=SCHEMA)) as store:
        assert store.search(faces(1, seed=1))[0][0].person == "Grace"
        assert sum(len(part) for part in store.export()) == 1
        for change in (lambda: store.enroll("Edith", faces(1, seed=2)), lambda: store.remove("Grace")):
            with raises_naming(GalleryError, 42501):
                change()
        assert store.size() == StoreSize(people=1, faces=1)


def test_who_may_not_vacuum_is_told(server: PostgresqlServer, caplog: pytest.LogCaptureFixture) -> None:
    database = server.new_database()
    open_store(server.url(database, schema=SCHEMA)).close()
    role, password = server.new_role()
    server.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}", database)
    server.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}", database)
    server.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {role}", database)
    with open_store(server.url(database, role, password, schema=SCHEMA)) as store:
        store.enroll("Ada", faces(3, seed=0))
        caplog.clear()
        assert store.remove("Ada") == 3
        names(caplog.text, "VACUUM")
        assert "Ada" not in caplog.text
        server.execute(f"GRANT MAINTAIN ON {SCHEMA}.embeddings, {SCHEMA}.templates TO {role}", database)
        store.enroll("Ada", faces(3, seed=0))
        caplog.clear()
        assert store.remove("Ada") == 3
        assert not caplog.records


def test_another_layout_is_refused(server: PostgresqlServer) -> None:
    place = new_place()
    open_store(place).close()
    schema = place.rpartition("schema=")[2]
    server.execute(f"UPDATE {schema}.record SET layout = 2", shared_database())
    with raises_naming(GalleryError, 1, 2):
        open_store(place)


def test_errors_name_nobody(store: GalleryStore) -> None:
    store.enroll("Ada", faces(1, seed=0), faces=["Ada's face"])
    with pytest.raises(InputError) as caught:
        store.enroll("Ada", faces(1, seed=1), faces=["Ada's face"])
    assert "Ada" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_store_in_a_forked_child(store: GalleryStore) -> None:
    store.enroll("Ada", faces(1, seed=0))
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_in_child, args=(store,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert store.size() == StoreSize(people=2, faces=2)


def _in_child(store: GalleryStore) -> None:
    store.enroll("Grace", faces(1, seed=1))
    assert store.search(faces(1, seed=0))[0][0].person == "Ada"


def test_one_gallery_is_made_by_many(server: PostgresqlServer) -> None:
    place = new_place()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: open_store(place), range(6)))
    for one in stores:
        one.close()


def test_an_embedding_longer_than_a_page(server: PostgresqlServer) -> None:
    rows = faces(4, seed=0, size=3000)
    with open_gallery(new_place(), model("long", size=3000)) as store:
        store.enroll("Ada", rows[:2])
        store.enroll("Grace", rows[2:])
        assert store.search(rows[2:3])[0][0].person == "Grace"
        assert store.remove("Ada") == 2


def test_many_equal_embeddings(store: GalleryStore) -> None:
    rows = np.repeat(faces(1, seed=0), 300, axis=0)
    for person in ("b", "c", "a"):
        store.enroll(person, rows)
    assert [match.person for match in store.search(rows[:1], 3)[0]] == ["a", "b", "c"]
    assert rows.shape[1] == SIZE


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with raises_naming(MissingDependencyError, "efq[postgres]"):
        open_store("postgresql://host/faces")
