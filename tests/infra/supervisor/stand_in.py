"""Serve as a small service in tests: stand_in.py NAME PORT [--exit-code N [--after S]].

NAME is a path. It answers 200 (503 while the file NAME.unready exists), says so in its log at
/livez, and at SIGTERM shuts down as a server does. With --exit-code it ends at once or
after S seconds, as a service with a wrong setting does.
"""

import argparse
import http.server
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/livez":
            print("probed at /livez", flush=True)
        unready = Path(f"{sys.argv[1]}.unready").exists()
        self.send_response(503 if unready else 200)
        self.end_headers()
        self.wfile.write(b"the model is missing" if unready else b"ready")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("--exit-code", type=int)
    parser.add_argument("--after", type=float, default=0)
    options = parser.parse_args()
    print(f"{options.name} begins as {os.getpid()}", flush=True)
    if options.exit_code is not None:
        time.sleep(options.after)
        print("error: COLOUR is 'plaid'; allowed: red, blue", flush=True)
        sys.exit(options.exit_code)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)

    def drain(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, drain)
    server.serve_forever()
    print(f"{options.name} ends", flush=True)


if __name__ == "__main__":
    main()
