"""What is seen of a picture, against torchvision's own presets and crops."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from prunecli.data import _pixels, _views
from prunecli.data._views import View, _square, random_box
from prunecli.data.folder import folder
from prunecli.errors import BadInput
from prunecli.images.batches import ImageBatches
from prunecli.images.source import fingerprint
from prunecli.types import Stream

CPU = torch.device("cpu")
SIDES = [(500, 375), (333, 500), (97, 101), (224, 224), (256, 256), (255, 257), (61, 700), (9, 5)]


def picture(sides, mode="RGB", seed=0):
    """Noise over a gradient, of this width and height."""
    width, height = sides
    draw = np.random.default_rng(seed)
    slope = np.linspace(0, 200, width)[None, :, None] + np.linspace(0, 30, height)[:, None, None]
    noise = draw.integers(0, 26, (height, width, 3))
    return Image.fromarray((slope + noise).astype(np.uint8)).convert(mode)


def put(root, pictures, split="train"):
    """ROOT/SPLIT/a/NAME for each name and picture."""
    place = root / split / "a"
    place.mkdir(parents=True)
    for name, image in pictures.items():
        image.save(place / name)
    return [Image.open(place / name) for name in sorted(pictures)]


# The middle


PRESETS = {
    "AlexNet's": (models.AlexNet_Weights.IMAGENET1K_V1, {"resize": 256}),
    "ResNet-50's": (models.ResNet50_Weights.IMAGENET1K_V1, {"resize": 256}),
    "ResNet-50's of version 2": (models.ResNet50_Weights.IMAGENET1K_V2, {"resize": 232}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("weights", "options"), PRESETS.values(), ids=PRESETS)
def test_a_test_set_is_seen_as_torchvisions_presets_see_it(tmp_path, weights, options, stream):
    modes = {"jpeg": "RGB", "png": "RGB", "grey.jpeg": "L", "grey.png": "L", "opaque.png": "RGBA"}
    pictures = {
        f"{number}.{suffix}": picture(sides, mode, number)
        for number, sides in enumerate(SIDES)
        for suffix, mode in modes.items()
    }
    files = put(tmp_path, pictures, "val")
    (tmp_path / "train" / "a").mkdir(parents=True)
    preset = weights.transforms()
    data = folder(tmp_path, "test", size=224, stream=stream, **options)
    seen = torch.cat([x for x, _ in ImageBatches(data, CPU, 7).plain()])
    std, mean = (torch.tensor(n)[:, None, None] for n in (preset.std, preset.mean))
    for ours, file in zip(seen, files, strict=True):
        theirs = preset(file.convert("RGB"))
        pixels, expected = ((x * std + mean) * 255 for x in (ours, theirs))
        assert torch.equal(pixels.round(), expected.round()), file.filename
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("size", "resize"), [(224, 256), (1, 1), (17, 18), (64, 64), (31, 90)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_middle_is_torchvisions_to_the_bit(size, resize, mode):
    for sides in SIDES:
        image = picture(sides, mode)
        scaled = F.resize(image, [resize])
        assert View(size, resize).pixels(sides) == max(
            image.width * image.height, scaled.width * scaled.height
        )
        expected = np.asarray(F.center_crop(scaled, [size]))
        assert np.array_equal(np.asarray(View(size, resize).middle(image)), expected), sides


def test_what_is_transparent_is_white_before_it_is_scaled(tmp_path):
    image = picture((300, 260), "RGBA")
    image.putalpha(picture((300, 260), "L", 3))
    put(tmp_path, {"0.png": image})
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    expected = F.center_crop(F.resize(white, [256]), [224])
    found = folder(tmp_path, "train", size=224, resize=256).images[0].int()
    assert (found - torch.tensor(np.asarray(expected)).int()).abs().max() <= 1  # of blending


def scaled_whole(image, size):
    """All of the image scaled, and the middle cut out of that."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image.crop((left, top, left + size, top + size))


@pytest.mark.parametrize("size", [1, 17, 64, 224])
@pytest.mark.parametrize("sides", [(60, 60), (64, 64), (50, 37), (375, 500), (640, 480), (3, 200)])
def test_the_middle_is_that_of_the_image_scaled_whole(sides, size):
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 256, (*sides, 3), dtype=np.uint8))
    ours, theirs = (np.asarray(f(image, size)).astype(int) for f in (_square, scaled_whole))
    assert ours.shape == (size, size, 3)
    assert abs(ours - theirs).max() <= 1  # which of the sides is scaled first is up to Pillow


@pytest.mark.parametrize("sides", [(1, 80_000_000), (80_000_000, 1)])
def test_the_longest_of_images_has_a_middle(sides):
    assert (np.asarray(_square(Image.new("L", sides, 7), 224)) == 7).all()


@pytest.mark.fault(35)
def test_what_is_too_long_to_be_scaled_whole_is_named_before_it_takes_memory(tmp_path, monkeypatch):
    put(tmp_path, {"0.png": Image.new("L", (1, 1_000))})
    assert folder(tmp_path, "train", size=224, resize=224, grey=True).images.shape[1] == 224
    (tmp_path / "train" / "a" / "1.png").write_bytes(b"")
    Image.new("L", (1, 2_000_000)).save(tmp_path / "train" / "a" / "1.png")
    monkeypatch.setattr(_pixels, "decoded", lambda *given: pytest.fail("decoded"))
    monkeypatch.setattr(_pixels, "_room", _pixels._Room(0))
    (tmp_path / "train" / "a" / "0.png").unlink()
    with pytest.raises(BadInput, match=r"1\.png: scaled, its 1x2000000 pixels would become over"):
        folder(tmp_path, "train", size=224, resize=224, grey=True)


def test_resize_decides_what_decoded_images_are_kept_and_known_by(tmp_path):
    put(tmp_path, {"0.png": picture((50, 40))})
    told = {}
    for stream in (False, True):
        views = [
            folder(tmp_path, "train", size=16, resize=r, stream=stream) for r in (None, 16, 20)
        ]
        prints = [fingerprint(data) for data in views]
        again = fingerprint(folder(tmp_path, "train", size=16, resize=20, stream=stream))
        assert prints[2] == again
        assert prints[2] not in prints[:2]
        told[stream] = views
    for held, streamed in zip(*told.values(), strict=True):
        (one, _), (two, _) = (next(ImageBatches(x, CPU, 1).plain()) for x in (held, streamed))
        assert torch.equal(one, two)
    assert told[True][0].images.how == "decoder 1"  # as it was before there was a `resize`


# Random parts


def test_a_part_is_torchvisions_crop_of_that_box():
    for draw, sides in enumerate(SIDES * 3):
        for mode in ("RGB", "L"):
            image = picture(sides, mode, draw)
            left, top, right, bottom = random_box(sides, draw)
            where = (top, left, bottom - top, right - left)
            expected = F.resized_crop(image, *where, size=[64, 64])
            assert np.array_equal(np.asarray(View(64).part(image, draw)), np.asarray(expected))


def box_by_hand(sides, numbers):
    """As torchvision draws a box: numbers from 0 to 1 come one after the other."""
    (width, height), each = sides, iter(numbers)
    for _ in range(10):
        share, stretch, x, y = (next(each) for _ in range(4))
        area = width * height * (0.08 + 0.92 * share)
        ratio = (3 / 4) * (16 / 9) ** stretch  # from 3/4 to 4/3
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, top, left + w, top + h
    return None


@pytest.mark.parametrize("sides", SIDES)
def test_a_box_is_drawn_in_ten_tries(sides):
    for draw in range(200):
        numbers = torch.rand(40, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)
        expected = box_by_hand(sides, numbers.tolist())
        box = random_box(sides, draw)
        assert expected is None or box == expected
        left, top, right, bottom = box
        assert 0 <= left < right <= sides[0]
        assert 0 <= top < bottom <= sides[1]


@pytest.mark.parametrize("sides", [(1, 50), (50, 1), (900, 50), (31, 700), (1, 100)])
def test_the_box_where_none_fits_is_torchvisions(sides):
    image = Image.new("L", sides)
    for draw in range(20):
        ours = random_box(sides, draw)
        top, left, height, width = RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3])
        assert ours == (left, top, left + width, top + height)


@pytest.mark.parametrize("sides", [(3, 4), (4, 3), (1, 1), (10, 9)])
def test_the_box_that_is_left_after_all_tries_is_all_of_a_usual_picture(sides, monkeypatch):
    monkeypatch.setattr(_views, "TRIES", 0)
    assert random_box(sides, 3) == (0, 0, *sides)


@pytest.mark.parametrize("sides", [(500, 375), (200, 320), (61, 150)])
def test_boxes_are_spread_as_torchvisions_are(sides):
    """Mean and deviation of their place, area and ratio, of 4,000 each."""
    torch.manual_seed(0)
    image = Image.new("L", sides)
    theirs = [RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(4000)]
    boxes = [random_box(sides, random.Random(n).getrandbits(62)) for n in range(4000)]
    ours = [(top, left, bottom - top, right - left) for left, top, right, bottom in boxes]
    one, two = (torch.tensor(found, dtype=torch.float64) for found in (ours, theirs))
    for x, y in zip(features(one), features(two), strict=True):
        spread = y.std() + 1e-9
        assert abs(x.mean() - y.mean()) < 4.5 * spread * (2 / 4000) ** 0.5
        assert x.std() == pytest.approx(float(y.std()), rel=0.06)


def features(boxes):
    top, left, height, width = boxes.T
    return top, left, height * width, (width / height).log()


@pytest.fixture
def tree(tmp_path):
    for split in ("train", "val"):
        for label in "abc":
            place = tmp_path / split / label
            place.mkdir(parents=True)
            for number in range(9 if split == "train" else 4):
                seed = number + ord(label)
                picture((40 + 3 * number, 61), seed=seed).save(place / f"{number}.png")
    return tmp_path


def cropped(tree, **options):
    return folder(tree, "train", size=16, crop="random", **options)


def epoch(batches, *given):
    return [(x.clone(), y) for x, y in batches.epoch(*given)]


def equal(one, two):
    return len(one) == len(two) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(one, two, strict=True)
    )


def test_an_epoch_is_of_parts_that_its_numbers_decide(tree):
    data = cropped(tree, flip=False)
    (x, labels), *_ = epoch(ImageBatches(data, CPU, 27), 5)
    draw = torch.Generator().manual_seed(5)
    order = torch.randperm(27, generator=draw)
    torch.randint(0, 1, (2, 27), generator=draw)
    torch.randint(0, 2, (27,), generator=draw)
    numbers = torch.randint(1 << 62, (27,), generator=draw)
    assert torch.equal(labels, data.labels[order])
    scale = 255 * torch.tensor(data.std)
    for pixels, place in zip(x, order.tolist(), strict=True):
        with Image.open(data.images.files[place].path) as image:
            left, top, right, bottom = random_box(image.size, int(numbers[place]))
            where = (top, left, bottom - top, right - left)
            expected = np.asarray(F.resized_crop(image, *where, size=[16, 16]))
        found = pixels.permute(1, 2, 0) * scale + 255 * torch.tensor(data.mean)
        assert np.array_equal(found.round().numpy(), expected)


def test_parts_are_mirrored_and_not_shifted(tree):
    data, plain = cropped(tree), cropped(tree, flip=False)
    assert (data.pad, data.flip) == (0, True)
    (x, _), (u, _) = (epoch(ImageBatches(each, CPU, 27), 1)[0] for each in (data, plain))
    straight = [torch.equal(one, two) for one, two in zip(x, u, strict=True)]
    mirrored = [torch.equal(one.flip(2), two) for one, two in zip(x, u, strict=True)]
    assert all(a != b for a, b in zip(straight, mirrored, strict=True))
    assert 5 < sum(mirrored) < 22
    assert cropped(tree, pad=3).pad == 3  # whoever asks for it


def test_each_epoch_has_parts_of_its_own(tree):
    batches = ImageBatches(cropped(tree), CPU, 5)
    assert equal(epoch(batches, 1), epoch(batches, 1))
    images = [torch.cat([x for x, _ in epoch(batches, seed)]) for seed in (1, 2)]
    assert not any(torch.equal(a, b) for a in images[0] for b in images[1])


@pytest.mark.parametrize("start", [1, 3, 5])
def test_any_batch_of_parts_can_be_had_without_those_before_it(tree, start):
    whole = epoch(ImageBatches(cropped(tree), CPU, 5), 3)
    assert equal(whole[start:], epoch(ImageBatches(cropped(tree), CPU, 5), 3, start))


def test_what_is_not_for_training_sees_the_middle(tree):
    middles = folder(tree, "train", size=16, stream=True)
    one, two = (list(ImageBatches(data, CPU, 5).plain()) for data in (cropped(tree), middles))
    assert equal(one, two)


def test_a_test_set_is_the_same_whatever_training_sees(tree):
    for stream in (None, True):
        one, two = (
            folder(tree, "test", size=16, pad=0, crop=crop, stream=stream)
            for crop in ("random", "shift")
        )
        assert fingerprint(one) == fingerprint(two)
        assert isinstance(one.images, Stream) == bool(stream)
        assert equal(epoch(ImageBatches(one, CPU, 5), 1), epoch(ImageBatches(two, CPU, 5), 1))


def test_a_training_set_is_known_by_whether_it_sees_parts(tree):
    told = [
        fingerprint(folder(tree, "train", size=16, stream=True, pad=0, crop=crop))
        for crop in ("shift", "random")
    ]
    assert told[0] != told[1]
    assert told[1] == fingerprint(cropped(tree))
    assert told[1] != fingerprint(cropped(tree, resize=20))
