"""A bucket on a real server (moto) on loopback."""

import hashlib
import json
from pathlib import Path

import boto3
import pandas as pd
import pytest
from fault_server import Fault, serving
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from scanline.acquire import download, s3
from scanline.acquire.methods import acquire, list_files
from scanline.acquire.options import read_acquire_options
from scanline.core.errors import InputError

HUSH = "hush-hush"
KEYS = [f"negatives/patient {number:02d}/slice_{number}.png" for number in range(20)]


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.chdir(tmp_path)
    for name in ("SCANLINE_OFFLINE", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", HUSH)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server)
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    client.create_bucket(Bucket="heads")
    for key in [*KEYS, "negatives/readme.txt", "other/x.png"]:
        client.put_object(Bucket="heads", Key=key, Body=f"content of {key}".encode())
    client.put_object(Bucket="heads", Key="negatives/folder/", Body=b"")
    yield client
    for item in client.list_objects_v2(Bucket="heads")["Contents"]:
        client.delete_object(Bucket="heads", Key=item["Key"])
    client.delete_bucket(Bucket="heads")


def source(**keys):
    values = {"method": "s3", "path": "data/x", "bucket": "heads", "prefix": "negatives/", "retries": 1}
    return read_acquire_options(json.dumps({**values, **keys}))


def refusal(options):
    with pytest.raises(InputError) as caught:
        acquire(options)
    assert "\n" not in str(caught.value)
    assert HUSH not in str(caught.value)
    return str(caught.value)


def names(table):
    return set(table["path"])


def test_all_objects_of_a_prefix_are_fetched_under_their_keys(bucket):
    files = acquire(source())
    assert names(files) == {key.removeprefix("negatives/") for key in [*KEYS, "negatives/readme.txt"]}
    wanted = hashlib.sha256(f"content of {KEYS[0]}".encode()).hexdigest()
    assert files.set_index("path").at["patient 00/slice_0.png", "sha256"] == wanted
    assert names(acquire(source(path="data/y", pattern="*.png"))) == names(files) - {"readme.txt"}
    assert names(acquire(source(path="data/z", prefix="negatives/patient 1", pattern="*_1[0-4].png"))) == {
        f"patient {number}/slice_{number}.png" for number in range(10, 15)
    }


def test_a_sample_is_as_large_as_asked_for_and_part_of_a_larger_one(bucket):
    small, large = acquire(source(sample=5)), acquire(source(sample=9))
    assert (len(small), len(large)) == (5, 9)
    assert names(small) < names(large)
    assert acquire(source(sample=5)).equals(small), "the folder holds nine files now"
    assert names(acquire(source(path="data/y", sample=5))) == names(small)
    assert names(acquire(source(path="data/z", sample=5, seed=1))) != names(small)
    assert "found 21 objects that match '*'; expected 22 at least" in refusal(source(sample=22))


def test_the_whole_list_is_recorded_and_later_runs_draw_from_it(bucket, monkeypatch):
    before = acquire(source(sample=5))
    (path,) = Path("data/x/.scanline").glob("objects-*.parquet")
    assert len(pd.read_parquet(path)) == 21
    bucket.put_object(Bucket="heads", Key="negatives/new.png", Body=b"new")
    monkeypatch.setenv("SCANLINE_OFFLINE", "1")
    assert acquire(source(sample=5)).equals(before)
    assert list_files(source(sample=5)).equals(before)
    assert "found 5 of 6 files; missing: " in refusal(source(sample=6))
    assert "found no list of its files" in refusal(source(path="data/y"))


def test_an_object_changed_since_it_was_listed_is_told(bucket):
    acquire(source(sample=5))
    for key in KEYS:
        bucket.put_object(Bucket="heads", Key=key, Body=b"other")
    assert "found HTTP 412 (PreconditionFailed); expected the file as it was when it was listed" in refusal(
        source(sample=15)
    )


@given(st.permutations(range(12)), st.integers(0, 12), st.integers(0, 5), st.integers(0, 11))
def test_the_draw_depends_on_no_order_and_hardly_on_what_else_there_is(order, size, seed, gone):
    objects = pd.DataFrame({"key": [f"{number}.png" for number in order]})
    options = source(sample=max(size, 1), seed=seed)
    drawn = list(s3.draw(objects, options, "x")["key"])
    assert len(drawn) == max(size, 1)
    assert drawn == list(s3.draw(objects.sort_values("key").reset_index(drop=True), options, "x")["key"])
    fewer = objects[objects["key"] != f"{gone}.png"]
    if len(fewer) >= max(size, 1):
        assert len(set(drawn) - set(s3.draw(fewer, options, "x")["key"])) <= 1


def test_missing_credentials_are_named(bucket, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = refusal(source())
    assert "found no AWS_SECRET_ACCESS_KEY in the environment" in found
    assert "anonymous: true" in found


def test_a_public_bucket_needs_no_credentials_and_gets_none(bucket, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    policy = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::heads/*"}
    bucket.put_bucket_policy(Bucket="heads", Policy=json.dumps({"Statement": [policy]}))
    assert len(acquire(source(anonymous=True, sample=3))) == 3
    urls = [remote.request().url for remote in s3.remotes_of(source(anonymous=True, sample=3))]
    assert not any("Signature" in url for url in urls)


def test_no_bucket_and_no_server_are_one_line(bucket, monkeypatch):
    assert "found HTTP 404 (NoSuchBucket)" in refusal(source(bucket="nowhere"))
    found = refusal(source(endpoint_url="http://127.0.0.1:9", retries=0))
    assert "found no answer (EndpointConnectionError)" in found


def expired(status):
    body = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>token hush-hush</Message></Error>"
    return Fault(status=status, headers={"Content-Type": "application/xml"}, body=body)


def test_an_expired_token_is_told_while_listing_and_while_fetching(bucket, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", HUSH)
    listing = list(s3.remotes_of(source(sample=1)))
    with serving() as site:
        site.faults["/heads"] = [expired(400)]
        found = refusal(source(path="data/y", endpoint_url=site.address))
        assert "found HTTP 400 (ExpiredToken)" in found
        assert "Renew" in found
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", site.address)
        key = listing[0].origin.removeprefix("s3://heads")
        site.faults[f"/heads{key}"] = [Fault(status=503), expired(403)]
        found = refusal(source(sample=1))
        assert "found HTTP 403 (ExpiredToken)" in found
        assert "Renew" in found
        assert len(site.ranges(f"/heads{key}")) == 2


def test_a_large_object_goes_on_after_a_cut(bucket, monkeypatch):
    body = bytes(range(256)) * 10_000
    bucket.put_object(Bucket="heads", Key="big/a b.bin", Body=body)
    options = source(prefix="big/", retries=3)
    s3.remotes_of(options)
    with serving() as site:
        site.files["/heads/big/a b.bin"] = body
        site.faults["/heads/big/a b.bin"] = [Fault(cut_after=1_000_000), Fault(status=503)]
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", site.address)
        files = acquire(options)
        assert site.ranges("/heads/big/a b.bin") == [None, "bytes=1000000-", "bytes=1000000-"]
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        assert all(headers["if-match"] == tag for _, headers in site.asked)
    assert list(files["sha256"]) == [hashlib.sha256(body).hexdigest()]


def test_the_real_server_resumes_too(bucket, monkeypatch):
    """moto answers ranges: what a cut left is continued, not fetched anew."""
    body = bytes(range(256)) * 10_000
    bucket.put_object(Bucket="heads", Key="big/x.bin", Body=body)
    (remote,) = s3.remotes_of(source(prefix="big/"))
    folder = Path("data/x")
    stopping = download.Transfer(folder, 0, told=lambda count: stopping.stop.set() if count else None)
    with pytest.raises(download.StoppedError):
        download.download(remote, stopping)
    (part,) = (folder / ".scanline/parts").glob("*.part")
    kept = part.stat().st_size
    received = []
    transfer = download.Transfer(folder, 0, told=received.append)
    assert download.download(remote, transfer) == hashlib.sha256(body).hexdigest()
    assert 0 < kept < len(body)
    assert received[0] == kept
    assert sum(received[1:]) == len(body) - kept
