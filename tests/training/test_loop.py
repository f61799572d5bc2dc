import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from prunecli.errors import NotFinite
from prunecli.images.batches import ImageBatches
from prunecli.network.layers import prunable
from prunecli.pruners._fixed import Fixed
from prunecli.settings.training import Hyperparameters
from prunecli.training.loop import Saving, evaluate, train
from prunecli.training.optimizers import OPTIMIZERS, SCHEDULES
from prunecli.training.state import new_state
from prunecli.types import Images, Pruner

CPU = torch.device("cpu")


def images(count=40, classes=4, pad=0):
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 6, 6, 1), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=draw)
    return Images(pixels, labels, [str(c) for c in range(classes)], [0.5], [0.25], pad=pad)


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(),
        nn.Linear(64, 4),
    )  # fmt: skip
    return model.to(memory_format=torch.channels_last)


def half_mask(model):
    draw = torch.Generator().manual_seed(5)
    return {n: torch.rand(w.shape, generator=draw) > 0.5 for n, w in prunable(model).items()}


def run(settings, pruner=None, until=None, resume=None, pad=0, every=math.inf):
    """Train from scratch or from `resume`; stop after `until` steps. Gives the state."""
    model = network()
    data = ImageBatches(images(pad=pad), CPU, settings.batch_size)
    state = new_state(model, settings, pruner or Pruner(), len(data))
    if resume:
        state.restore(*resume)
    saved = []
    try:
        train(
            state, data, settings, 1,
            saving=Saving(
                lambda: saved.append((state.step, snapshot(state))),
                lambda: until is not None and state.step >= until,
                every,
            ),
        )  # fmt: skip
    except KeyboardInterrupt:
        assert until is not None
    return state, saved


def snapshot(state):
    return {n: t.clone() for n, t in state.tensors().items()}, deepcopy(state.position())


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)


SHORT = Hyperparameters(epochs=3, batch_size=8, lr=0.1, precision="fp32")


def test_a_step_is_sgd_with_nesterov_momentum_worked_by_hand():
    # One weight w = 1 on inputs x = 0 gives equal logits; only the bias moves: g = p - onehot.
    data = Images(torch.full((4, 1, 1, 1), 128, dtype=torch.uint8), torch.zeros(4).long(),
                  ["a", "b"], [128 / 255], [1.0])  # fmt: skip
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    nn.init.zeros_(model[1].bias)
    settings = Hyperparameters(epochs=1, batch_size=4, lr=0.5, weight_decay=0, precision="fp32")
    state = new_state(model, settings, Pruner(), 1)
    train(state, ImageBatches(data, CPU, 4), settings, 0)
    # g = (-0.5, 0.5); buffer = g; nesterov: g + 0.9 g = 1.9 g; b = -0.5 * 1.9 * g.
    assert model[1].bias.tolist() == pytest.approx([0.475, -0.475])


@pytest.mark.fault(14)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("stop", [1, 5, 7, 10, 14])
def test_a_run_stopped_anywhere_goes_on_to_the_same_bytes(optimizer, schedule, stop):
    settings = Hyperparameters(
        epochs=3,
        batch_size=8,
        lr=0.01,
        optimizer=optimizer,
        schedule=schedule,
        lr_every=1,
        precision="fp32",
    )
    whole, _ = run(settings, pad=1)
    _, saved = run(settings, until=stop, pad=1)
    step, part = saved[-1]
    assert step == stop
    resumed, _ = run(settings, resume=part, pad=1)
    assert resumed.step == whole.step == 15
    assert same(resumed.tensors(), whole.tensors())
    assert resumed.position() == whole.position()


def test_the_same_seed_trains_to_the_same_bytes():
    assert same(run(SHORT)[0].tensors(), run(SHORT)[0].tensors())


def test_state_is_saved_at_every_epochs_end():
    assert [step for step, _ in run(SHORT)[1]] == [5, 10, 15]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_masked_weights_are_plus_zero_after_every_step(optimizer):
    mask = half_mask(network())

    class Watched(Fixed):
        def observe(self, params, clock):
            for name, kept in mask.items():
                masked = params[name].detach()[~kept]
                assert not masked.any()
                assert not torch.signbit(masked).any()
            Watched.seen = clock.step

    settings = Hyperparameters(epochs=2, batch_size=8, optimizer=optimizer, precision="fp32")
    state, _ = run(settings, Watched(mask))
    assert Watched.seen == 10
    assert all(not state.params[n].detach()[~kept].any() for n, kept in mask.items())
    assert all(state.params[n].detach()[kept].all() for n, kept in mask.items())


def test_kept_weights_train_as_if_the_others_had_never_been():
    """A last layer of half of the inputs trains to the same numbers as one masked to them."""

    class Half(nn.Linear):
        def forward(self, x):
            return super().forward(x[:, :32])

    mask = {"5.weight": torch.zeros(4, 64, dtype=torch.bool)}
    mask["5.weight"][:, :32] = True
    masked, _ = run(SHORT, Fixed(mask))

    small = Half(32, 4)
    model = network()  # after which random numbers are where they were for the masked one
    with torch.no_grad():
        small.weight.copy_(model[5].weight[:, :32])
        small.bias.copy_(model[5].bias)
    model[5] = small
    data = ImageBatches(images(), CPU, SHORT.batch_size)
    train(new_state(model, SHORT, Pruner(), len(data)), data, SHORT, 1)

    never = dict(model.named_parameters())
    for name, weight in masked.params.items():
        expected = never[name].detach()
        found = weight.detach()[:, :32] if name == "5.weight" else weight.detach()
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6), name
    assert not masked.params["5.weight"].detach()[:, 32:].any()
    assert not torch.equal(never["5.weight"], network()[5].weight[:, :32])  # it did train


def test_every_hook_of_a_pruner_takes_part():
    class Shrink(Pruner):
        """Halves what the forward pass sees, pulls a trainable threshold, and counts calls."""

        def __init__(self):
            self.threshold = nn.Parameter(torch.tensor(1.0))
            self.calls = torch.zeros(1)
            self.clocks = []

        def weights(self, params, clock):
            return {n: w / 2 for n, w in params.items()}

        def penalty(self, params, clock):
            return self.threshold.square()

        def observe(self, params, clock):
            assert all(w.grad is not None for w in params.values())
            assert self.threshold.grad is not None
            self.calls += 1
            self.clocks.append((clock.step, clock.epoch, clock.epoch_ends))

        def parameters(self):
            return [self.threshold]

        def state_dict(self):
            return {"calls": self.calls, "threshold": self.threshold.detach()}

        def load_state_dict(self, state):
            self.calls = state["calls"].clone()
            self.threshold.data.copy_(state["threshold"])

    whole = Shrink()
    run(SHORT, whole)
    assert whole.calls.item() == 15
    assert whole.clocks[4:6] == [(5, 1, True), (6, 2, False)]
    assert whole.threshold.item() != 1
    first, again = Shrink(), Shrink()
    _, saved = run(SHORT, first, until=7)
    resumed, _ = run(SHORT, again, resume=saved[-1][1])
    assert again.threshold.item() == whole.threshold.item()
    assert resumed.tensors()["pruner/calls"].item() == 15


@pytest.mark.fault(28)
def test_divergence_names_epoch_and_step_and_keeps_the_last_good_state():
    settings = Hyperparameters(epochs=4, batch_size=8, lr=1e30, precision="fp32")
    model = network()
    data = ImageBatches(images(), CPU, 8)
    state = new_state(model, settings, Pruner(), len(data))
    saved = []
    words = r"in epoch 1, step [2-5]: the loss is not finite, then NaN or infinity in .*; lower"
    with pytest.raises(NotFinite, match=words) as refusal:
        train(state, data, settings, 1, saving=Saving(lambda: saved.append(1)))
    assert repr(next(iter(state.params))) in str(refusal.value)
    assert not saved


@pytest.mark.fault(28)
@pytest.mark.parametrize(("last", "kept"), [(1, 0), (5, 0), (6, 1), (15, 2)])
def test_weights_that_are_no_numbers_are_never_saved(last, kept):
    class Spoil(Pruner):
        def update(self, params, clock):
            if clock.step == last:
                list(params.values())[-1].data[0, 0] = float("inf")

    settings = Hyperparameters(epochs=3, batch_size=8, precision="fp32")
    data = ImageBatches(images(), CPU, 8)
    state = new_state(network(), settings, Spoil(), len(data))
    assert len(data) == 5
    saved = []
    with pytest.raises(NotFinite) as refusal:
        train(state, data, settings, 1, saving=Saving(lambda: saved.append(state.not_finite())))
    assert saved == [[]] * kept
    if last % 5 == 0:  # the loss had no time to show it
        found = f"in epoch {last // 5}, step 5: NaN or infinity in {list(state.params)[-1]!r}"
        assert found in str(refusal.value)
    else:
        assert f"in epoch {last // 5 + 1}, step {last % 5 + 1}: the loss is" in str(refusal.value)


def test_learning_rates_follow_their_schedules():
    def rates(**kwargs):
        state, _ = run(Hyperparameters(epochs=4, batch_size=8, lr=1.0, precision="fp32", **kwargs))
        return [row["lr"] for row in state.history]  # after each epoch

    assert rates(schedule="constant") == [1, 1, 1, 1]
    assert rates(schedule="cosine") == pytest.approx(
        [(1 + math.cos(math.pi * e / 4)) / 2 for e in range(1, 5)]
    )
    assert rates(schedule="step", lr_every=2, lr_gamma=0.5) == [1, 0.5, 0.5, 0.25]
    assert rates(schedule="restarts", lr_every=2) == pytest.approx([0.5, 1, 0.5, 1])
    assert rates(schedule="onecycle")[0] > 0.5 > rates(schedule="onecycle")[-1]


class Constant(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, x):
        return self.bias.expand(len(x), -1)


@pytest.mark.parametrize("batch", [128, 500, 10_000])
def test_a_constant_predictor_on_balanced_data_scores_exactly_by_chance(batch):
    labels = torch.arange(10_000) % 10
    data = Images(torch.zeros(10_000, 1, 1, 1, dtype=torch.uint8), labels, list("abcdefghij"),
                  [0.0], [1.0])  # fmt: skip
    model = Constant([float(i) for i in range(10)])
    result = evaluate(model, ImageBatches(data, CPU, batch), "fp32", CPU)
    assert (result["top1"], result["top5"]) == (10.0, 50.0)
    logits = torch.arange(10.0)
    expected = (logits.logsumexp(0) - logits).mean().item()
    assert result["loss"] == pytest.approx(expected)


def test_top5_of_three_classes_is_everything():
    result = evaluate(Constant([0.0, 1.0, 2.0, 3.0]), ImageBatches(images(), CPU, 7), "fp32", CPU)
    assert result["top5"] == 100.0


def test_outputs_that_are_no_numbers_are_refused():
    with pytest.raises(NotFinite, match="outputs are not finite"):
        evaluate(Constant([math.nan] * 4), ImageBatches(images(), CPU, 7), "fp32", CPU)


def test_the_state_is_saved_within_an_epoch_and_any_of_them_ends_the_same():
    settings = Hyperparameters(epochs=2, batch_size=8, lr=0.1, precision="fp32")
    whole, ends = run(settings)
    steps = whole.steps_per_epoch
    assert [step for step, _ in ends] == [steps, 2 * steps]
    again, saved = run(settings, every=0)
    assert [step for step, _ in saved] == list(range(1, 2 * steps + 1))
    for _, (tensors, facts) in saved:
        resumed, _ = run(settings, resume=(tensors, facts))
        for state in (again, resumed):
            assert state.history == whole.history
            assert all(torch.equal(t, whole.tensors()[n]) for n, t in state.tensors().items())
