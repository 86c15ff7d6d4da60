"""Tokens that continue a text: with a cache as without, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from model.generation.decoding import Reader, continued, window_start
from model.generation.sampling import Sampling, draw
from model.mup import Scales
from model.network.transformer import Transformer
from model.sizing.budget import solve
from model.spec import ModelSpec


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = solve(
        ModelSpec(
            target_parameters=20_000,
            vocab_size=300,
            embedding_ratio=None,
            glu_expansion=None,
            n_heads=2,
            n_layers=2,
            context=16,
        )
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Transformer(config, scales=Scales.own(config)).eval()


def test_the_cache_changes_no_token_also_past_the_context(model: Transformer) -> None:
    prompt = [0, 5, 7]
    for sampling in (Sampling(temperature=0), Sampling(temperature=1, top_p=0.9, seed=4)):
        cached, plain = (
            list(continued(model, prompt, sampling=sampling, most=40, cached=cached))
            for cached in (True, False)
        )
        assert cached == plain
        assert len(cached) == 40


def test_the_logits_are_those_of_the_window(model: Transformer) -> None:
    text = [(3 * number) % 300 for number in range(30)]
    reader = Reader(model)
    for length in range(4, 31):
        logits_V = reader.next_logits(text[:length])
        window_BT = torch.tensor([text[window_start(length, 16) : length]])
        with torch.inference_mode():
            torch.testing.assert_close(logits_V, model(window_BT)[0, -1], atol=1e-5, rtol=0)


def test_the_window_moves_by_half_a_context() -> None:
    starts = [window_start(length, 16) for length in (1, 16, 17, 24, 25, 32, 33)]
    assert starts == [0, 0, 8, 8, 16, 16, 24]
    assert all(0 < length - window_start(length, 1) <= 1 for length in range(1, 9))


def test_a_seed_gives_its_text_and_the_end_ends_it(model: Transformer) -> None:
    def text(seed: int, end: int | None = None) -> list[int]:
        sampling = Sampling(temperature=1, top_p=1, seed=seed)
        return list(continued(model, [0], sampling=sampling, most=20, end=end))

    before = torch.random.get_rng_state()
    assert text(1) == text(1) != text(2)
    assert torch.equal(torch.random.get_rng_state(), before)
    whole = text(1)
    assert text(1, end=whole[7]) == whole[: whole.index(whole[7])]
    with pytest.raises(ValueError, match="needs a token to begin with"):
        list(continued(model, [], sampling=Sampling(), most=1))


def test_only_the_most_probable_tokens_are_drawn() -> None:
    logits_V = torch.log(torch.tensor([0.1, 0.5, 0.15, 0.25]))

    def drawn(**settings: float) -> set[int]:
        sampling = Sampling(**{"temperature": 1.0, "top_p": 1.0, **settings})  # type: ignore[arg-type]
        generator = sampling.generator()
        return {draw(logits_V, sampling, generator) for _ in range(200)}

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_p=0.7) == {1, 3}
    assert drawn(top_p=0.01) == {1}
    assert drawn(temperature=0) == drawn(temperature=1e-300) == {1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be more than 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)  # type: ignore[arg-type]


def test_a_diverged_model_writes_nothing() -> None:
    with pytest.raises(ValueError, match="its training diverged"):
        draw(torch.tensor([0.0, float("nan")]), Sampling(), Sampling().generator())
