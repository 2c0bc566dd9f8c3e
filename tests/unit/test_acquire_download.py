"""One file from a real server on loopback that cuts, lies and refuses."""

import email.utils
import errno
import hashlib
import logging
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from fault_server import Fault, serving

from scanline.acquire import answers, download
from scanline.acquire.answers import check_answer, retry_after
from scanline.acquire.download import Remote, Request, Transfer
from scanline.core.errors import InputError

BODY = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.001)
    with serving() as site:
        site.files["/a file.bin"] = BODY
        yield site


def remote(site, **keys):
    return Remote(**{"path": "a file.bin", "origin": "the file", "request": lambda: ask(site), **keys})


def ask(site, path="/a file.bin?key=SECRET"):
    return Request(site.url(path))


def fetch(folder, wanted, retries=3, told=lambda count: None):
    return download.download(wanted, Transfer(folder, retries, told))


def parts(folder):
    return sorted(path.suffix for path in (folder / ".scanline/parts").iterdir())


def refusal(folder, wanted, **keys):
    with pytest.raises(InputError) as caught:
        fetch(folder, wanted, **keys)
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert not (folder / wanted.path).exists()
    return str(caught.value)


def test_a_file_lands_under_its_name_with_nothing_left_beside_it(site, tmp_path):
    assert fetch(tmp_path, remote(site, sha256=SHA256, bytes=len(BODY))) == SHA256
    assert (tmp_path / "a file.bin").read_bytes() == BODY
    assert parts(tmp_path) == []


def test_a_cut_download_goes_on_where_it_stopped(site, tmp_path):
    site.faults["/a file.bin"] = [Fault(cut_after=1_000_000), Fault(cut_after=500_000)]
    counted = []
    assert fetch(tmp_path, remote(site), told=counted.append) == SHA256
    assert site.ranges("/a file.bin") == [None, "bytes=1000000-", "bytes=1500000-"]
    assert sum(counted) == len(BODY)


def test_a_later_run_goes_on_too(site, tmp_path):
    site.faults["/a file.bin"] = [Fault(cut_after=1_000_000)]
    assert "refused or cut" in refusal(tmp_path, remote(site), retries=0)
    assert parts(tmp_path) == [".json", ".part"]
    assert fetch(tmp_path, remote(site)) == SHA256
    assert site.ranges("/a file.bin") == [None, "bytes=1000000-"]


def test_progress_starts_the_count_of_failures_anew(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS_BYTES", 400_000)
    site.faults["/a file.bin"] = [Fault(cut_after=400_000)] * 6
    assert fetch(tmp_path, remote(site), retries=1) == SHA256


def test_a_file_that_changed_meanwhile_is_fetched_anew(site, tmp_path):
    site.faults["/a file.bin"] = [Fault(cut_after=1_000_000)]
    refusal(tmp_path, remote(site), retries=0)
    site.files["/a file.bin"] = BODY[::-1]
    assert fetch(tmp_path, remote(site)) == hashlib.sha256(BODY[::-1]).hexdigest()


def test_another_file_of_the_same_name_does_not_continue_this_one(site, tmp_path):
    site.faults["/a file.bin"] = [Fault(cut_after=1_000_000)]
    refusal(tmp_path, remote(site), retries=0)
    fetch(tmp_path, remote(site, origin="another file"))
    assert site.ranges("/a file.bin") == [None, None]


@pytest.mark.parametrize("fault", [Fault(ignore_range=True), Fault(shift=7), Fault(status=416)])
def test_a_server_that_cannot_resume_gives_the_whole_file(site, tmp_path, fault):
    site.faults["/a file.bin"] = [Fault(cut_after=1_000_000), fault]
    assert fetch(tmp_path, remote(site)) == SHA256


def test_pieces_of_two_files_are_found_out_and_fetched_once_more(site, tmp_path):
    """A server whose tag stays while its file changes."""
    site.faults["/a file.bin"] = [Fault(cut_after=1_000_000)]
    refusal(tmp_path, remote(site), retries=0)
    (part,) = (tmp_path / ".scanline/parts").glob("*.part")
    part.write_bytes(bytes(1_000_000))
    assert fetch(tmp_path, remote(site, sha256=SHA256)) == SHA256
    assert site.ranges("/a file.bin") == [None, "bytes=1000000-", None]


def test_a_part_that_a_kill_left_whole_is_not_fetched_again(site, tmp_path, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "sha256_of_file", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(tmp_path, remote(site))
    assert fetch(tmp_path, remote(site)) == SHA256
    assert len(site.asked) == 1


def test_too_short_too_long_and_of_another_size_than_known(site, tmp_path):
    site.faults["/a file.bin"] = [Fault(claimed_length=len(BODY) + 5)] * 2
    found = refusal(tmp_path, remote(site, origin="x"), retries=1)
    assert "the file is shorter than what is there of it, 2 times" in found
    found = refusal(tmp_path, remote(site, bytes=7))
    assert f"the file: found {len(BODY)} bytes; expected 7 bytes" in found
    assert parts(tmp_path) == []


def test_a_wrong_hash_keeps_nothing(site, tmp_path):
    assert f"found SHA-256 {SHA256}; expected {'0' * 64}" in refusal(tmp_path, remote(site, sha256="0" * 64))
    assert parts(tmp_path) == []
    assert len(site.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_names_what_to_do(site, tmp_path, status):
    site.faults["/a file.bin"] = [Fault(status=status, body=b"<Error><Code>ExpiredToken</Code></Error>")] * 9
    found = refusal(tmp_path, remote(site, advice="Renew it."))
    assert found.startswith(f"the file: found HTTP {status} (ExpiredToken); expected ")
    assert found.endswith("Renew it.")
    assert len(site.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(site, tmp_path, status):
    site.faults["/a file.bin"] = [Fault(status=status)] * 2
    assert fetch(tmp_path, remote(site)) == SHA256
    site.faults["/a file.bin"] = [Fault(status=status)] * 9
    (tmp_path / "a file.bin").unlink()
    assert f"found HTTP {status}" in refusal(tmp_path, remote(site), retries=1)
    assert len(site.asked) == 5


def test_the_server_says_how_long_to_wait(site, tmp_path, monkeypatch):
    site.faults["/a file.bin"] = [Fault(status=429, headers={"Retry-After": "1"})]
    started = time.monotonic()
    fetch(tmp_path, remote(site))
    assert time.monotonic() - started >= 1
    soon = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    assert 40 < retry_after({"Retry-After": soon}) <= 50
    assert retry_after({"Retry-After": "86400"}) == answers.LONGEST_WAIT_SECONDS
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None


def test_a_reason_in_json_is_told_without_secrets(site, monkeypatch):
    monkeypatch.setattr("scanline.acquire.environment._used", {"SECRET"})
    site.faults["/x"] = [Fault(status=403, body=b'{"message": "key SECRET\\n has expired"}')]
    with requests.get(site.url("/x"), stream=True) as answer, pytest.raises(InputError) as caught:
        check_answer(answer, "x", "Renew it.")
    assert "(key *** has expired)" in str(caught.value)


def test_no_server_at_all_is_one_line(tmp_path):
    wanted = Remote("x", "x", lambda: Request("http://127.0.0.1:9/x?key=SECRET"))
    assert "the connection to 127.0.0.1 was refused or cut" in refusal(tmp_path, wanted, retries=0)
    wanted = Remote("x", "x", lambda: Request("http://[::1/x?key=SECRET"))
    assert "a request that cannot be made" in refusal(tmp_path, wanted)


def test_no_secret_is_logged(site, tmp_path, caplog):
    caplog.set_level(logging.INFO, "scanline")
    site.faults["/a file.bin"] = [Fault(status=503), Fault(cut_after=10)]
    fetch(tmp_path, remote(site))
    assert "HTTP 503" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_web_page_in_place_of_a_file_is_refused(site, tmp_path):
    site.pages["/login"] = lambda query, headers: (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>")
    wanted = Remote("x.zip", "x", lambda: ask(site, "/login"), is_page=False)
    assert "found a web page" in refusal(tmp_path, wanted)
    assert fetch(tmp_path, Remote("x.html", "x", lambda: ask(site, "/login"))) == hashlib.sha256(b"<html>").hexdigest()


def test_content_in_another_coding_is_refused(site, tmp_path):
    site.faults["/a file.bin"] = [Fault(headers={"Content-Encoding": "gzip"})]
    assert "content in 'gzip' coding" in refusal(tmp_path, remote(site))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_fills_up_is_one_line_and_later_it_goes_on(site, tmp_path, monkeypatch, number):
    class Full:
        """A file that takes a million bytes."""

        def __init__(self, path, mode):
            self.file, self.left = open(path, mode), 1_000_000  # noqa: SIM115, PTH123

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, chunk):
            if len(chunk) > self.left:
                raise OSError(number, "No space left on device")
            self.left -= len(chunk)
            return self.file.write(chunk)

    real = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path,
            "open",
            lambda path, mode="r", **keys: (Full if path.suffix == ".part" and mode in {"wb", "ab"} else real)(
                path, mode, **keys
            ),
        )
        assert "No space left on device" in refusal(tmp_path, remote(site))
    assert fetch(tmp_path, remote(site)) == SHA256
    assert site.ranges("/a file.bin")[1] is not None


def test_a_file_larger_than_the_disk_is_not_begun(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    found = refusal(tmp_path, remote(site))
    assert "found 0.001 GB free for the file; expected 0.003 GB" in found
