"""Under `opentelemetry-instrument` with the distro, which chooses gRPC for the SDK's own exporters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.distro")
from tests.delivery.scripted_peer import Peer

PROGRAM = """
import os
from otel_audit import OTelActivityLogRepo
from tests.delivery.processes import record
print(os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"])
with OTelActivityLogRepo(durability="memory") as log:
    print(log._delivery.shown_endpoint)
    if "OTEL_AUDIT_ENDPOINT" in os.environ:
        log.append(record("r"))
        log.flush(20)
"""


def instrumented(**env: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, "-c", PROGRAM]
    none = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    return subprocess.run(command, env=os.environ | none | env, capture_output=True, text=True, timeout=60, check=False)


def test_a_protocol_that_the_distro_chose_does_not_end_an_application_that_named_no_endpoint() -> None:
    done = instrumented()
    assert (done.returncode, done.stdout.split()) == (0, ["grpc", "http://127.0.0.1:4318/v1/logs"])


def test_a_protocol_that_the_distro_chose_does_not_touch_our_own_endpoint(peer: Peer) -> None:
    done = instrumented(OTEL_AUDIT_ENDPOINT=peer.url)
    assert (done.returncode, done.stdout.split()) == (0, ["grpc", f"{peer.url}/v1/logs"])
    assert peer.delivered == ["r"]


def test_with_an_endpoint_of_the_exporters_it_counts_and_the_error_names_the_way_out() -> None:
    done = instrumented(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4317")
    assert done.returncode == 1
    assert "OTEL_AUDIT_ENDPOINT" in done.stderr.splitlines()[-1]
