"""The dense head: its numbers, its distance, and what head.npz may hold."""

import io

import numpy as np
import pytest
from tiny_model import CHANNELS, make_head

from csss.inference.card import CardError
from csss.inference.head import Head, read_head, write_head

NAMES = ("w1", "b1", "w2", "b2", "centre", "directions", "class_means", "residual_scale")


def arrays_of(head: Head) -> dict[str, np.ndarray]:
    return {name: getattr(head, name) for name in NAMES}


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(CardError) as caught:
        read_head(data)
    return caught.value.code


def test_head_reads_back_as_written() -> None:
    head = read_head(write_head(make_head()))
    for name, array in arrays_of(make_head()).items():
        np.testing.assert_array_equal(getattr(head, name), array)
    assert (head.feature_count, head.label_count) == (CHANNELS, 3)


def test_head_writes_the_same_bytes_twice() -> None:
    assert write_head(make_head()) == write_head(make_head())


def test_head_logits_pass_through_the_relu() -> None:
    head = make_head()
    pooled = np.array([1, -2, 3, -4, 5, -6], np.float32)
    hidden, logits = head.logits(pooled)
    by_hand = [
        sum(w * f for w, f in zip(row, pooled, strict=True)) + b for row, b in zip(head.w1, head.b1, strict=True)
    ]
    np.testing.assert_allclose(hidden, by_hand, rtol=1e-5)
    above = [max(value, 0.0) for value in by_hand]
    wanted = [sum(w * h for w, h in zip(row, above, strict=True)) + b for row, b in zip(head.w2, head.b2, strict=True)]
    np.testing.assert_allclose(logits, wanted, rtol=1e-4)


def test_head_distance_is_to_the_nearest_class_and_counts_the_rest() -> None:
    arrays = arrays_of(make_head())
    arrays["centre"] = np.ones(CHANNELS, np.float32)
    arrays["directions"] = np.array([[2, 0, 0, 0, 0, 0], [0, 0.5, 0, 0, 0, 0]], np.float32)
    arrays["class_means"] = np.array([[0, 0], [8, 0], [0, 3]], np.float32)
    arrays["residual_scale"] = np.array([2.0], np.float32)
    head = Head(**arrays)
    # Centred (4, 0, 3, 0, 4, 0): inside (8, 0) is the second class; the rest is 5 long, usual is 2.
    assert head.distance(np.array([5, 1, 4, 1, 5, 1], np.float32)) == pytest.approx(2.5)
    # Centred (0, 2, 0, ...): inside (0, 1) is 1 from the first class and 2 from the third, over 2 directions.
    assert head.distance(np.array([1, 3, 1, 1, 1, 1], np.float32)) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("name", NAMES)
def test_head_refuses_a_missing_array(name: str) -> None:
    arrays = arrays_of(make_head())
    del arrays[name]
    assert refusal(pack(arrays)) == "head-invalid"


@pytest.mark.parametrize("name", NAMES)
def test_head_refuses_an_array_of_another_shape(name: str) -> None:
    arrays = arrays_of(make_head())
    arrays[name] = np.concatenate([arrays[name], arrays[name]], axis=-1)
    assert refusal(pack(arrays)) == "head-invalid"


@pytest.mark.parametrize("name", NAMES)
def test_head_refuses_what_is_not_finite(name: str) -> None:
    arrays = arrays_of(make_head())
    arrays[name] = np.full_like(arrays[name], np.nan)
    assert refusal(pack(arrays)) == "head-invalid"


def test_head_refuses_another_type_and_more_arrays() -> None:
    arrays = arrays_of(make_head())
    assert refusal(pack({**arrays, "w1": arrays["w1"].astype(np.float64)})) == "head-invalid"
    assert refusal(pack({**arrays, "more": arrays["w1"]})) == "head-invalid"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no archive at all", pack({"w1": np.array([{}])})])
def test_head_refuses_foreign_bytes(data: bytes) -> None:
    assert refusal(data) == "head-invalid"
