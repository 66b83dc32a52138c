"""The service behind nginx: it serves a directory and takes orders. It runs unobserved."""

import http.server
import os
import sys


class Backend(http.server.SimpleHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.end_headers()

    def log_message(self, *_):
        pass


os.chdir(sys.argv[1])
http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Backend).serve_forever()
