"""The folders of the archive's bucket: what is asked of S3 and how it answers. Pure.

Source of the form: Amazon's documents, "ListObjects" (version 1), whose pages have at most 1,000 entries. The archive's
own host does not list; its bucket does, at S3's host. A mirror on another host is asked itself.
"""

from __future__ import annotations

import html
import re
from urllib.parse import urlsplit

_ARCHIVE_HOST = "data.binance.vision"
_BUCKET = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"

#: A page of 1,000 folders has some 100 kB.
PAGE_BYTES = 2 << 20

_FOLDER = re.compile(r"<CommonPrefixes>\s*<Prefix>([^<]*)</Prefix>\s*</CommonPrefixes>")
_NEXT = re.compile(r"<NextMarker>([^<]*)</NextMarker>")
_TRUNCATED = re.compile(r"<IsTruncated>\s*true\s*</IsTruncated>", re.IGNORECASE)


def bucket_of(vision_url: str) -> str:
    """Where the folders of the archive at a URL are listed."""
    return _BUCKET if urlsplit(vision_url).hostname == _ARCHIVE_HOST else vision_url


def parameters_of(folder: str, marker: str) -> dict[str, str]:
    """The parameters that ask for the folders in a folder, after a marker of the page before."""
    parameters = {"delimiter": "/", "prefix": folder}
    return parameters | {"marker": marker} if marker else parameters


def parse_page(folder: str, body: bytes) -> tuple[list[str], str]:
    """The names of the folders in a folder, and the marker of the next page; empty where this is the last one.

    Raises:
        ValueError: The body is no such listing.
    """
    text = body.decode()
    if "<ListBucketResult" not in text:
        raise ValueError("it is no listing of a bucket")
    paths = [html.unescape(path) for path in _FOLDER.findall(text)]
    names = [path.removeprefix(folder).rstrip("/") for path in paths if path.startswith(folder)]
    if not _TRUNCATED.search(text) or not paths:
        return names, ""
    following = _NEXT.search(text)
    return names, html.unescape(following[1]) if following else paths[-1]
