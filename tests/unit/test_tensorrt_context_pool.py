from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from messages import raises_naming

from efq.runtime import DeviceError, UsageError
from efq.runtime.tensorrt.run.context_pool import ContextPool

WAIT = 10.0


class Item:
    def __init__(self) -> None:
        self.usable = True
        self.closed = False

    def is_usable(self) -> bool:
        return self.usable

    def close(self) -> None:
        self.closed = True


def lease_twice(pool: ContextPool[Item]) -> tuple[Item, Item]:
    with pool.lease() as first:
        pass
    with pool.lease() as second:
        pass
    return first, second


def test_items_are_made_on_demand_and_used_again() -> None:
    made: list[Item] = []

    def create() -> Item:
        made.append(Item())
        return made[-1]

    pool = ContextPool(create, 3)
    assert made == []
    assert lease_twice(pool) == (made[0], made[0])
    with pool.lease() as first, pool.lease() as second:
        assert first is not second
    assert len(made) == 2


def test_who_finds_no_item_waits_for_one() -> None:
    pool = ContextPool(Item, 1)
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        with pool.lease() as first:

            def second() -> Item:
                waiting.set()
                with pool.lease() as item:
                    return item

            future = executor.submit(second)
            assert waiting.wait(WAIT)
            assert not future.done()
        assert future.result(WAIT) is first


def test_after_an_exception_a_usable_item_goes_back() -> None:
    pool = ContextPool(Item, 1)
    with pytest.raises(ZeroDivisionError), pool.lease() as first:
        raise ZeroDivisionError
    with pool.lease() as second:
        assert second is first
        assert not first.closed


def test_after_an_exception_a_broken_item_is_closed_and_replaced() -> None:
    pool = ContextPool(Item, 1)
    with pool.lease() as first:
        pass
    first.usable = False
    with pytest.raises(DeviceError), pool.lease():
        raise DeviceError
    assert first.closed
    with pool.lease() as second:
        assert second is not first


def test_a_failed_creation_leaves_room_for_the_next() -> None:
    answers = [DeviceError("no memory"), DeviceError("no memory"), None]

    def create() -> Item:
        error = answers.pop(0)
        if error is not None:
            raise error
        return Item()

    pool = ContextPool(create, 1)
    for _ in range(2):
        with pytest.raises(DeviceError, match="no memory"), pool.lease():
            pass
    with pool.lease() as item:
        assert not item.closed


def test_close_waits_for_those_inside_and_refuses_those_outside() -> None:
    pool = ContextPool(Item, 1)
    inside, leave, queued = threading.Event(), threading.Event(), threading.Event()

    def hold() -> bool:
        with pool.lease() as item:
            inside.set()
            assert leave.wait(WAIT)
            return item.closed

    def wait_in_line() -> None:
        queued.set()
        with pool.lease():
            pass

    with ThreadPoolExecutor(3) as executor:
        holder = executor.submit(hold)
        assert inside.wait(WAIT)
        waiter = executor.submit(wait_in_line)
        assert queued.wait(WAIT)
        closer = executor.submit(pool.close)
        with pytest.raises(UsageError):
            waiter.result(WAIT)
        with pytest.raises(UsageError), pool.lease():
            pass
        assert not closer.done()
        leave.set()
        assert closer.result(WAIT) is True
        assert holder.result(WAIT) is False
    assert pool.close() is False


def test_a_pool_of_nothing_is_refused() -> None:
    with raises_naming(UsageError, "context", 0):
        ContextPool(Item, 0)
