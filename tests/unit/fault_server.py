"""A web server on loopback that knows ranges and fails as it is told to."""

import contextlib
import hashlib
import http.server
import re
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Fault:
    """How one answer goes wrong.

    Attributes:
        status: Sent in place of the file; None sends it.
        headers: Sent beside.
        body: Of that status.
        cut_after: Bytes of the body after which the connection is closed; None sends all.
        ignore_range: Answer 200 with the whole file, whatever was asked for.
        claimed_length: Told in place of the right length.
        shift: Bytes by which an asked-for range is sent too late, and said to be.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    ignore_range: bool = False
    claimed_length: int | None = None
    shift: int = 0


class Site:
    """Files by path, the faults of their next answers, and what was asked for.

    Where `together` is set, each answer waits until as many are asked for at the same time.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, object] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.address = ""
        self.together: threading.Barrier | None = None

    def url(self, path):
        return f"{self.address}{path}"

    def ranges(self, path):
        """The Range header of each request for a path, None where it had none."""
        return [headers.get("range") for asked, headers in self.asked if asked == path]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site = self.server.site
        path = unquote(urlsplit(self.path).path)
        if site.together is not None:
            site.together.wait()
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        site.asked.append((path, headers))
        fault = site.faults[path].pop(0) if site.faults[path] else Fault()
        if fault.status is not None:
            self.answer(fault.status, fault.headers, fault.body)
        elif path in site.pages:
            self.answer(*site.pages[path](query, headers))
        elif path in site.files:
            self.send_file(site.files[path], headers, fault)
        else:
            self.answer(404, {}, b"")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, content, headers, fault):
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        start = int(asked[1]) if asked and not fault.ignore_range and headers.get("if-range", tag) == tag else 0
        if start and start >= len(content):
            self.answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            return
        start += fault.shift if start else 0
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in fault.headers.items():
            self.send_header(name, value)
        length = len(body) if fault.claimed_length is None else fault.claimed_length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if fault.cut_after is not None or length != len(body):
            self.close_connection = True
        self.wfile.write(body[: fault.cut_after])

    def handle(self):
        with contextlib.suppress(ConnectionError):  # a client that hangs up is no failure of the server
            super().handle()

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    """A site that answers for the length of the block."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.site = Site()
        server.site.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.site
        server.shutdown()
        thread.join()
