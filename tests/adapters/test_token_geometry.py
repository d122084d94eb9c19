"""Places by construction: paint where a token is said to stand, and see whose feature changes."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.llava import crop_of
from paretoprune.adapters.token_geometry import (
    TokenBoxes,
    View,
    around,
    clipped,
    lattice,
    with_line_ends,
)
from paretoprune.adapters.vision_encoder import visual_features
from paretoprune.errors import UnsupportedError
from paretoprune.tasks.base import Video
from paretoprune.testing.models import (
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_llava_onevision,
    tiny_qwen2_5_vl,
)
from paretoprune.zoo.blueprints import NORMALISED

PROMPT = "read the sign ?"
OUTWARD = ("self_attn.out_proj", "attention.projection_layer", "attn.proj")


def local(adapter):
    """The same with a vision encoder in which no patch attends to another."""
    changed = 0
    for name, module in adapter.model.named_modules():
        if name.endswith(OUTWARD) and isinstance(module, torch.nn.Linear):
            torch.nn.init.zeros_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
            changed += 1
    assert changed
    return adapter


def cropping_llava():
    adapter = tiny_llava()
    adapter.image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": 120}, crop_size={"height": 96, "width": 96}, **NORMALISED
    )
    return adapter


FAMILIES = {
    "llava": (tiny_llava, [(96, 96), (200, 310)]),
    "llava-cropped": (cropping_llava, [(200, 310), (400, 250)]),
    "llava-next": (tiny_llava_next, [(240, 400), (480, 160), (300, 300), (200, 810)]),
    "llava-onevision": (tiny_llava_onevision, [(240, 400), (480, 160), (300, 310)]),
    "qwen": (tiny_qwen2_5_vl, [(64, 96), (96, 48), (300, 410)]),
    "internvl": (tiny_internvl, [(96, 200), (300, 100), (300, 310), (40, 40)]),
}
CASES = [(name, size) for name, (_, sizes) in FAMILIES.items() for size in sizes]


@pytest.fixture(scope="module")
def adapters():
    return {name: local(build()) for name, (build, _) in FAMILIES.items()}


def features_of(adapter, items):
    inputs = adapter.inputs([items], [PROMPT])
    with torch.no_grad():
        return inputs, visual_features(adapter, inputs)


def painted(picture, box):
    """The picture with the middle of a box in another colour."""
    high, wide = picture.shape[:2]
    top, left, bottom, right = box
    middle, across = (top + bottom) / 2, (left + right) / 2
    rows = slice(round((middle + top) / 2 * high), round((middle + bottom) / 2 * high))
    columns = slice(round((across + left) / 2 * wide), round((across + right) / 2 * wide))
    changed = picture.copy()
    changed[rows, columns] = (250, 20, 20)
    assert (changed != picture).any()
    return changed


def whose(before, after, among):
    change = (after - before).abs().sum(-1).numpy()
    return among[np.argmax(change[among])], change


@pytest.mark.parametrize(("name", "size"), CASES)
def test_the_token_that_stands_there_is_the_one_that_sees_it(adapters, name, size):
    adapter = adapters[name]
    picture = np.full((*size, 3), 128, np.uint8)
    inputs, before = features_of(adapter, picture)
    places = adapter.token_boxes([picture], inputs)
    assert len(places.boxes) == len(places.view) == len(before)
    areas = (places.boxes[:, 2:] - places.boxes[:, :2]).prod(1)
    drawn = np.flatnonzero(areas > 0.5 * np.median(areas[areas > 0]))
    assert len(drawn) > 0.6 * len(before)
    rng = np.random.default_rng(0)
    for token in rng.permutation(drawn)[:12]:
        _, after = features_of(adapter, painted(picture, places.boxes[token]))
        same_view = np.flatnonzero(places.view == places.view[token])
        found, change = whose(before, after, same_view)
        assert found == token
        inside = places.boxes[token]
        far = (
            (places.boxes[:, 0] > inside[2] + 0.3) | (places.boxes[:, 2] < inside[0] - 0.3)
            | (places.boxes[:, 1] > inside[3] + 0.3) | (places.boxes[:, 3] < inside[1] - 0.3)
        )  # fmt: skip
        assert change[far].max(initial=0.0) < 1e-6 * change[token]


@pytest.mark.parametrize("name", ["llava-next", "llava-onevision"])
def test_line_ends_see_nothing_and_have_no_width(adapters, name):
    adapter = adapters[name]
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 256, (2, 240, 400, 3), dtype=np.uint8)
    inputs, before = features_of(adapter, one)
    _, after = features_of(adapter, other)
    places = adapter.token_boxes([one], inputs)
    constant = (before == after).all(-1).numpy()
    width = places.boxes[:, 3] - places.boxes[:, 1]
    assert constant.sum() > 2
    assert (constant == (width == 0)).all()
    assert (places.boxes[constant, 3] == 1).all()
    assert {view.kind for view in places.views} == {"whole", "tiles"}


def test_the_cropped_parts_of_a_picture_are_seen_by_no_token(adapters):
    adapter = adapters["llava-cropped"]
    picture = np.full((200, 310, 3), 128, np.uint8)
    inputs, before = features_of(adapter, picture)
    boxes = adapter.token_boxes([picture], inputs).boxes
    outside = picture.copy()
    outside[: int(boxes[:, 0].min() * 200) - 4] = 0
    outside[int(boxes[:, 2].max() * 200) + 4 :] = 0
    outside[:, : int(boxes[:, 1].min() * 310) - 4] = 0
    outside[:, int(boxes[:, 3].max() * 310) + 4 :] = 0
    _, after = features_of(adapter, outside)
    assert (outside != picture).any()
    assert torch.equal(before, after)


def test_the_crop_is_clips():
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    # 480 x 640 becomes 336 x 448; 56 columns are cut on either side
    assert crop_of((480, 640), processor) == pytest.approx((0, 56 / 448, 1, 392 / 448))
    processor.do_center_crop = False
    assert crop_of((480, 640), processor) == (0, 0, 1, 1)


def test_several_pictures_of_several_sizes(adapters):
    grey = [np.full((64, 96, 3), 128, np.uint8), np.full((96, 32, 3), 128, np.uint8)]
    for name in ("llava", "qwen", "internvl", "llava-onevision"):
        adapter = adapters[name]
        inputs, before = features_of(adapter, grey)
        places = adapter.token_boxes(grey, inputs)
        assert len(places.boxes) == len(before), name
        items = np.array([places.views[v].item for v in places.view])
        _, after = features_of(adapter, [grey[0], np.zeros_like(grey[1])])
        changed = (before != after).any(-1).numpy()
        assert not changed[items == 0].any(), name
        width = places.boxes[:, 3] - places.boxes[:, 1]
        assert (changed == ((items == 1) & (width > 0))).all(), name


@pytest.mark.parametrize("name", ["qwen", "internvl"])
def test_frames_of_a_video_and_a_picture_beside_it(adapters, name):
    adapter = adapters[name]
    frames = np.full((4, 64, 64, 3), 128, np.uint8)
    still = np.full((64, 96, 3), 128, np.uint8)
    items = [Video(frames), still] if name == "qwen" else [Video(frames)]
    inputs, before = features_of(adapter, items)
    places = adapter.token_boxes(items, inputs)
    assert len(places.boxes) == len(before)
    step = 2 if name == "qwen" else 1
    views = [v for v in places.views if v.item == 0]
    assert [v.frame for v in views] == list(range(0, 4, step))
    later = frames.copy()
    later[2] = 0
    _, after = features_of(adapter, [Video(later), *items[1:]])
    changed = np.flatnonzero((before != after).any(-1).numpy())
    assert {places.views[places.view[t]].frame for t in changed} == {2}
    assert {places.views[places.view[t]].item for t in changed} == {0}


def test_pil_pictures_stand_where_arrays_do(adapters):
    picture = np.random.default_rng(0).integers(0, 256, (240, 400, 3), dtype=np.uint8)
    for adapter in adapters.values():
        inputs, _ = features_of(adapter, picture)
        one = adapter.token_boxes([picture], inputs)
        other = adapter.token_boxes([Image.fromarray(picture)], inputs)
        assert np.array_equal(one.boxes, other.boxes)


def test_a_family_with_a_plain_grid_needs_no_places_of_its_own(adapters):
    adapter = adapters["qwen"]
    picture = np.full((64, 96, 3), 128, np.uint8)
    inputs, _ = features_of(adapter, picture)
    default = Adapter.token_boxes(adapter, [picture], inputs)
    own = adapter.token_boxes([picture], inputs)
    assert default.views == own.views
    assert np.allclose(default.boxes, own.boxes, atol=1e-6)


def test_tiles_that_nobody_places_are_refused(adapters):
    adapter = adapters["internvl"]
    picture = np.full((96, 200, 3), 128, np.uint8)
    inputs, _ = features_of(adapter, picture)
    with pytest.raises(UnsupportedError, match="does not say where its tiles"):
        Adapter.token_boxes(adapter, [picture], inputs)


def test_lattices_by_hand():
    assert lattice(1, 2).tolist() == [[0, 0, 1, 0.5], [0, 0.5, 1, 1]]
    padded = clipped(lattice(2, 1, (-1, 0, 1, 1)))
    assert padded.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]
    assert lattice(2, 1, (0, 0.5, 1, 1)).tolist() == [[0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]
    ended = with_line_ends(lattice(2, 1), 1)
    assert ended.tolist() == [[0, 0, 0.5, 1], [0, 1, 0.5, 1], [0.5, 0, 1, 1], [0.5, 1, 1, 1]]
    centres = lattice(3, 2)
    rows, columns = centres[:, ::2].mean(1), centres[:, 1::2].mean(1)
    assert np.allclose(around(rows, columns), centres)
    places = TokenBoxes.of([(View(0, "tiles"), lattice(1, 1)), (View(0, "whole"), lattice(1, 1)),
                        (View(0, "tiles"), lattice(1, 1))])  # fmt: skip
    assert places.view.tolist() == [0, 1, 0]
