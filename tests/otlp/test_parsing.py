"""A machine without memory is not a record that is damaged."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.otlp.parsing import parse_again

LITTLE_MEMORY = """
import collections, json, os, resource
from tests.otlp.wire import kv, log_record
from otel_audit.otlp.columns import ROW
from otel_audit.otlp.walk import fill_row

raw = log_record({}, *(kv(f"k{at}", "v" * 50) for at in range(200))).SerializeToString()
fill_row(raw, [None] * len(ROW))


def without_memory(spare):
    hold, said = [], "parsed"
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096, -1))
    for size in (1 << 20, 1 << 16, 1 << 13, 1 << 10, 256):
        try:
            while True:
                hold.append(bytearray(size))
        except MemoryError:
            pass
    del hold[len(hold) - spare :]
    try:
        fill_row(raw, [None] * len(ROW))
    except BaseException as error:
        said = error
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    hold.clear()
    return said if said == "parsed" else type(said).__name__


seen = collections.Counter()
for spare in range(10, 400, 30):
    reading, writing = os.pipe()
    if not os.fork():
        os.write(writing, without_memory(spare).encode())
        os._exit(0)
    os.close(writing)
    seen[os.read(reading, 100).decode()] += 1
    os.close(reading)
    os.wait()
print(json.dumps(seen))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks its size up in /proc")
def test_a_record_is_never_refused_for_want_of_memory() -> None:
    """It would be held in quarantine, and its sender be told that all is well."""
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen.pop("MemoryError") > 0
    assert set(seen) <= {"parsed", ""}, "the empty one: no memory even to say what happened"


def test_what_is_damaged_is_so_the_second_time() -> None:
    with pytest.raises(DecodeError):
        parse_again(LogRecord, b"\xff")
    assert parse_again(LogRecord, LogRecord(severity_text="x").SerializeToString()).severity_text == "x"
