"""A notice board: notes in SQLite, uploads in a directory, an export as a ZIP file."""

import csv
import io
import os
import signal
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

from flask import Flask, abort, redirect, render_template, request, send_file, send_from_directory
from werkzeug.serving import make_server
from werkzeug.utils import secure_filename

import store

BASE = Path(__file__).parent
UPLOADS = BASE / "data" / "uploads"

app = Flask(__name__)


@app.get("/healthz")
def healthy():
    return "ok"


@app.get("/")
def index():
    return render_template("index.html", notes=store.notes())


@app.get("/search")
def search():
    return render_template("index.html", notes=store.notes(request.args.get("q", "")))


@app.post("/notes")
def add():
    text = request.form.get("text", "").strip()
    if not text:
        abort(400)
    return redirect(f"/notes/{store.add(text)}")


@app.get("/notes/<int:number>")
def note(number):
    text = store.note(number)
    if text is None:
        abort(404)
    return render_template("note.html", number=number, text=text)


@app.delete("/notes/<int:number>")
def remove(number):
    store.remove(number)
    return "", 204


@app.post("/files")
def upload():
    file = request.files["file"]
    UPLOADS.mkdir(exist_ok=True)
    name = secure_filename(file.filename)
    part = UPLOADS / f"{name}.part"
    file.save(part)
    os.replace(part, UPLOADS / name)
    return redirect(f"/files/{name}")


@app.get("/files/<name>")
def download(name):
    return send_from_directory(UPLOADS, name)


@app.delete("/files/<name>")
def forget(name):
    (UPLOADS / secure_filename(name)).unlink()
    return "", 204


@app.get("/export.zip")
def export():
    table = io.StringIO()
    csv.writer(table).writerows(store.notes())
    file = tempfile.TemporaryFile()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.csv", table.getvalue())
        for path in sorted(UPLOADS.iterdir()):
            archive.write(path, f"files/{path.name}")
    file.seek(0)
    return send_file(file, mimetype="application/zip")


@app.post("/maintenance")
def maintenance():
    store.maintain()
    return "done"


@app.get("/fails")
def fails():
    raise RuntimeError("as asked")


def main():
    store.prepare()
    server = make_server("127.0.0.1", 8000, app, threaded=True)
    stop = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
