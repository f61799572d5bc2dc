from itertools import product

import pytest
import torch

from prunecli.errors import BadUsage
from prunecli.images.batches import ImageBatches, ScoringBatches, derive_seed, eval_batch, split_off
from prunecli.runtime.device import has_room
from prunecli.runtime.world import World
from prunecli.types import Images

CPU = torch.device("cpu")


def images(count=10, size=4, channels=1, **options):
    pixels = torch.arange(count * size * size * channels) % 251
    return Images(
        pixels.to(torch.uint8).reshape(count, size, size, channels),
        torch.arange(count) % 3,
        ["a", "b", "c"],
        mean=[0.5] * channels,
        std=[0.25] * channels,
        **options,
    )


def plain(data, batch_size=3):
    return list(ImageBatches(data, CPU, batch_size).plain())


def test_plain_gives_every_image_once_in_order_normalised():
    data = images()
    batches = plain(data)
    assert [len(y) for _, y in batches] == [3, 3, 3, 1]
    x = torch.cat([x for x, _ in batches])
    expected = (data.images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(x, expected)
    assert torch.equal(torch.cat([y for _, y in batches]), data.labels)


@pytest.mark.parametrize("options", [{}, {"pad": 2, "flip": True}])
def test_batches_are_laid_out_alike_however_one_channel_is_stored(options):
    usual, odd = images(**options), images(**options)
    odd.images.as_strided_(odd.images.shape, (16, 4, 1, 16))  # what one channel leaves open
    one, two = (ImageBatches(data, CPU, 3) for data in (usual, odd))
    for own, other in ((one.plain(), two.plain()), (one.epoch(5), two.epoch(5))):
        assert [x.stride() for x, _ in own] == [x.stride() for x, _ in other]


@pytest.mark.parametrize("options", [{}, {"pad": 2, "flip": True}])
def test_images_that_do_not_fit_the_device_are_brought_to_it_batch_by_batch(monkeypatch, options):
    data = images(20, **options)
    held = ImageBatches(data, CPU, 3)
    monkeypatch.setattr("prunecli.images.batches.has_room", lambda device, size: False)
    brought = ImageBatches(data, CPU, 3)
    for one, two in ((held.plain(), brought.plain()), (held.epoch(5, 2), brought.epoch(5, 2))):
        for (x, y), (u, v) in zip(one, two, strict=True):
            assert torch.equal(x, u)
            assert torch.equal(y, v)


@pytest.mark.parametrize(("free", "fits"), [(399, False), (400, True)])
def test_a_gpu_has_room_for_what_it_can_hold_twice_with_half_to_spare(monkeypatch, free, fits):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, 10**9))
    assert has_room(torch.device("cuda"), 100) is fits
    assert has_room(CPU, 100)


def test_plain_does_not_see_the_padding_of_training():
    torch.testing.assert_close(plain(images(pad=2))[0][0], plain(images())[0][0])


def test_batches_are_channels_last():
    x, _ = plain(images(channels=3))[0]
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_has_every_image_once_in_an_order_of_its_seed():
    data = images(count=50, size=1)
    batches = ImageBatches(data, CPU, 8)

    def order(seed):
        return torch.cat([x.flatten() for x, _ in batches.epoch(seed)]).tolist()

    expected = sorted(torch.cat([x.flatten() for x, _ in batches.plain()]).tolist())
    assert sorted(order(1)) == expected
    assert order(1) == order(1)
    assert order(1) != order(2)


@pytest.mark.parametrize(
    ("count", "sizes"), [(9, [4, 5]), (10, [4, 4, 2]), (8, [4, 4]), (1, [1]), (3, [3])]
)
def test_a_single_image_left_over_joins_the_batch_before(count, sizes):
    batches = ImageBatches(images(count=count), CPU, 4)
    assert [len(y) for _, y in batches.epoch(0)] == sizes
    assert len(batches) == len(sizes)
    assert sum(len(y) for _, y in batches.plain()) == count


@pytest.mark.parametrize("count", [9, 10, 50])
def test_processes_share_every_batch_among_them(count):
    data = images(count=count, pad=1, flip=True)
    whole = ImageBatches(data, CPU, 4)
    shares = [ImageBatches(data, CPU, 4, World(rank, 3)) for rank in range(3)]
    for batches in (
        [b.epoch(3, 1) for b in (whole, *shares)],
        [b.plain() for b in (whole, *shares)],
    ):
        for (x, y), *parts in zip(*batches, strict=True):
            for rank, (own_x, own_y) in enumerate(parts):
                assert torch.equal(own_x, x[rank::3])
                assert torch.equal(own_y, y[rank::3])
    sizes = [len(y) for _, y in whole.epoch(0)]
    assert [shares[0].size(batch) for batch in range(len(whole))] == sizes


@pytest.mark.parametrize("start", [1, 4, 6])
def test_an_epoch_taken_up_in_the_middle_goes_on_with_the_same_batches(start):
    batches = ImageBatches(images(count=50, pad=1, flip=True), CPU, 8)
    whole, rest = list(batches.epoch(3)), list(batches.epoch(3, start))
    assert len(rest) == len(whole) - start
    for (x, y), (again_x, again_y) in zip(whole[start:], rest, strict=True):
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)


def window(image, top, left, mirrored):
    part = image[:, top : top + 4, left : left + 4]
    return part.flip(2) if mirrored else part


def test_training_images_are_windows_of_the_padded_image_mirrored_or_not():
    data = images(count=200, size=4, pad=1, flip=True)
    batches = ImageBatches(data, CPU, 200)
    (x, labels), seen = next(batches.epoch(0)), set()
    black = -0.5 / 0.25
    padded = torch.nn.functional.pad(
        torch.cat([x for x, _ in batches.plain()]), (1, 1, 1, 1), value=black
    )
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(labels, data.labels[order])
    for image, source in zip(x, padded[order], strict=True):
        fits = [
            (top, left, mirrored)
            for top, left, mirrored in product(range(3), range(3), (False, True))
            if torch.allclose(image, window(source, top, left, mirrored), atol=1e-6)
        ]
        assert len(fits) >= 1
        seen.add(fits[0])
    assert len(seen) == 18  # every shift, mirrored and not


def test_scoring_batches_open_the_data_late_and_repeat_themselves():
    opened = []
    batches = ScoringBatches((1, 4, 4), lambda: opened.append(1) or images(pad=2), CPU, 4, seed=0)
    assert batches.input_shape == (1, 4, 4)
    assert not opened
    one, two = list(batches), list(batches)
    assert opened == [1]
    assert [len(y) for _, y in one] == [4, 4, 2]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, two, strict=True))


def test_derived_seeds_depend_on_every_part():
    assert derive_seed(1, "a") == derive_seed(1, "a")
    assert len({derive_seed(1, "a"), derive_seed(1, "b"), derive_seed(2, "a"), derive_seed(1)}) == 4
    assert 0 <= derive_seed("x") < 2**63


# So many of each class


def scoring(labels, seed=0, batch_size=4):
    """Images of one pixel, each of its own brightness: what comes out tells which it is."""
    labels = torch.tensor(labels)
    pixels = torch.arange(len(labels)).to(torch.uint8).reshape(-1, 1, 1, 1)
    data = Images(pixels, labels, ["cat", "dog", "eel"], mean=[0.0], std=[1 / 255])
    return ScoringBatches((1, 1, 1), lambda: data, CPU, batch_size, seed)


UNEVEN = [0] * 20 + [1] * 30 + [2] * 5


@pytest.mark.parametrize("count", [1, 3, 5])
def test_as_many_images_of_each_class_as_asked_the_classes_taking_turns(count):
    x, labels = scoring(UNEVEN).per_class(count)
    assert labels.tolist() == [0, 1, 2] * count
    places = x.round().flatten().long().tolist()
    assert len(set(places)) == 3 * count
    assert [UNEVEN[place] for place in places] == labels.tolist()


def test_images_of_each_class_are_normalised_as_all_are():
    batches = ScoringBatches((1, 4, 4), images, CPU, 4, seed=0)
    x, _ = batches.per_class(3)
    known = (images().images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    for image in x:
        assert sum(torch.allclose(image, one, atol=1e-5) for one in known) == 1


def test_the_seed_alone_decides_which_images_of_a_class():
    def places(seed, batch_size=4):
        return scoring(UNEVEN, seed, batch_size).per_class(5)[0].round().flatten().tolist()

    assert places(1) == places(1)
    assert places(1) == places(1, batch_size=64)
    assert places(1) != places(2)
    again = scoring(UNEVEN, 1)
    list(again)
    assert again.per_class(5)[0].round().flatten().tolist() == places(1)


def test_fewer_of_each_class_are_the_first_of_more():
    few, many = (scoring(UNEVEN, 3).per_class(count)[0].flatten() for count in (2, 5))
    assert torch.equal(few, many[:6])


def test_a_class_with_too_few_images_is_named_with_its_count():
    message = "per_class=6: the training set has only 5 images of class 'eel'"
    with pytest.raises(BadUsage, match=message):
        scoring(UNEVEN).per_class(6)
    with pytest.raises(BadUsage, match="only 0 images of class 'dog'"):
        scoring([0, 2, 0, 2]).per_class(1)


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_of_each_class_is_refused(count):
    with pytest.raises(BadUsage, match=f"per_class={count}: at least one image"):
        scoring(UNEVEN).per_class(count)


# A part held out


def numbered(labels, **options):
    """Images of one pixel, each of its own brightness."""
    pixels = torch.arange(len(labels)).to(torch.uint8).reshape(-1, 1, 1, 1)
    classes = ["cat", "dog", "eel"]
    return Images(pixels, torch.tensor(labels), classes, [0.0], [1 / 255], **options)


MIXED = [0, 1, 1, 0, 1, 2, 0, 1, 1, 2, 1, 0, 1, 1, 2, 0, 0, 1, 1, 0, 2, 1, 0]  # 8, 11 and 4


def brightness(data):
    return data.images.flatten().tolist()


@pytest.mark.parametrize(
    ("fraction", "counts"),
    [
        (0.25, [2, 3, 1]),  # of 2, 2.75 and 1
        (0.5, [4, 6, 2]),  # of 4, 5.5 and 2
        (0.1, [1, 1, 0]),  # of 0.8, 1.1 and 0.4
        (0.9, [7, 10, 4]),  # of 7.2, 9.9 and 3.6
    ],
)
def test_the_same_fraction_of_every_class_is_held_out(fraction, counts):
    rest, held = split_off(numbered(MIXED), fraction, seed=3)
    assert torch.bincount(held.labels, minlength=3).tolist() == counts
    assert torch.bincount(rest.labels, minlength=3).tolist() == [
        all_of - out for all_of, out in zip([8, 11, 4], counts, strict=True)
    ]


def test_what_is_held_out_and_what_is_left_are_all_images_once_each_in_order():
    rest, held = split_off(numbered(MIXED), 0.3, seed=1)
    one, two = brightness(rest), brightness(held)
    assert sorted([*one, *two]) == list(range(len(MIXED)))
    assert (one, two) == (sorted(one), sorted(two))
    for data in (rest, held):
        assert [MIXED[place] for place in brightness(data)] == data.labels.tolist()


def test_the_seed_alone_decides_what_is_held_out():
    zero, again, one = (brightness(split_off(numbered(MIXED), 0.3, seed)[1]) for seed in (0, 0, 1))
    assert zero == again
    assert zero != one


def test_both_parts_keep_what_else_is_known_of_the_images():
    data = numbered(MIXED, pad=2, flip=True)
    for part in split_off(data, 0.3, seed=0):
        assert (part.classes, part.mean, part.std) == (data.classes, data.mean, data.std)
        assert (part.pad, part.flip) == (2, True)


def test_the_images_themselves_stay_as_they_were():
    data = numbered(MIXED)
    split_off(data, 0.3, seed=0)
    assert brightness(data) == list(range(len(MIXED)))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.3, 1.3, 0.01, 0.99, float("nan")])
def test_a_fraction_that_leaves_one_part_empty_is_refused(fraction):
    with pytest.raises(BadUsage, match=f"fraction={fraction:g}: it must leave images to train on"):
        split_off(numbered(MIXED), fraction, seed=0)


@pytest.mark.parametrize(
    ("side", "kind", "images"),
    [(32, "cpu", 500), (32, "cuda", 2000), (8, "cuda", 2000), (48, "cuda", 910),
     (64, "cuda", 512), (224, "cuda", 500), (224, "cpu", 500)],
)  # fmt: skip
def test_small_images_are_evaluated_in_larger_batches_on_a_gpu(side, kind, images):
    assert eval_batch(torch.device(kind), (3, side, side)) == images
