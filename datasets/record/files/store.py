"""The notes, in SQLite."""

import contextlib
import sqlite3
from pathlib import Path

FILE = Path(__file__).parent / "data" / "board.db"


@contextlib.contextmanager
def database():
    connection = sqlite3.connect(FILE)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def prepare():
    with database() as db:
        db.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT)")


def notes(containing=""):
    with database() as db:
        found = db.execute("SELECT id, text FROM notes WHERE text LIKE ?", (f"%{containing}%",))
        return found.fetchall()


def note(number):
    with database() as db:
        row = db.execute("SELECT text FROM notes WHERE id = ?", (number,)).fetchone()
    return row and row[0]


def add(text):
    with database() as db:
        return db.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid


def remove(number):
    with database() as db:
        db.execute("DELETE FROM notes WHERE id = ?", (number,))


def maintain():
    with contextlib.closing(sqlite3.connect(FILE)) as db:
        db.execute("VACUUM")
        db.execute("PRAGMA journal_mode = WAL")
