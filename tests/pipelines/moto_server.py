"""An S3 in this process, and an environment that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

__all__ = ["aws_settings", "run_moto"]


def run_moto() -> Iterator[tuple[str, Any]]:
    """Its address, and boto3's client of it; the test is skipped where moto is absent."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is absent: it puts files into moto")
    pytest.importorskip("flask", reason="moto[server] is absent: it is the S3 of these tests")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    # moto gives the copy of an object of several parts the checksum of the parts' checksums, as if it were its own
    config = pytest.importorskip("botocore.config").Config(response_checksum_validation="when_required")
    yield address, boto3.client("s3", endpoint_url=address, region_name="us-east-1", config=config, **keys)
    server.stop()


def aws_settings(address: str) -> dict[str, str]:
    """Variables of an environment that lead to it, and to no credentials of this machine."""
    settings = {
        "ACCESS_KEY_ID": "test",
        "SECRET_ACCESS_KEY": "test",
        "REGION": "us-east-1",
        "ENDPOINT_URL": address,
    }
    more = {"ALLOW_HTTP": "true", "EC2_METADATA_DISABLED": "true"}
    return {f"AWS_{name}": value for name, value in {**settings, **more}.items()}
