"""Work for several threads: in order, no further ahead than asked, and nothing left behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vit_demo.common.threads import MemoryBudget, compute_alone, in_order


def test_a_thread_that_computes_alone_leaves_all_others_as_they_are() -> None:
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found: dict[str, int] = {}

        def own() -> None:
            compute_alone(1, 3)
            found["own"] = torch.get_num_threads()

        for name, work in (("own", own), ("later", lambda: found.update(later=torch.get_num_threads()))):
            thread = threading.Thread(target=work, name=name)
            thread.start()
            thread.join()
        assert found == {"own": 1, "later": 3} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(usual)


def test_in_order_and_no_further_ahead_than_asked() -> None:
    begun: list[int] = []

    def numbers():
        for number in range(50):
            begun.append(number)
            yield number

    made = in_order(lambda number: number * number, numbers(), ahead=4)
    assert begun == []
    for number in range(50):
        assert next(made) == number * number
        assert len(begun) <= number + 5
    assert list(made) == []


def test_an_error_comes_in_its_turn_and_ends_the_threads() -> None:
    before = threading.active_count()
    made = in_order(lambda number: 1 // (3 - number), range(10), ahead=9)
    assert [next(made) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)
    assert threading.active_count() == before


def test_room_is_never_overfull_and_the_largest_has_it_alone() -> None:
    room, lock, held, most, alone = MemoryBudget(10), threading.Lock(), [0], [0], []

    def use(wanted: int) -> None:
        with room.hold(wanted):
            with lock:
                held[0] += wanted
                most[0] = max(most[0], held[0] if wanted <= 10 else 0)
                alone.append(held[0] == wanted or wanted <= 10)
            threading.Event().wait(0.002)
            with lock:
                held[0] -= wanted

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [3, 4, 99, 5, 1, 10, 2, 7] * 4))
    assert 0 < most[0] <= 10 and all(alone) and held == [0]
