"""Guarded serving of local pages: fixed routes behind a token, on starlette and uvicorn (extra `explore`)."""

from dirvae.web.files import Sentence, file_route, package_files
from dirvae.web.guard import CONTENT_SECURITY_POLICY, MAX_BODY_BYTES, guarded_app
from dirvae.web.server import RunningServer, start

__all__ = [
    "CONTENT_SECURITY_POLICY",
    "MAX_BODY_BYTES",
    "RunningServer",
    "Sentence",
    "file_route",
    "guarded_app",
    "package_files",
    "start",
]
