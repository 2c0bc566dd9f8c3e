"""Objects of an S3 bucket: boto3 lists them and signs the requests, the common download fetches them."""

import fnmatch
import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from scanline.acquire.download import KEPT, Remote, Request
from scanline.acquire.environment import credential, is_offline, listing_needs_network
from scanline.acquire.fetched_options import S3Source
from scanline.acquire.record import locked
from scanline.core.errors import InputError
from scanline.core.files import sha256_of_text
from scanline.core.log import logger
from scanline.core.tables import read_table, write_table

SIGNED_SECONDS = 3600
RENEW = "Renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or ask for permission."
KEYS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or anonymous: true in the study file for a public bucket."


def remotes_of(options: S3Source) -> Sequence[Remote]:
    """The objects that the source asks for, drawn from the whole list, which is recorded at first sight.

    A later run draws from the recorded list (`.scanline/objects-*.parquet` beside the files) and asks no server.

    Raises:
        InputError: If they cannot be listed, or are fewer than asked for.
    """
    where = f"s3://{options.bucket}/{options.prefix}"
    objects = draw(_listing(options, where), options, where)
    client = cache(lambda: _client(options, where))
    start = options.prefix.rfind("/") + 1
    return [
        Remote(
            path=key[start:],
            origin=f"s3://{options.bucket}/{key}",
            request=_request(client, options.bucket, key, etag),
            advice=KEYS if options.anonymous else RENEW,
            bytes=size,
        )
        for key, size, etag in zip(objects["key"], objects["bytes"], objects["etag"], strict=True)
    ]


def draw(objects: pd.DataFrame, options: S3Source, where: str) -> pd.DataFrame:
    """As many of the objects as the source asks for, by a hash of seed and key.

    Which are drawn depends on no order, hardly on what else is there, and not on the number: a smaller sample is part
    of a larger one.

    Args:
        objects: With a column key.
        options: The source.
        where: What is drawn from, for messages.

    Returns:
        The rows drawn, sorted by key.

    Raises:
        InputError: If there are too few.
    """
    wanted = options.sample
    if objects.empty or (wanted is not None and wanted > len(objects)):
        raise InputError(
            where,
            found=f"{len(objects):,} objects that match {options.pattern!r}",
            expected=f"{wanted or 1:,} at least",
            next_step="Correct prefix, pattern or sample in the study file.",
        )
    ordered = objects.sort_values("key")
    if wanted is None:
        return ordered
    rank = ordered["key"].map(lambda key: hashlib.sha256(f"{options.seed}:{key}".encode()).hexdigest())
    return ordered.loc[rank.sort_values().index[:wanted]].sort_values("key")


def _listing(options: S3Source, where: str) -> pd.DataFrame:
    """All objects of the source: key, bytes, etag; out of the record where there is one."""
    named = "\n".join([options.endpoint_url or "", options.bucket, options.prefix, options.pattern])
    folder = Path(options.path)
    path = folder / KEPT / f"objects-{sha256_of_text(named)[:12]}.parquet"
    with locked(folder):
        if not path.exists():
            if is_offline():
                raise listing_needs_network(where)
            write_table(_list_objects(options, where), path)
    objects = read_table(path)
    logger.info("%s: %d objects in the list of %s", where, len(objects), path)
    return objects


def _list_objects(options: S3Source, where: str) -> pd.DataFrame:
    rows = []
    start = options.prefix.rfind("/") + 1
    try:
        pages = _client(options, where).get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=options.bucket, Prefix=options.prefix):
            for item in page.get("Contents", []):
                is_folder = item["Key"].endswith("/")
                if not is_folder and fnmatch.fnmatchcase(item["Key"][start:], options.pattern):
                    rows.append({"key": item["Key"], "bytes": item["Size"], "etag": item["ETag"]})
    except (ClientError, BotoCoreError) as error:
        raise _refused(error, where, KEYS if options.anonymous else RENEW) from error
    return pd.DataFrame(rows, columns=["key", "bytes", "etag"])


def _refused(error: ClientError | BotoCoreError, where: str, advice: str) -> InputError:
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        found = f"HTTP {status} ({code})"
    else:
        found, advice = f"no answer ({type(error).__name__})", "Check endpoint_url and the network, and run again."
    return InputError(where, found=found, expected="a list of the bucket's objects", next_step=advice)


def _client(options: S3Source, where: str) -> Any:
    """A client with the credentials of the environment, and of nowhere else."""
    secrets: dict[str, Any] = {}
    if not options.anonymous:
        for name in ("aws_access_key_id", "aws_secret_access_key"):
            secrets[name] = credential(name.upper(), where, KEYS)
        secrets["aws_session_token"] = os.environ.get("AWS_SESSION_TOKEN") or None
    endpoint = options.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        signature_version=UNSIGNED if options.anonymous else "s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        retries={"mode": "standard", "total_max_attempts": options.retries + 1},
        connect_timeout=15,
        read_timeout=60,
    )
    try:
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=options.region or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            config=config,
            **secrets,
        )
    except BotoCoreError as error:
        raise _refused(error, where, RENEW) from error


def _request(client: Callable[[], Any], bucket: str, key: str, etag: str) -> Callable[[], Request]:
    """Signs anew at each attempt; the object must be the one that was listed."""

    def request() -> Request:
        place = {"Bucket": bucket, "Key": key}
        url = client().generate_presigned_url("get_object", Params=place, ExpiresIn=SIGNED_SECONDS)
        return Request(url, {"If-Match": etag})

    return request
