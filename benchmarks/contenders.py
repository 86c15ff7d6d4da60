"""Training loops to compare: ours, plain hand-written ones, and transformers' Llama.

All have the same sizes, tokens, batch, precision, optimiser and clipping. A plain loop is what a
careful person writes by hand, and uses nothing of this project but, where it says so, the settings
of malloc.

Shapes: B sequences, T tokens, D width, H heads, K head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.batches import RandomBatches
from model.freed_memory import keep_freed_memory
from model.network.batch import TensorBatch
from model.spec import ModelConfig
from model.training.settings import TrainingConfig
from model.training.training import Training

Step = Callable[[], None]
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def random_batches(config: ModelConfig, batch_size: int) -> RandomBatches:
    return RandomBatches(
        vocab_size=config.vocab_size, context=config.context, batch_size=batch_size
    )


def kernel_attention(query_BHTK: Tensor, key_BHTK: Tensor, value_BHTK: Tensor) -> Tensor:
    """Causal attention by torch's kernel."""
    return functional.scaled_dot_product_attention(query_BHTK, key_BHTK, value_BHTK, is_causal=True)


def written_out_attention(query_BHTK: Tensor, key_BHTK: Tensor, value_BHTK: Tensor) -> Tensor:
    """Causal attention as matrix products."""
    length, size = query_BHTK.shape[-2:]
    future_TT = torch.ones(length, length, dtype=torch.bool).triu(1)
    logits_BHTT = query_BHTK @ key_BHTK.transpose(-1, -2) * size**-0.5
    return logits_BHTT.masked_fill(future_TT, -torch.inf).softmax(-1) @ value_BHTK


class PlainBlock(nn.Module):
    """Attention and SwiGLU as a tutorial writes them."""

    def __init__(self, config: ModelConfig, attention: Attention) -> None:
        super().__init__()
        self.attention = attention
        self.n_heads = config.n_heads
        self.attention_norm = nn.RMSNorm(config.d_model)
        self.qkv = nn.Linear(config.d_model, 3 * config.d_attention, bias=False)
        self.output = nn.Linear(config.d_attention, config.d_model, bias=False)
        self.feed_forward_norm = nn.RMSNorm(config.d_model)
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, hidden_BTD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The residual stream after this block."""
        batch, length, _ = hidden_BTD.shape
        query, key, value = (
            part.view(batch, length, self.n_heads, -1).transpose(1, 2)
            for part in self.qkv(self.attention_norm(hidden_BTD)).chunk(3, dim=-1)
        )
        read_BHTK = self.attention(_rotated(query, cos, sin), _rotated(key, cos, sin), value)
        hidden_BTD = hidden_BTD + self.output(read_BHTK.transpose(1, 2).flatten(2))
        normal_BTD = self.feed_forward_norm(hidden_BTD)
        inner = functional.silu(self.gate(normal_BTD)) * self.up(normal_BTD)
        output_BTD: Tensor = hidden_BTD + self.down(inner)
        return output_BTD


class PlainTransformer(nn.Module):
    """A decoder with plain cross-entropy over all logits."""

    def __init__(self, config: ModelConfig, attention: Attention = kernel_attention) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(PlainBlock(config, attention) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model)
        frequency = 10_000.0 ** (-torch.arange(0, config.head_dim, 2) / config.head_dim)
        angle = torch.arange(config.context)[:, None] * frequency
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean cross-entropy of the targets."""
        hidden_BTD = self.embedding(inputs_BT)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD, self.cos, self.sin)
        logits_BTV = functional.linear(self.norm(hidden_BTD), self.embedding.weight)
        return functional.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten())


def _rotated(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = vectors.chunk(2, dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat(turned, dim=-1).to(vectors.dtype)


def plain(
    config: ModelConfig,
    batch_size: int,
    precision: str,
    *,
    compiled: bool,
    attention: Attention = kernel_attention,
    keeps_memory: bool = False,
) -> Step:
    """A hand-written loop, with torch's malloc or with one that keeps freed memory as ours does."""
    if keeps_memory:
        keep_freed_memory()
    network = PlainTransformer(config, attention)
    if compiled:
        network.compile(dynamic=False, fullgraph=True)
    return _loop(network, list(network.parameters()), config, batch_size, precision)


def llama(config: ModelConfig, batch_size: int, precision: str) -> Step:
    """transformers' Llama with torch.compile."""
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415  slow to import

    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            head_dim=config.head_dim,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            use_cache=False,
        )
    )
    parameters = list(network.parameters())
    network.compile(dynamic=False)

    def loss(inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        value: Tensor = network(input_ids=inputs_BT, labels=targets_BT, shift_labels=targets_BT)[0]
        return value

    return _loop(loss, parameters, config, batch_size, precision)


def ours(
    config: ModelConfig,
    batch_size: int,
    precision: str,
    *,
    compiled: bool,
    deterministic: bool = True,
) -> Step:
    """model.training as a trial uses it."""
    training = Training(
        config,
        TrainingConfig(
            tokens=10**12,
            batch_size=batch_size,
            compile="on" if compiled else "off",
            precision=precision,
            deterministic=deterministic,
        ),
        random_batches(config, batch_size),
        baseline=config,
    )

    def step() -> None:
        training.step()

    return step


CONTENDERS: Mapping[str, Callable[[ModelConfig, int, str], Step]] = {
    "plain eager": partial(plain, compiled=False),
    "plain compiled": partial(plain, compiled=True),
    "plain compiled, memory kept": partial(plain, compiled=True, keeps_memory=True),
    "the same, attention written out": partial(
        plain, compiled=True, keeps_memory=True, attention=written_out_attention
    ),
    "Llama compiled": llama,
    "ours eager": partial(ours, compiled=False),
    "ours compiled": partial(ours, compiled=True),
    "ours compiled, any algorithm": partial(ours, compiled=True, deterministic=False),
}
"""By name: from sizes, sequences of a step and precision to a step."""


def _loop(
    loss: Callable[[Tensor, Tensor], Tensor],
    parameters: list[nn.Parameter],
    config: ModelConfig,
    batch_size: int,
    precision: str,
) -> Step:
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    batches = _tensors(random_batches(config, batch_size))

    def step() -> None:
        inputs_BT, targets_BT = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            value = loss(inputs_BT, targets_BT)
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value.item()

    return step


def _tensors(source: RandomBatches) -> Iterator[tuple[Tensor, Tensor]]:
    step = 0
    while True:
        batch = TensorBatch.of(source.batch(step), device="cpu")
        yield batch.inputs_BT, batch.targets_BT
        step += 1
