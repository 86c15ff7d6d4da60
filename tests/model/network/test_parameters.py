from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from model.mup import Scales, depth_mup
from model.network.embeddings import EMBEDDINGS
from model.network.feed_forward import FEED_FORWARDS, SwiGLU
from model.network.parameters import (
    UndeclaredParameterError,
    declare,
    declared_parameters,
    initialise,
)
from model.network.projection import Projection
from model.network.transformer import Transformer
from model.roles import Constant, Kind, Normal, Role, hidden_matrix, vector
from model.spec import ModelConfig
from model.training.optimizers import adamw, parameter_groups
from tests.model.variants import with_variants

CONFIG = ModelConfig(
    vocab_size=97, context=16, d_model=24, n_layers=3, n_heads=2, head_dim=10, d_ff=36
)


class Forgetful(SwiGLU):
    """A feed-forward that does not say what its vector is."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.slope_F = nn.Parameter(torch.empty(config.d_ff))


class Declaring(Forgetful):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        declare(self, slope_F=vector(in_block=True, start=0.25))


def roles(model: nn.Module) -> dict[str, Role]:
    return {declared.name: declared.role for declared in declared_parameters(model)}


def test_a_parameter_without_a_role_is_refused_when_the_model_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FEED_FORWARDS, "swiglu", Forgetful)
    message = r"blocks\.0\.feed_forward\.slope_F of Forgetful has no role.*declare\(self, slope_F="
    with pytest.raises(UndeclaredParameterError, match=message):
        Transformer(CONFIG, scales=Scales.own(CONFIG))


def test_a_new_parameter_starts_learns_and_decays_as_it_declares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FEED_FORWARDS, "swiglu", Declaring)
    model = Transformer(CONFIG, scales=depth_mup(CONFIG, replace(CONFIG, n_layers=12)))
    slope_F = model.blocks[0].feed_forward.slope_F
    assert torch.equal(slope_F, torch.full((36,), 0.25))
    (group,) = (
        group
        for group in parameter_groups(model, weight_decay=0.1)
        if any(parameter is slope_F for parameter in group["params"])
    )
    assert (group["rate"], group["weight_decay"]) == (2.0, 0.0)


def test_a_shared_parameter_has_one_role() -> None:
    model = Transformer(CONFIG, scales=Scales.own(CONFIG))
    first, second = model.blocks[0].feed_forward, model.blocks[1].feed_forward
    second.up.weight = first.up.weight
    assert roles(model)["blocks.0.feed_forward.up.weight"].fan_in == CONFIG.d_model
    declare(second.up, weight=vector(in_block=True, start=1.0))
    with pytest.raises(ValueError, match=r"shared parameter blocks\.1\.feed_forward\.up\.weight"):
        roles(model)


def test_a_role_for_a_parameter_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ValueError, match="SwiGLU has no parameter 'slop_F' of its own; it has none"
    ):
        declare(SwiGLU(CONFIG), slop_F=vector(in_block=True, start=1.0))


def test_a_hidden_matrix_must_say_what_it_reads() -> None:
    with pytest.raises(ValueError, match="reads 'd_expert'; it must read one of d_model"):
        hidden_matrix(reads="d_expert", fan_in=3)
    with pytest.raises(ValueError, match="kind vector has no fan-in"):
        replace(vector(in_block=True, start=1.0), reads="d_model", fan_in=3)


def test_a_projection_of_a_part_of_a_size_learns_by_its_own_fan_in() -> None:
    expert = Projection(CONFIG, reads="d_ff", inputs=9, writes=5)
    assert expert.weight.shape == (5, 9)
    (declared,) = declared_parameters(expert)
    assert declared.role == hidden_matrix(reads="d_ff", fan_in=9)
    scales = Scales.own(CONFIG)
    assert scales.rate(declared.role) == 36 / 9


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_every_parameter_of_the_network_has_the_role_of_its_kind(embedding: str) -> None:
    config = with_variants(CONFIG, {"embedding": embedding})
    model = Transformer(config, scales=Scales.own(config))
    width = config.embedding_rank or config.d_model  # of embedding and head
    declared = list(declared_parameters(model))
    assert [d.name for d in declared] == [name for name, _ in model.named_parameters()]
    for d in declared:
        shape = tuple(d.parameter.shape)
        assert d.role.in_block is d.name.startswith("blocks.")
        assert d.role.decays is (len(shape) == 2)
        match d.role.kind:
            case Kind.HIDDEN:
                reads = getattr(CONFIG, str(d.role.reads)) if d.role.in_block else width
                assert d.role.fan_in == shape[1] == reads
                assert d.role.start == Normal(std=1 / math.sqrt(shape[1]))
            case Kind.VECTOR:
                assert d.role.start == Constant(value=1.0)
            case Kind.EMBEDDING | Kind.HEAD:
                assert shape == (97, width)
    assert [d.role.kind for d in declared if d.name.startswith("embeddings.")] == {
        "tied": [Kind.EMBEDDING],
        "untied": [Kind.EMBEDDING, Kind.HEAD],
        "factorized": [Kind.EMBEDDING, Kind.HIDDEN],
        "factorized_untied": [Kind.EMBEDDING, Kind.HIDDEN, Kind.HEAD, Kind.HIDDEN],
    }[embedding]


def test_roles_survive_copies_and_the_way_from_the_meta_device() -> None:
    with torch.device("meta"):
        model = Transformer(CONFIG, scales=Scales.own(CONFIG))
    of_meta = roles(model)
    model.to_empty(device="cpu")
    initialise(model)
    assert roles(model) == roles(copy.deepcopy(model)) == of_meta
    for parameter in model.parameters():
        assert 0 < parameter.abs().max() < 2
    model.load_state_dict(Transformer(CONFIG, scales=Scales.own(CONFIG)).state_dict(), assign=True)
    assert roles(model) == of_meta
    adamw(model, betas=(0.9, 0.95), weight_decay=0.1)


def test_models_of_one_seed_have_equal_blocks_whatever_their_vocabulary() -> None:
    torch.manual_seed(0)
    small = Transformer(CONFIG, scales=Scales.own(CONFIG))
    torch.manual_seed(0)
    large = Transformer(
        replace(CONFIG, vocab_size=193), scales=Scales.own(replace(CONFIG, vocab_size=193))
    )
    for ours, theirs in zip(small.blocks.parameters(), large.blocks.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_shared_parameter_is_one_parameter() -> None:
    model = Transformer(CONFIG, scales=Scales.own(CONFIG))
    first, second = model.blocks[0].feed_forward.up, model.blocks[1].feed_forward.up
    second.weight = first.weight
    names = [declared.name for declared in declared_parameters(model)]
    assert "blocks.0.feed_forward.up.weight" in names
    assert "blocks.1.feed_forward.up.weight" not in names
