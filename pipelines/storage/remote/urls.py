"""URLs in the place of paths: `s3://bucket/shards`, `https://host/shards/a.tar?signature`.

    s3, gs, az      scheme://bucket/key; s3a, gcs, abfs and abfss are other names of them, and
                    abfs://container@account.dfs.core.windows.net/key names the account, too
    http, https     scheme://host/path?query, where the path is percent-encoded
    anything else   what fsspec makes of it

What may be secret, a user with a password and a query that holds a signature, is never put into a sentence.
Addresses that fsspec chains, as in simplecache::https://host/a.tar, are recognised and refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit

from ...errors import SourceError

__all__ = ["CREDENTIALS", "Place", "Url", "is_url", "join", "redacted", "split_url", "with_suffix"]

START = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
OTHER_NAMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az"}
WEB = ("http", "https")
ACCOUNT = re.compile(r"(?P<container>[^@/]+)@(?P<account>[a-z0-9-]+)\.(?:dfs|blob)\.", re.IGNORECASE)
CHAINED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*::)+[A-Za-z][A-Za-z0-9+.-]+://")
LINK = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*(?:::|://))")
"""Between the parts of a chain; the colons of an IPv6 address are none."""
CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (which needs boto3), and AWS_REGION.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or run az login.",
}
"""What to do where a store refuses to answer."""


Place = tuple[str, str, str, str]
"""What one client serves: scheme, host, query and account."""


@dataclass(frozen=True)
class Url:
    """A URL in parts. `host` is the bucket of an object store; `path` has no slash in front, `query` no mark."""

    scheme: str
    host: str
    path: str
    query: str = ""
    account: str = ""

    @property
    def place(self) -> Place:
        """What one client serves: everything but the path."""
        return self.scheme, self.host, self.query, self.account

    @property
    def is_web(self) -> bool:
        """Whether it is asked for by http."""
        return self.scheme in WEB

    def __repr__(self) -> str:
        return f"Url({redacted(f'{self.scheme}://{self.host}/{self.path}')}{'?…' if self.query else ''})"


PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")
"""Names that percent-encoding leaves as they are."""


def is_url(text: str) -> bool:
    """Whether it begins as a URL does; a letter of a drive is none."""
    return START.match(text) is not None or CHAINED.match(text) is not None


def split_url(text: str) -> Url:
    """The parts of a URL. Raises `SourceError` for one without a bucket or host, or with characters that cannot be."""
    if CHAINED.match(text) or LINK.search(_apart(text)[0]):
        raise SourceError(
            f"{redacted(text)}: addresses that are chained by :: are not read. Name the folder or the tars themselves."
        )
    found = START.match(text)
    if found is None:
        raise SourceError(f"{text}: not a URL. Write it as s3://bucket/path or https://host/path.")
    scheme = found[1].lower()
    scheme = OTHER_NAMES.get(scheme, scheme)
    if any(ord(letter) < 32 for letter in text):
        raise SourceError(
            f"{redacted(text)!r}: a URL cannot hold control characters. Write them as %0A and the like."
        )
    rest, query = text[found.end() :], ""
    if scheme in WEB:
        rest = rest.partition("#")[0]
        rest, _, query = rest.partition("?")
    host, _, path = rest.partition("/")
    account = ""
    if scheme == "az" and (named := ACCOUNT.match(host)):
        host, account = named["container"], named["account"]
    if not host and scheme in (*WEB, "s3", "gs", "az"):
        what = "host" if scheme in WEB else "bucket"
        raise SourceError(f"{redacted(text)}: names no {what}. Write it as {scheme}://{what}/path.")
    if scheme in WEB:
        _check_host(text, host)
    elif scheme in CREDENTIALS and _has_keys(scheme, host, path):
        raise SourceError(f"{redacted(text)}: keys do not belong in a URL. {CREDENTIALS[scheme]}")
    return Url(scheme, host, path.lstrip("/") if scheme != "file" else path, query, account)


def join(root: str, name: str) -> str:
    """The URL of the file `name` below `root`: before its query, and percent-encoded for the web."""
    before, query, is_web = _folder_of(root)
    return f"{before}/{quote(name) if is_web and not PLAIN.fullmatch(name) else name}{query}"


def with_suffix(name: str, suffix: str) -> str:
    """A file name or URL with a suffix after its last part; a query stays at the end."""
    before, query = _apart(name)
    return f"{before}{suffix}{query}"


def redacted(text: str) -> str:
    """A URL as it may be shown: without a user and password, and without its query. Other text is left as it is."""
    if not is_url(text):
        return text
    return "::".join(map(_part_redacted, LINK.split(text)))


def _part_redacted(text: str) -> str:
    """One address of a chain without secrets. A password may hold a slash, a ? or a # that is not encoded."""
    begin, mark, rest = text.partition("://")
    if not mark:
        return text
    before = re.split(r"[?#]", rest, maxsplit=1)[0]
    host = before.partition("/")[0]
    word = host.partition(":")[2]
    if "@" not in before and word and not word.isdigit() and not host.startswith("["):
        before = rest  # a colon without a port: what follows the mark may be the rest of a password
    end = (before if begin.lower() in WEB or ":" in host else host).rfind("@") + 1
    shown, query, _ = rest[end:].partition("?")
    return f"{begin}{mark}{shown}{'?…' if query else ''}"


def _check_host(text: str, host: str) -> None:
    """Raise `SourceError` for a host of the web that cannot be asked; its words are not shown, they may be secret."""
    try:
        parts = urlsplit(f"//{host}")
        is_right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        raise SourceError(
            f"{redacted(text)}: its host or port cannot be asked. Write it as https://host:port/path, with a port up "
            "to 65535, an IPv6 address in [ ], and / @ : ? # in a password as %2F %40 %3A %3F %23."
        )


def _has_keys(scheme: str, host: str, path: str) -> bool:
    """Whether a bucket is written with a user; a secret key may hold a slash. An access point is arn:aws:…."""
    if host.startswith("arn:"):
        return False
    has_user = "@" in host and (scheme != "az" or ":" in host)  # container@account is of Azure
    return has_user or (":" in host and "@" in path)


@lru_cache(maxsize=64)
def _folder_of(root: str) -> tuple[str, str, bool]:
    """A root without its last slash, its query, and whether it is of the web; cached, for sets of 10⁵ names."""
    before, query = _apart(root)
    begin, mark, rest = before.partition("://")
    return f"{begin}{mark}{rest.rstrip('/')}", query, (START.match(root) or " ")[1] in WEB


def _apart(name: str) -> tuple[str, str]:
    """A name without its query and fragment, and these; only a URL of the web has them."""
    if "?" not in name and "#" not in name:
        return name, ""
    found = START.match(name)
    if found is None or found[1].lower() not in WEB:
        return name, ""
    before = re.split(r"[?#]", name, maxsplit=1)[0]
    return before, name[len(before) :]
