"""A mixture of SwiGLU experts: a router chooses for each token which of them it uses.

Shazeer et al., 2017, "Outrageously Large Neural Networks"; Fedus et al., 2022, "Switch
Transformers". It is dropless, as Gale et al., 2023, "MegaBlocks": an expert takes all tokens that
choose it, so what a token gets does not depend on the others of its batch.

Shapes: B sequences, T tokens, S = B·T tokens of all sequences, D width, F inner width of an expert,
E experts, K experts of a token, N inputs and M outputs of an expert's matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.context import Context
from model.network.grouped import grouped_product, permuted
from model.network.parameters import declare
from model.network.projection import Projection, projected
from model.roles import hidden_matrix
from model.spec import ModelConfig


class ExpertMatrices(nn.Module):
    """A hidden matrix for each expert, without bias."""

    def __init__(self, config: ModelConfig, *, reads: str, writes: str) -> None:
        super().__init__()
        assert config.n_experts is not None
        inputs, outputs = getattr(config, reads), getattr(config, writes)
        self.weight_EMN = nn.Parameter(torch.empty(config.n_experts, outputs, inputs))
        declare(self, weight_EMN=hidden_matrix(reads=reads, fan_in=inputs))

    def forward(self, rows_SN: Tensor, counts_E: Tensor) -> Tensor:
        """Rows, sorted by expert, times their expert's matrix."""
        return grouped_product(rows_SN, self.weight_EMN, counts_E)


class SharedExperts(nn.Module):
    """The experts that all tokens use: together one SwiGLU of their joint inner width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.shared_experts is not None
        inner = config.shared_experts * config.d_ff
        self.gate = Projection(config, reads="d_model", writes=inner)
        self.up = Projection(config, reads="d_model", writes=inner)
        self.down = Projection(config, reads="d_ff", writes="d_model", inputs=inner)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        gate_BTF, up_BTF = projected(hidden_BTD, self.gate, self.up)
        output: Tensor = self.down(functional.silu(gate_BTF) * up_BTF)
        return output


class MixtureOfExperts(nn.Module):
    """Σ over the chosen experts of weight · expert(x), and what the shared experts make of x.

    The weights are the router's probabilities. With more than one expert of a token they are
    divided by their sum (Jiang et al., 2024, "Mixtral of Experts"); a single one keeps its
    probability, as in Switch Transformers, or the router would learn nothing from the text.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.n_experts is not None and config.top_k is not None
        assert config.balance_weight is not None and config.router_z_weight is not None
        self.n_experts, self.top_k = config.n_experts, config.top_k
        # The pass adds up the losses of all layers; so a weight means the same at every depth.
        self.balance_weight = config.balance_weight / config.n_layers
        self.router_z_weight = config.router_z_weight / config.n_layers
        self.router = Projection(config, reads="d_model", writes=config.n_experts, decides=True)
        self.gate = ExpertMatrices(config, reads="d_model", writes="d_ff")
        self.up = ExpertMatrices(config, reads="d_model", writes="d_ff")
        self.down = ExpertMatrices(config, reads="d_ff", writes="d_model")
        self.shared = SharedExperts(config) if config.shared_experts else None

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """[B, T, D] to [B, T, D], each position on its own."""
        rows_SD = hidden_BTD.flatten(0, 1)
        weight_SK, expert_SK, counts_E = self._route(rows_SD, context)
        order = expert_SK.flatten().argsort(stable=True)
        inverse = order.argsort()
        repeated = rows_SD[:, None].expand(-1, self.top_k, -1).flatten(0, 1)
        made = self._experts(permuted(repeated, order, inverse), counts_E)
        made_SKD = permuted(made, inverse, order).view(*expert_SK.shape, -1)
        mixed_SD = (made_SKD * weight_SK[..., None].to(made_SKD.dtype)).sum(1)
        mixed_BTD = mixed_SD.view(hidden_BTD.shape)
        if self.shared is not None:
            mixed_BTD = mixed_BTD + self.shared(hidden_BTD)
        return mixed_BTD

    def _experts(self, sorted_SD: Tensor, counts_E: Tensor) -> Tensor:
        gate = functional.silu(self.gate(sorted_SD, counts_E))
        made: Tensor = self.down(gate * self.up(sorted_SD, counts_E), counts_E)
        return made

    def _route(self, rows_SD: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Weights [S, K] and numbers [S, K] of each token's experts, and the experts' tokens [E].

        In fp32 also under autocast: rounding would decide between experts that are nearly equal.
        """
        with torch.autocast(rows_SD.device.type, enabled=False):
            logits_SE = self.router(rows_SD.to(self.router.weight.dtype))
            probability_SE = logits_SE.softmax(-1)
            weight_SK, expert_SK = probability_SE.topk(self.top_k)
            if self.top_k > 1:
                weight_SK = weight_SK / weight_SK.sum(-1, keepdim=True)
            experts_E = torch.arange(self.n_experts, device=rows_SD.device)
            counts_E = (expert_SK[..., None] == experts_E).sum((0, 1))
            self._report(logits_SE, probability_SE, counts_E, context)
        return weight_SK, expert_SK, counts_E

    def _report(
        self, logits_SE: Tensor, probability_SE: Tensor, counts_E: Tensor, context: Context
    ) -> None:
        """The losses of the router, and how evenly it spreads tokens over experts.

        The load-balancing loss is E · Σ_e (share of the choices that fell on e) · (mean probability
        of e), 1 where they are equal (Fedus et al., 2022, equation 4); the z-loss is the mean of
        (log Σ exp logits)² (Zoph et al., 2022, "ST-MoE", equation 5).
        """
        share_E = counts_E / counts_E.sum()
        balance = self.n_experts * (share_E * probability_SE.mean(0)).sum()
        context.add_loss("balance_loss", self.balance_weight * balance)
        z = logits_SE.logsumexp(-1).square().mean()
        context.add_loss("router_z_loss", self.router_z_weight * z)
        entropy = torch.special.entr(probability_SE.detach()).sum(-1).mean()
        load = self.n_experts * share_E.max()
        for name, value in (("router_entropy", entropy), ("expert_load", load)):
            context.report(name, value)
            context.report(f"{name}_of_layer/{context.layer}", value)
