"""Files of web servers."""

import base64
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit, urlunsplit

from scanline.acquire.download import Remote, Request
from scanline.acquire.environment import check_encrypted, credential
from scanline.acquire.fetched_options import HttpFile, HttpSource


def remotes_of(options: HttpSource) -> Sequence[Remote]:
    """The files that the study file names."""
    return [_remote(options, file) for file in options.files]


def _remote(options: HttpSource, file: HttpFile) -> Remote:
    parts = urlsplit(file.url)
    origin = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    names = [name for name in (options.token_variable, options.user_variable, options.password_variable) if name]
    advice = f"Check what {' and '.join(names)} hold." if names else "Check the address in the study file."
    return Remote(
        path=file.target,
        origin=origin,
        request=_request(options, file.url, origin),
        advice=advice,
        bytes=file.bytes,
        is_page=file.target.lower().endswith((".html", ".htm")),
    )


def _request(options: HttpSource, url: str, origin: str) -> Callable[[], Request]:
    def request() -> Request:
        return Request(url, _authorization(options, url, origin))

    return request


def _authorization(options: HttpSource, url: str, origin: str) -> dict[str, str]:
    """The header that says who asks, from the environment variables that the source names."""

    def secret(variable: str) -> str:
        return credential(variable, origin, f"Set it to what the site gave you: export {variable}=...")

    if options.token_variable is not None:
        check_encrypted(url)
        return {"Authorization": f"Bearer {secret(options.token_variable)}"}
    if options.user_variable is not None and options.password_variable is not None:
        check_encrypted(url)
        pair = f"{secret(options.user_variable)}:{secret(options.password_variable)}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
