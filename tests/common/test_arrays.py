"""Arrays that are kept as files: whole or not there, bounded, and never code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import safetensors.numpy

from vit_demo.common.arrays import KEY_LENGTH, ArrayCache, key_of, safetensors_bytes, stamp

CACHE = ArrayCache("cache/test", keep=3)
ARRAYS = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "names": np.array(["leaf", "blatt"])}


def test_what_is_written_is_read_as_it_was(home: Path) -> None:
    assert CACHE.read("key") is None
    CACHE.write("key", ARRAYS)
    found = CACHE.read("key")
    assert found.keys() == ARRAYS.keys() and all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype
        for name, array in ARRAYS.items()
    )
    assert [file.name for file in CACHE.file("key").parent.iterdir()] == ["key.npz"]


def test_half_a_file_and_one_with_objects_in_it_are_none(home: Path) -> None:
    CACHE.write("key", ARRAYS)
    file = CACHE.file("key")
    file.write_bytes(file.read_bytes()[:-30])
    assert CACHE.read("key") is None
    np.savez(file, a=np.array([{"code": 1}], dtype=object))
    assert CACHE.read("key") is None


def test_the_oldest_go_by_number_and_by_bytes(home: Path) -> None:
    for number in range(5):
        CACHE.write(str(number), ARRAYS)
        os.utime(CACHE.file(str(number)), (number, number))
    CACHE.write("last", ARRAYS)
    assert sorted(file.stem for file in CACHE.file("x").parent.iterdir()) == ["3", "4", "last"]
    small = ArrayCache("cache/test", keep=3, most_bytes=10)
    small.write("one alone", ARRAYS)
    assert [file.stem for file in CACHE.file("x").parent.iterdir()] == ["one alone"]


def test_a_disk_that_takes_nothing_costs_nothing_but_the_file(home: Path) -> None:
    home.mkdir()
    (home / "cache").write_text("a file in the place of the folder")
    CACHE.write("key", ARRAYS)
    assert CACHE.read("key") is None


def test_a_key_changes_with_each_part_and_a_stamp_with_the_file(tmp_path: Path) -> None:
    assert (
        len(key_of(1, "a")) == KEY_LENGTH
        and len({key_of(1, "a"), key_of(1, "b"), key_of(2, "a"), key_of("1", "a")}) == 4
    )
    file = tmp_path / "leaf.jpg"
    assert stamp(file) == (str(file),)
    file.write_bytes(b"1")
    first = stamp(file)
    file.write_bytes(b"12")
    assert stamp(file) != first and stamp(file)[0] == str(file)


def test_a_file_of_safetensors_is_the_same_bytes_for_the_same_values():
    arrays = {"b": np.arange(5, dtype=np.float32), "a": np.ones((2, 3), dtype=np.int64)}
    metadata = {name: name * 3 for name in ("format", "numbers", "layer", "labels", "ünï")}
    made = {safetensors_bytes(arrays, metadata) for _ in range(30)}
    (content,) = made
    read = safetensors.numpy.load(content)
    assert all(
        np.array_equal(read[name], array) and read[name].dtype == array.dtype
        for name, array in arrays.items()
    )
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    assert json.loads(header)["__metadata__"] == metadata and len(header) % 8 == 0
    # The library's own order is one of chance.
    assert len({safetensors.numpy.save(arrays, metadata) for _ in range(30)}) > 1
