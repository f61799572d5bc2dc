import torch

from prunecli.data.digits import digits


def test_every_fifth_image_of_a_class_is_for_testing(tmp_path):
    train, test = digits(tmp_path / "never read", "train"), digits(tmp_path, "test")
    assert (len(train.labels), len(test.labels)) == (1442, 355)
    assert train.images.shape == (1442, 28, 28, 1)
    assert train.input_shape == (1, 28, 28)
    whole = torch.bincount(train.labels) + torch.bincount(test.labels)
    assert torch.equal(torch.bincount(test.labels), whole // 5)


def test_mean_and_deviation_are_those_of_the_training_images(tmp_path):
    train = digits(tmp_path, "train")
    pixels = train.images.float() / 255
    assert abs(pixels.mean() - train.mean[0]) < 1e-4
    assert abs(pixels.std() - train.std[0]) < 1e-4


def test_images_look_like_their_labels(tmp_path):
    """The nearest training image of a test image has its label, nearly always."""
    train, test = digits(tmp_path, "train"), digits(tmp_path, "test")
    distance = torch.cdist(test.images.flatten(1).float(), train.images.flatten(1).float())
    assert (train.labels[distance.argmin(1)] == test.labels).float().mean() > 0.97
