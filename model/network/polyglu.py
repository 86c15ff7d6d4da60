"""PolyGLU: each neuron chooses among four activations (Medeiros, 2026, arXiv 2603.13347).

down([Σ_k g_k σ_k(gate(x))] · up(x)), with g = softmax over k of (α_k + β_k·f(h)_k + noise) / τ:
α is a preference of each neuron, f a gate of D → 32 → 4 that reads a mean h of the inputs, β its
strength. The noise is Gumbel's (Jang et al., 2017, "Categorical Reparameterization with
Gumbel-Softmax"), drawn in training once for a sequence. τ falls linearly from 1 to 0.1 over
training and stays there.

Learning rates, after muP (Yang et al., 2022, "Tensor Programs V", table 8): α, β and the biases are
vectors. The gate's first matrix has a fan-in that grows with the width, so it learns as hidden
matrices do, at 1 / fan-in: in the table, matrices to a finite output share that rate. Its second
one has no size that grows, so it learns as a vector.

Shapes: B sequences, T tokens, D width, F inner width, K activations, R width of the gate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.cache import Cache
from model.network.context import Context
from model.network.documents import Documents
from model.network.mixed_activations import mixed_activations
from model.network.parameters import declare
from model.network.projection import Projection, projected
from model.network.running_mean import running_mean
from model.parts.polyglu import ROUTED_ACTIVATIONS, ROUTER_WIDTH
from model.roles import hidden_matrix, small_matrix, vector
from model.spec import ModelConfig

FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 0.1


def temperature(progress: Tensor) -> Tensor:
    """τ, from 1 to 0.1 as training goes from 0 to 1."""
    return FIRST_TEMPERATURE - (FIRST_TEMPERATURE - LAST_TEMPERATURE) * progress


def gumbel_noise(context: Context, neurons: int) -> Tensor | None:
    """Noise [K, B, F] for this layer; None outside of training."""
    uniform_BN = context.uniform(ROUTED_ACTIVATIONS * neurons)
    if uniform_BN is None:
        return None
    noise_BN = -torch.log(-torch.log(uniform_BN))
    return noise_BN.view(-1, ROUTED_ACTIVATIONS, neurons).transpose(0, 1)


def routed(
    gate_BTF: Tensor, up_BTF: Tensor, alpha_FK: Tensor, states_BTK: Tensor, context: Context
) -> Tensor:
    """[Σ_k g_k σ_k(gate)] · up, [B, T, F]; reports the entropy of g without noise.

    states_BTK: β_k·f(h)_k of each position; T may be 1 for one that holds at all of them.
    """
    # In fp32, also under autocast; alpha itself is in another precision only if the caller's is.
    tau = temperature(context.progress).to(alpha_FK.dtype)
    states_KBT = states_BTK.permute(2, 0, 1).to(alpha_FK.dtype)
    preferences_K1F = alpha_FK.T[:, None]
    _report_entropy((preferences_K1F + states_KBT[:, :, -1:]) / tau, context)
    noise_KBF = gumbel_noise(context, len(alpha_FK))
    if noise_KBF is not None:
        preferences_K1F = preferences_K1F + noise_KBF
    sequences, length, _ = gate_BTF.shape
    return mixed_activations(
        gate_BTF,
        up_BTF,
        (preferences_K1F / tau).expand(-1, sequences, -1).contiguous(),
        (states_KBT / tau).expand(-1, -1, length).contiguous(),
    )


@torch.no_grad()
def _report_entropy(logits_KBF: Tensor, context: Context) -> None:
    """At the last position of each sequence, where the gate has read most: a sample is enough."""
    log_KBF = logits_KBF.log_softmax(0)
    entropy = -(log_KBF.exp() * log_KBF).sum(0).mean()
    context.report("routing_entropy", entropy)
    context.report(f"routing_entropy_of_layer/{context.layer}", entropy)


class PolyGLU(nn.Module):
    """PolyGLU for a causal model: h is the running mean of the inputs up to each position.

    The gate's first matrix is applied before the mean, which comes to the same, so that the mean is
    over R channels instead of D.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Projection(config, reads="d_model", writes="d_ff")
        self.up = Projection(config, reads="d_model", writes="d_ff")
        self.down = Projection(config, reads="d_ff", writes="d_model")
        self.router = _router(config)
        self.alpha_FK = nn.Parameter(torch.empty(config.d_ff, ROUTED_ACTIVATIONS))
        self.beta_K = nn.Parameter(torch.empty(ROUTED_ACTIVATIONS))
        declare(
            self,
            alpha_FK=vector(in_block=True, start=0.0),
            beta_K=vector(in_block=True, start=1.0),
        )

    def states(
        self,
        hidden_BTD: Tensor,
        cache: Cache | None = None,
        documents: Documents | None = None,
    ) -> Tensor:
        """β_k·f(h)_k of each position, [B, T, K]; with documents, h starts anew with each."""
        first = self.router[0]
        assert isinstance(first, nn.Linear)
        pooled_BTR = running_mean(
            functional.linear(hidden_BTD, first.weight),
            None if documents is None else documents.documents_BT,
        )
        if cache is not None:
            pooled_BTR = self._continued(pooled_BTR, cache)
        # In fp32: the division by τ would multiply what bf16 rounds away.
        with torch.autocast(hidden_BTD.device.type, enabled=False):
            states_BTK: Tensor = self.beta_K * self.router[2](
                functional.relu(pooled_BTR + first.bias)
            )
        return states_BTK

    def _continued(self, means_BTR: Tensor, cache: Cache) -> Tensor:
        """The means over the positions in the cache and, of the new ones, those up to each."""
        before = cache.length
        if before:
            new_T1 = torch.arange(1, means_BTR.shape[1] + 1, device=means_BTR.device)[:, None]
            sums_BTR = before * cache.kept[self, "mean"] + new_T1 * means_BTR
            means_BTR = sums_BTR / (before + new_T1)
        cache.kept[self, "mean"] = means_BTR[:, -1:]
        return means_BTR

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """[B, T, D] to [B, T, D]; a position reads itself and those before it."""
        gate_BTF, up_BTF = projected(hidden_BTD, self.gate, self.up)
        inner_BTF = routed(
            gate_BTF,
            up_BTF,
            self.alpha_FK,
            self.states(hidden_BTD, context.cache, context.documents),
            context,
        )
        output: Tensor = self.down(inner_BTF)
        return output


class PublishedPolyGLU(nn.Module):
    """PolyGLU as published, with its names and shapes, to look at such checkpoints.

    h is the mean over the whole sequence. So a position reads those after it, and a language model
    must not be trained with it. The paper's code draws noise in evaluation too; here it is drawn in
    training alone.
    """

    needs_whole_text = "the gate of polyglu_published reads the mean over the whole text"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.W_gate = Projection(config, reads="d_model", writes="d_ff")
        self.W_up = Projection(config, reads="d_model", writes="d_ff")
        self.W_down = Projection(config, reads="d_ff", writes="d_model")
        self.alpha = nn.Parameter(torch.empty(config.d_ff, ROUTED_ACTIVATIONS))
        self.beta = nn.Parameter(torch.empty(ROUTED_ACTIVATIONS))
        self.gate_net = _router(config)
        declare(self, alpha=vector(in_block=True, start=0.0), beta=vector(in_block=True, start=1.0))

    @property
    def alpha_FK(self) -> Tensor:  # noqa: N802
        """The preferences, under the name that they have in PolyGLU."""
        return self.alpha

    def states(self, hidden_BTD: Tensor) -> Tensor:
        """β_k·f(h)_k of the whole sequence, [B, 1, K]."""
        states_B1K: Tensor = self.beta * self.gate_net(hidden_BTD.mean(dim=1, keepdim=True))
        return states_B1K

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """[B, T, D] to [B, T, D]; a position reads all of them."""
        inner_BTF = routed(
            self.W_gate(hidden_BTD),
            self.W_up(hidden_BTD),
            self.alpha,
            self.states(hidden_BTD),
            context,
        )
        output: Tensor = self.W_down(inner_BTF)
        return output


def _router(config: ModelConfig) -> nn.Sequential:
    """The gate: Linear(D → R), ReLU, Linear(R → K)."""
    first = nn.Linear(config.d_model, ROUTER_WIDTH)
    second = nn.Linear(ROUTER_WIDTH, ROUTED_ACTIVATIONS)
    zero = vector(in_block=True, start=0.0)
    declare(first, weight=hidden_matrix(reads="d_model", fan_in=config.d_model), bias=zero)
    declare(second, weight=small_matrix(fan_in=ROUTER_WIDTH), bias=zero)
    return nn.Sequential(first, nn.ReLU(), second)
