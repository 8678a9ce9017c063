"""Clients of a gallery in PostgreSQL are killed, its server restarts: tests/scripts/fault_postgresql.py, short."""

from __future__ import annotations

import random

import pytest
from fault_postgresql import kills, restarts

pytestmark = pytest.mark.slow


def test_killed_clients_leave_whole_enrolments() -> None:
    assert kills(6, random.Random(1)) == []


def test_a_server_restarted_under_load() -> None:
    assert restarts(3, random.Random(2)) == []
