"""A mixture of experts, of which each token uses a few."""

from __future__ import annotations

from collections.abc import Mapping

from model.parts.dense import GatedFeedForward
from model.parts.part import Amount, Reported, Row, Sizes


class MixtureOfExperts(GatedFeedForward):
    """Experts with SwiGLU's matrices, of which a router chooses some for each token.

    Per layer n_experts of 3·d_model·d_ff, a router of d_model × n_experts, and experts of the same
    size that all tokens share (Shazeer et al., 2017; Dai et al., 2024, "DeepSeekMoE"). `d_ff` is
    the inner width of one expert.
    """

    reports: Mapping[str, Reported] = {
        "balance_loss": Reported(title="load-balancing loss of the experts", unit="nats"),
        "router_z_loss": Reported(title="z-loss of the router's logits", unit="nats"),
        "router_entropy": Reported(title="entropy of the router", unit="nats"),
        "router_entropy_of_layer/*": Reported(
            title="entropy of the router of a layer", unit="nats", drawn=False
        ),
        "expert_load": Reported(title="load of the busiest expert, over an equal share"),
        "expert_load_of_layer/*": Reported(
            title="load of a layer's busiest expert, over an equal share", drawn=False
        ),
    }

    def _router(self, sizes: Sizes) -> Amount:
        return sizes.d_model * sizes.n_experts

    def matrices(self, sizes: Sizes) -> Amount:
        experts = sizes.n_experts + sizes.shared_experts
        return self._router(sizes) + experts * super().matrices(sizes)

    def active_matrices(self, sizes: Sizes) -> Amount:
        """Of one layer, those that multiply a token: the router, its experts, the shared ones."""
        experts = sizes.top_k + sizes.shared_experts
        return self._router(sizes) + experts * super().matrices(sizes)

    def active_parameters(self, sizes: Sizes) -> Amount:
        return sizes.n_layers * self.active_matrices(sizes)

    def forward_flops(self, sizes: Sizes) -> Amount:
        return 2 * sizes.n_layers * self.active_matrices(sizes)

    def kept(self, sizes: Sizes) -> Amount:
        """The input and the router's probabilities; for each chosen expert its input, `gate`, its
        activation, `up`, their product and what it made; for the shared ones what SwiGLU keeps."""
        chosen = sizes.top_k * (2 * sizes.d_model + 4 * sizes.d_ff)
        return sizes.d_model + 2 * sizes.n_experts + chosen + 4 * sizes.shared_experts * sizes.d_ff

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        expert = int(sizes.n_layers * super().matrices(sizes))
        of = f"of {sizes.d_model} × {sizes.d_ff}"
        rows = [
            Row(
                part=self.label,
                shape=f"{sizes.n_layers} layers, {sizes.top_k} of {sizes.n_experts} experts {of}",
                parameters=sizes.n_experts * expert,
            ),
            Row(
                part="router",
                shape=f"{sizes.n_layers} layers, {sizes.d_model} × {sizes.n_experts}",
                parameters=int(sizes.n_layers * self._router(sizes)),
            ),
        ]
        if sizes.shared_experts:
            shape = f"{sizes.n_layers} layers, {sizes.shared_experts} {of}"
            shared = Row(
                part="shared experts", shape=shape, parameters=sizes.shared_experts * expert
            )
            rows.insert(1, shared)
        return tuple(rows)
