"""The prices of a small exchange. Python 3, standard library only.

PORT and HOST in the environment say where to listen. The program knows nothing of tracing or metrics.
"""

import http.server
import json
import os
import signal
import threading
import zlib


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept
    wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgement

    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, {"status": "ok"})
        elif self.path.startswith("/quotes/"):
            symbol = self.path.removeprefix("/quotes/")
            price = 10 + zlib.crc32(symbol.encode()) % 9000 / 100
            self.answer(200, {"symbol": symbol, "price": price})
        else:
            self.answer(404, {"error": "not found"})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """One line for each request is of no use under load."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True  # a kept connection does not keep the program from ending
    request_queue_size = 1024  # the default of 5 refuses a burst


def main():
    address = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8081"))
    server = Server(address, Handler)
    # shutdown waits for serve_forever, which runs in the thread that handles signals.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
    server.server_close()


if __name__ == "__main__":
    main()
