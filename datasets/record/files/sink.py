"""A mail server that takes everything and keeps nothing, for what exim passes on."""

import socketserver
import sys


class Mail(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        try:
            self.take()
        except ConnectionResetError:
            pass

    def take(self):
        self.say("220 sink")
        while line := self.rfile.readline():
            word = line.split()[:1]
            if word == [b"DATA"]:
                self.say("354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.say("250 gone")
            elif word == [b"QUIT"]:
                self.say("221 bye")
                return
            else:
                self.say("250 ok")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Mail).serve_forever()
