import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.study.evaluation.boxes import centre_box, component_boxes, intersection_over_union

sides = st.tuples(st.integers(0, 8), st.integers(1, 8))
boxes = st.tuples(sides, sides).map(lambda b: (b[0][0], b[1][0], b[0][0] + b[0][1], b[1][0] + b[1][1]))


@given(boxes, boxes)
def test_intersection_over_union_equals_counting_pixels(first, second):
    def cells(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    a, b = cells(first), cells(second)
    assert intersection_over_union(first, second) == pytest.approx(len(a & b) / len(a | b))


def test_components_are_whole_cells_with_the_most_attention_first():
    attention = np.array(
        [
            [0.9, 0.1, 0.0, 0.0],
            [0.1, 0.7, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 0.6, 1.0, 0.9],
        ]
    )
    found = component_boxes(attention, threshold=0.6, size_px=(400, 200))
    assert found == [(100, 150, 400, 200), (0, 0, 200, 100)]  # cells that touch at a corner belong together
    assert component_boxes(attention, threshold=0.95, size_px=(400, 200)) == [(200, 150, 300, 200)]
    assert component_boxes(attention / 2, threshold=0.95, size_px=(400, 200)) == []


@given(st.floats(0.05, 1), st.integers(2, 900), st.integers(2, 900))
def test_a_centre_box_has_its_share_and_shape(share, width, height):
    x0, y0, x1, y1 = centre_box((width, height), share=share)
    assert (x1 - x0) * (y1 - y0) == pytest.approx(share * width * height)
    assert (x0 + x1, y0 + y1) == pytest.approx((width, height))
    assert (x1 - x0) / (y1 - y0) == pytest.approx(width / height)
