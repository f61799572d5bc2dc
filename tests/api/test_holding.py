import copy

import pytest
import torch
from torch import nn

import prunecli
from prunecli import BadUsage, Mismatch

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "adamw, fused": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))


@pytest.fixture
def mask():
    torch.manual_seed(1)
    return {"0.weight": torch.rand(5, 6) > 0.5, "2.weight": torch.rand(4, 5) > 0.5}


def descend(model, *optimizers):
    def loss():
        for optimizer in optimizers:
            optimizer.zero_grad()
        (value := model(torch.randn(8, 6)).square().sum()).backward()
        return value

    for optimizer in optimizers:
        optimizer.step(loss)


def all_zero(tensor, kept):
    return bool((tensor.detach().view(torch.int32)[~kept] == 0).all())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_masked_weights_and_what_the_optimizer_holds_of_them_are_plus_zero(name, model, mask):
    optimizer = OPTIMIZERS[name](model.parameters())
    descend(model, optimizer)
    before = copy.deepcopy(model.state_dict())
    with prunecli.held(model, mask, optimizer):
        for _ in range(3):
            for key, kept in mask.items():
                weight = model.get_parameter(key)
                assert all_zero(weight, kept)
                said = [v for v in optimizer.state.get(weight, {}).values() if torch.is_tensor(v)]
                own = [value for value in said if value.shape == weight.shape]
                assert name == "lbfgs" or own
                assert all(all_zero(value, kept) for value in own)
            descend(model, optimizer)
    for key, kept in mask.items():
        assert all_zero(model.get_parameter(key), kept)
        assert not torch.equal(model.get_parameter(key)[kept], before[key][kept])


def test_nothing_is_held_afterwards_even_where_the_loop_failed(model, mask):
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(ZeroDivisionError), prunecli.held(model, mask, optimizer):
        raise ZeroDivisionError
    descend(model, optimizer)
    assert not all_zero(model[0].weight, mask["0.weight"])


def test_the_weights_are_those_of_training_with_masked_gradients(model, mask):
    """SGD without decay: to hold a mask is to have no gradient there."""
    other = prunecli.apply(copy.deepcopy(model), mask)
    one, two = (torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for m in (model, other))
    with prunecli.held(model, mask, one):
        for step in range(4):
            torch.manual_seed(step)
            descend(model, one)
            torch.manual_seed(step)
            two.zero_grad()
            other(torch.randn(8, 6)).square().sum().backward()
            for key, kept in mask.items():
                other.get_parameter(key).grad.mul_(kept)
            two.step()
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_each_of_several_optimizers_holds_the_mask(model, mask):
    first = OPTIMIZERS["sgd"](model[0].parameters())
    second = OPTIMIZERS["adam"](model[2].parameters())
    with prunecli.held(model, mask, first, second):
        descend(model, first, second)
        assert all(all_zero(model.get_parameter(key), kept) for key, kept in mask.items())


def test_weights_that_were_replaced_are_held_from_the_next_step_on(model, mask):
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with prunecli.held(model, mask, optimizer):
        model.load_state_dict({n: torch.ones_like(t) for n, t in model.state_dict().items()})
        descend(model, optimizer)
        assert all_zero(model[0].weight, mask["0.weight"])


def test_a_step_that_a_scaler_leaves_out_changes_nothing(model, mask):
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    with prunecli.held(model, mask, optimizer):
        for factor in (1.0, torch.inf, 1.0):
            before = model[0].weight.detach().clone()
            optimizer.zero_grad()
            scaler.scale(model(torch.randn(8, 6)).square().sum() * factor).backward()
            scaler.step(optimizer)
            scaler.update()
            assert torch.equal(before, model[0].weight) == (factor == torch.inf)
            assert all_zero(model[0].weight, mask["0.weight"])


def test_a_compiled_model_is_held_as_the_one_that_it_is_of(model, mask):
    optimizer = OPTIMIZERS["adam"](model.parameters())
    compiled = torch.compile(model, backend="eager")
    with prunecli.held(compiled, mask, optimizer):
        descend(compiled, optimizer)
        assert all_zero(model[0].weight, mask["0.weight"])


def test_a_model_in_distributed_data_parallel_is_held_as_the_one_within(model, mask, tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        optimizer = OPTIMIZERS["sgd"](wrapped.parameters())
        with prunecli.held(wrapped, mask, optimizer):
            descend(wrapped, optimizer)
            assert all_zero(model[0].weight, mask["0.weight"])
    finally:
        torch.distributed.destroy_process_group()


def test_what_would_hold_nothing_is_refused(model, mask):
    biases = torch.optim.SGD([model[0].bias], lr=0.1)
    for optimizers in ((), (biases,)):
        with pytest.raises(BadUsage, match="give held"), prunecli.held(model, mask, *optimizers):
            pass
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for wrong in ({"1.weight": torch.ones(2).bool()}, {"0.weight": torch.ones(2).bool()}):
        with pytest.raises(Mismatch), prunecli.held(model, wrong, optimizer):
            pass
