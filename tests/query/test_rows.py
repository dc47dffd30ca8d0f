"""Rows become records without being judged a second time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.errors import ArchiveFaultError
from otel_audit.query.rows import RECORD_ROW, records_from_rows
from otel_audit.query.statements import statement
from tests.query.folder import record, row_of


def _row(**values):
    filled = {"occurred_us": 1, "record_id": "r", "log_index": 0, "actor_id": "a", "action": "x"} | values
    return tuple(filled.get(name) for name in RECORD_ROW)


def test_the_order_of_columns_is_that_of_the_statement():
    names = [part.split(" AS ")[-1].strip() for part in statement("record").split(",")]
    assert tuple(names) == RECORD_ROW


def test_a_record_goes_through_a_row_and_comes_back():
    one = record(3, changes={"a": [1, 2.0]}, tenant_id="t", reason="because")
    values = row_of(one)
    (found,) = records_from_rows([_row(**(values | {"occurred_us": values["occurred_at"]}))])
    assert found == one


def test_what_another_producer_may_send_is_given_back():
    """Beyond our own limits: an unknown actor type, a long name, deep or odd JSON."""
    deep = "[" * 200 + "]" * 200
    (found,) = records_from_rows(
        [_row(actor_type="robot", actor_name="x" * 5000, metadata=deep, changes='{"a":1e999}', entity_type="T" * 999,
              entity_id="1")]
    )  # fmt: skip
    assert found.actor_type == "robot"
    assert len(found.actor_name) == 5000
    assert found.changes == {"a": float("inf")}
    assert found.entity_ref.entity_type == "T" * 999


@given(st.text())
def test_any_text_as_metadata_is_json_or_an_error_of_ours(text):
    try:
        records_from_rows([_row(metadata=text)])
    except ArchiveFaultError as error:
        assert "metadata" in str(error)


@pytest.mark.parametrize("us", [-(2**63) // 1000, 0, 2**63 // 1000])
def test_every_time_that_64_bits_of_ns_hold_is_a_time(us):
    (found,) = records_from_rows([_row(occurred_us=us)])
    assert found.order_key[0] == us
