from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from hf_newsmatch.training.sampler import DistinctBatchSampler


def batches(sampler: DistinctBatchSampler) -> list[list[int]]:
    order = list(sampler)
    return [order[at : at + sampler.batch_size] for at in range(0, len(order), sampler.batch_size)]


def repeats(keys) -> int:
    return sum(count - 1 for count in Counter(keys).values())


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=60),
    st.integers(1, 10),
    st.integers(0, 3),
)
def test_every_row_comes_once(keys, batch_size, epoch):
    sampler = DistinctBatchSampler(*zip(*keys), batch_size)
    sampler.set_epoch(epoch)
    assert sorted(sampler) == list(range(len(keys)))
    assert len(sampler) == len(keys)


def test_batches_are_distinct_while_others_are_left():
    """A fifth of the rows share a picture with another, as many a text: none meets its double but at the end."""
    rows = 1000
    images = [number % 900 for number in range(rows)]
    texts = [number // 2 if number < 100 else number + rows for number in range(rows)]
    sampler = DistinctBatchSampler(images, texts, 64)
    for batch in batches(sampler)[:-2]:
        assert repeats(images[row] for row in batch) == repeats(texts[row] for row in batch) == 0


def test_a_picture_of_more_rows_than_batches_still_fills_them():
    sampler = DistinctBatchSampler(["same"] * 30 + list(range(10)), range(40), 10)
    assert [len(batch) for batch in batches(sampler)] == [10, 10, 10, 10]


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = DistinctBatchSampler(range(50), range(50), 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 3) == order(1, 3)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_one_hundred_thousand_rows_take_seconds():
    import time

    rows = 100_000
    sampler = DistinctBatchSampler([number % 90_000 for number in range(rows)], range(rows), 512)
    start = time.process_time()
    assert len(list(sampler)) == rows
    assert time.process_time() - start < 5
