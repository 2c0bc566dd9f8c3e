"""The arithmetic of resumed downloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanline.acquire.ranges import Span, range_headers, span_of, validator_of

SIZES = st.integers(1, 10**13)


@given(st.data(), SIZES)
def test_a_part_that_joins_on_has_its_place(data, total):
    offset = data.draw(st.integers(0, total - 1))
    start = data.draw(st.integers(0, offset))
    headers = {"Content-Range": f"bytes {start}-{total - 1}/{total}", "Content-Length": str(total - start)}
    assert span_of(206, headers, offset) == Span(start, total)
    headers["Content-Range"] = f"bytes {start}-{total - 1}/*"
    assert span_of(206, headers, offset) == Span(start, total)


@given(st.data(), SIZES)
def test_a_part_that_leaves_a_hole_an_end_or_has_another_length_is_refused(data, total):
    offset = data.draw(st.integers(0, total - 1))
    late = data.draw(st.integers(offset + 1, 2 * total))
    assert span_of(206, {"Content-Range": f"bytes {late}-{2 * total}/{2 * total + 1}"}, offset) is None
    short = data.draw(st.integers(offset, total - 1))
    complete = short == total - 1
    headers = {"Content-Range": f"bytes {offset}-{short}/{total}"}
    assert (span_of(206, headers, offset) is not None) == complete
    headers["Content-Length"] = str(short - offset + 2)
    assert span_of(206, headers, offset) is None


@given(st.integers(0, 10**13), st.integers(0, 10**13))
def test_a_whole_answer_begins_at_the_beginning(offset, length):
    assert span_of(200, {"Content-Length": str(length)}, offset) == Span(0, length)
    assert span_of(200, {}, offset) == Span(0, None)


@given(st.text(max_size=40))
def test_whatever_a_server_says_is_a_place_or_none(text):
    span = span_of(206, {"Content-Range": text}, 10)
    assert span is None or 0 <= span.start <= 10


@given(st.integers(0, 10**13), st.one_of(st.none(), st.text(min_size=1, max_size=20)))
def test_only_a_file_that_can_be_told_from_another_is_resumed(offset, validator):
    headers = range_headers(offset, validator)
    assert bool(headers) == (offset > 0 and validator is not None)
    if headers:
        assert headers == {"Range": f"bytes={offset}-", "If-Range": validator}


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"a"', "Last-Modified": "then"}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": "then"}, "then"),
        ({"ETag": 'W/"a"'}, None),
        ({}, None),
    ],
)
def test_a_weak_tag_is_no_proof(headers, validator):
    assert validator_of(headers) == validator
