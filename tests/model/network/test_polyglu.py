"""PolyGLU against loops over its equation, its noise, its schedule, and what it keeps in memory."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.mup import Scales
from model.network import mixed_activations as mixing
from model.network.cache import needs_whole_text
from model.network.context import Context
from model.network.feed_forward import FEED_FORWARDS
from model.network.mixed_activations import mixed_activations
from model.network.polyglu import PolyGLU, PublishedPolyGLU, gumbel_noise, temperature
from model.network.random_keys import RANDOM_KEYS, sequence_keys
from model.network.transformer import Transformer
from model.parts.polyglu import PolyGLU as Counts
from model.sizing.budget import solve
from model.spec import ModelConfig, ModelSpec
from model.training.settings import TrainingConfig
from model.training.training import StepResult, Training
from tests.model.training.test_training import CountingBatches, stored
from tests.model.variants import with_variants

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=2, head_dim=10, d_ff=36,
    feed_forward="polyglu",
)  # fmt: skip
STEPS = 4
SETTINGS = TrainingConfig(tokens=STEPS * 8 * 16, batch_size=8, compile="off", learning_rate=0.02)


def context_of(*, progress: float, sequences: int | None, layer: int = 0) -> Context:
    """A context without positions; with noise for so many sequences."""
    extras = {}
    if sequences is not None:
        extras[RANDOM_KEYS] = sequence_keys(seed=7, step=3, sequences=sequences)
    nothing = torch.empty(0)
    share = torch.tensor(progress)
    return Context(cos_TK=nothing, sin_TK=nothing, extras=extras, progress=share, layer=layer)


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    """The module with parameters that all matter."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return module


def activation(number: int, x: float) -> float:
    """ReLU, tanh, SiLU or GELU, by hand."""
    if number == 0:
        return max(x, 0.0)
    if number == 1:
        return math.tanh(x)
    if number == 2:
        return x / (1 + math.exp(-x))
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def by_hand(
    gate: np.ndarray, up: np.ndarray, down: np.ndarray, logits_TFK: np.ndarray, tau: float
) -> np.ndarray:
    """The equation for one sequence, a neuron at a time; `gate` and `up` are [T, F]."""
    inner = np.zeros_like(gate)
    for t, f in np.ndindex(*gate.shape):
        weights = np.exp(logits_TFK[t, f] / tau - (logits_TFK[t, f] / tau).max())
        mixed = sum(w * activation(k, gate[t, f]) for k, w in enumerate(weights / weights.sum()))
        inner[t, f] = mixed * up[t, f]
    return inner @ down.T


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("sequences", [None, 2], ids=["evaluation", "training"])
@pytest.mark.parametrize("published", [False, True], ids=["causal", "published"])
def test_it_is_a_loop_over_its_equation(published: bool, sequences: int | None) -> None:
    config = replace(CONFIG, d_model=6, d_ff=5)
    module = drawn(PublishedPolyGLU(config) if published else PolyGLU(config))
    if isinstance(module, PublishedPolyGLU):
        gate, up, down, router = module.W_gate, module.W_up, module.W_down, module.gate_net
        alpha, beta = module.alpha, module.beta
    else:
        gate, up, down, router = module.gate, module.up, module.down, module.router
        alpha, beta = module.alpha_FK, module.beta_K
    x = torch.randn(2, 7, 6)
    context = context_of(progress=0.5, sequences=sequences)
    tau = 0.55
    noise_KBF = gumbel_noise(context, 5)
    noise = np.zeros((4, 2, 5)) if noise_KBF is None else numbers(noise_KBF)
    first, second = router[0], router[2]
    for b in range(2):
        logits_TFK = np.zeros((7, 5, 4))
        for t in range(7):
            pooled = numbers(x[b]).mean(0) if published else numbers(x[b])[: t + 1].mean(0)
            hidden = np.maximum(numbers(first.weight) @ pooled + numbers(first.bias), 0)
            state = numbers(beta) * (numbers(second.weight) @ hidden + numbers(second.bias))
            logits_TFK[t] = numbers(alpha) + state + noise[:, b].T
        expected = by_hand(
            numbers(x[b] @ gate.weight.T), numbers(x[b] @ up.weight.T), numbers(down.weight),
            logits_TFK, tau,
        )  # fmt: skip
        np.testing.assert_allclose(numbers(module(x, context)[b]), expected, rtol=1e-5, atol=1e-5)


def test_published_has_the_papers_names_and_shapes() -> None:
    shapes = {name: tuple(one.shape) for name, one in PublishedPolyGLU(CONFIG).named_parameters()}
    assert shapes == {
        "W_gate.weight": (36, 24),
        "W_up.weight": (36, 24),
        "W_down.weight": (24, 36),
        "alpha": (36, 4),
        "beta": (4,),
        "gate_net.0.weight": (32, 24),
        "gate_net.0.bias": (32,),
        "gate_net.2.weight": (4, 32),
        "gate_net.2.bias": (4,),
    }


def written_out(gate: Tensor, up: Tensor, preferences: Tensor, states: Tensor) -> Tensor:
    """`mixed_activations` for autograd."""
    weights = (preferences[:, :, None] + states[..., None]).softmax(0)
    values = torch.stack([function(gate) for _, function in mixing.ACTIVATIONS])
    return (weights * values).sum(0) * up


@pytest.mark.parametrize("chunk", [3, 1 << 17])
def test_gradients_are_those_of_the_sum_written_out(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixing, "CHUNK", chunk)
    torch.manual_seed(0)
    shapes = [(2, 5, 3), (2, 5, 3), (4, 2, 3), (4, 2, 5)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    torch.testing.assert_close(mixed_activations(*inputs), written_out(*inputs))
    upstream = torch.randn(2, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(mixed_activations(*inputs), inputs, upstream),
        torch.autograd.grad(written_out(*inputs), inputs, upstream),
    )
    assert torch.autograd.gradcheck(mixed_activations, inputs, fast_mode=True)


def test_weights_that_are_far_apart_neither_overflow_nor_vanish() -> None:
    preferences = torch.tensor([190.0, -190.0, 0.0, 0.0]).view(4, 1, 1)
    states = torch.tensor([-190.0, 190.0, -500.0, 0.0]).view(4, 1, 1)
    gate, up = torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)
    expected = sum(function(gate) for name, function in mixing.ACTIVATIONS if name != "silu") / 3
    torch.testing.assert_close(mixed_activations(gate, up, preferences, states), expected)


def test_only_the_inputs_are_kept_for_the_backward_pass() -> None:
    sizes = (2, 64, 32)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    gate, up = torch.randn(2, *sizes, requires_grad=True)
    preferences, states = torch.randn(4, 2, 32), torch.randn(4, 2, 64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        mixed_activations(gate, up, preferences, states)
    assert sum(kept.values()) == 2 * math.prod(sizes) + 4 * 2 * (32 + 64)


def test_noise_is_of_the_sequence_the_step_and_the_layer() -> None:
    def noise(sequences: int, *, layer: int = 0) -> Tensor:
        found = gumbel_noise(context_of(progress=0, sequences=sequences, layer=layer), 500)
        assert found is not None
        return found

    many = noise(8)
    torch.testing.assert_close(noise(3), many[:, :3], rtol=0, atol=0)
    distinct = torch.cat([many.flatten(), noise(8, layer=1).flatten()]).unique()
    assert len(distinct) > 0.99 * 2 * many.numel()
    # The mean of Gumbel's distribution is Euler's constant, its variance π²/6.
    assert many.mean().item() == pytest.approx(0.5772, abs=0.04)
    assert many.var().item() == pytest.approx(math.pi**2 / 6, rel=0.06)
    assert gumbel_noise(context_of(progress=0, sequences=None), 5) is None


def test_the_temperature_falls_linearly_and_stays() -> None:
    model = Transformer(CONFIG, scales=Scales.own(CONFIG))
    for share, tau in ((0.0, 1.0), (0.5, 0.55), (1.0, 0.1), (1.3, 0.1)):
        model.set_progress(share)
        assert temperature(model.progress).item() == pytest.approx(tau)


def start(**settings: object) -> Training:
    training = replace(SETTINGS, **settings)  # type: ignore[arg-type]
    return Training(CONFIG, training, CountingBatches(), baseline=CONFIG)


def train(training: Training, steps: int = STEPS) -> list[StepResult]:
    return [training.step() for _ in range(steps)]


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_resumed_it_is_the_same_run_bit_for_bit(micro_batch_size: int | None) -> None:
    undisturbed = train(start(micro_batch_size=micro_batch_size))
    first = start(micro_batch_size=micro_batch_size)
    before = train(first, 2)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    second = start(micro_batch_size=micro_batch_size)
    torch.rand(1)  # what others draw does not matter
    second.load_state_dict(stored(first.state_dict()))
    assert second.model.progress.item() == 0.5
    assert before + train(second, 2) == undisturbed
    entropies = [result.metrics["routing_entropy"] for result in undisturbed]
    assert entropies[0] == pytest.approx(math.log(4), rel=0.2)
    assert all(0 < entropy < math.log(4) for entropy in entropies)


@pytest.mark.slow
def test_compiled_it_is_the_same_training_and_as_resumable() -> None:
    undisturbed = train(start(compile="on", precision="fp32"))
    first = start(compile="on", precision="fp32")
    before = train(first, 2)
    second = start(compile="on", precision="fp32")
    second.load_state_dict(stored(first.state_dict()))
    assert before + train(second, 2) == undisturbed
    for ours, eager in zip(undisturbed, train(start(precision="fp32")), strict=True):
        assert ours.loss == pytest.approx(eager.loss, rel=1e-5)


def test_micro_batches_draw_the_noise_of_the_whole_batch() -> None:
    whole, parts = (
        train(start(precision="fp32")),
        train(start(precision="fp32", micro_batch_size=2)),
    )
    for ours, theirs in zip(parts, whole, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)


@pytest.mark.slow
def test_it_is_captured_as_one_graph_that_holds_for_all_steps() -> None:
    module = drawn(PolyGLU(replace(CONFIG, d_ff=5)))
    graphs = 0

    def run(hidden_BTD: Tensor, keys_B: Tensor, progress: Tensor) -> Tensor:
        nothing = torch.empty(0)
        extras = {RANDOM_KEYS: keys_B}
        context = Context(cos_TK=nothing, sin_TK=nothing, extras=extras, progress=progress)
        made: Tensor = module(hidden_BTD, context)
        return made + context.output(made.sum()).diagnostics["routing_entropy"]

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        nonlocal graphs
        graphs += 1
        return graph

    captured = torch.compile(run, dynamic=False, fullgraph=True, backend=count)
    hidden_BTD, progress = torch.randn(2, 3, 24), torch.tensor(0.0)
    for step, share in enumerate((0.0, 0.3, 1.0)):
        keys_B = sequence_keys(seed=0, step=step, sequences=2)
        arguments = (hidden_BTD, keys_B, progress.fill_(share))
        torch.testing.assert_close(captured(*arguments), run(*arguments))
    assert graphs == 1


def test_the_published_module_is_refused_for_training() -> None:
    with pytest.raises(
        ValueError, match=r"'polyglu_published', which is not for training.*mean over"
    ):
        ModelSpec(feed_forward="polyglu_published")
    config = replace(CONFIG, feed_forward="polyglu_published")
    with pytest.raises(ValueError, match="sees the tokens that it is to predict; take polyglu"):
        Training(config, SETTINGS, CountingBatches(), baseline=config)


def test_the_published_module_says_that_it_cannot_continue_a_text() -> None:
    model = Transformer(
        replace(CONFIG, feed_forward="polyglu_published"), scales=Scales.own(CONFIG)
    )
    assert "over the whole text" in (needs_whole_text(model) or "")


def test_a_budget_holds_the_routing_too() -> None:
    spec = ModelSpec(feed_forward="polyglu", d_model=224, n_layers=11, embedding_ratio=None)
    config = solve(replace(spec, glu_expansion=None))
    plain = solve(replace(spec, glu_expansion=None, feed_forward="swiglu"))
    assert (config.d_model, config.n_layers) == (plain.d_model, plain.n_layers)
    assert config.d_ff < plain.d_ff
    assert Counts().routing(config) == 11 * (4 * config.d_ff + 4 + 224 * 32 + 32 + 32 * 4 + 4)


def test_every_activation_is_what_torch_has() -> None:
    gate = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    values, slopes = mixing._values_and_slopes(gate)
    for value, slope, (_, function) in zip(values, slopes, mixing.ACTIVATIONS, strict=True):
        torch.testing.assert_close(value, function(gate))
        (expected,) = torch.autograd.grad(function(gate).sum(), gate)
        torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("name", FEED_FORWARDS)
def test_no_logit_depends_on_a_later_token_or_another_sequence(name: str, mode: str) -> None:
    config = with_variants(CONFIG, {"feed_forward": name})
    torch.manual_seed(0)
    model = Transformer(config, scales=Scales.own(config)).train(mode == "training")
    keys = sequence_keys(seed=0, step=0, sequences=2)
    extras = {RANDOM_KEYS: keys} if mode == "training" else {}
    tokens_BT = torch.randint(0, 61, (2, 16), generator=torch.Generator().manual_seed(1))
    changed_BT = tokens_BT.clone()
    changed_BT[0, 9] = (changed_BT[0, 9] + 1) % 61
    before, after = model(tokens_BT, extras), model(changed_BT, extras)
    causal = torch.allclose(before[0, :9], after[0, :9], rtol=1e-6, atol=1e-6)
    assert causal is (name != "polyglu_published"), "the published pooling reads the future"
    # An expert's product has as many rows as chose it, and their number may decide on last bits.
    bits = 1e-6 if name == "moe" else 0
    torch.testing.assert_close(before[1], after[1], rtol=bits, atol=bits)
    assert not torch.equal(before[0, 9:], after[0, 9:])


def test_it_is_in_fp32_under_autocast() -> None:
    """Weights of a small τ would amplify what bf16 rounds away."""
    module = drawn(PolyGLU(CONFIG))
    x = torch.randn(2, 16, 24)
    exact = module.states(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module.states(x)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.05)
    assert functional.mse_loss(rounded, exact) > 0
