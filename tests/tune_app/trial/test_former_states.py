from __future__ import annotations

from typing import Any

from tune_app.trial.former_states import in_todays_form

OLD: dict[str, Any] = {
    "training": {
        "config": {
            **{"vocabulary": 512, "context": 32, "width": 21, "depth": 3, "heads": 2},
            **{"head_size": 6, "inner_width": 85, "output_head": "untied"},
        },
        "training": {"batch_size": 4, "tokens": 100},
        "tokens": 64,
    },
    "losses": [3.0, 2.5],
    "learning_rate": 0.01,
    "observation": {
        **{"cell": "old key", "tokens": 64, "reference_tokens": 60, "bits_per_byte": 1.5},
        **{"whole_bits_per_byte": None, "seconds": {"train": 1.0}},
    },
}


def test_an_old_state_is_told_in_todays_form() -> None:
    state = in_todays_form(OLD, cell="new key")
    config, settings = state["training"]["config"], state["training"]["training"]
    assert (config["d_model"], config["n_layers"], config["embedding"]) == (21, 3, "untied")
    assert config["attention"] == "multi_head", "what a state is older than has its default"
    assert (settings["batch_size"], settings["betas"]) == (4, (0.9, 0.95))
    assert state["steps"] == {"train_loss": [3.0, 2.5], "learning_rate": [0.01]}
    assert state["observation"] == {
        "cell": "new key",
        "tokens": 64,
        "baseline_tokens": 60,
        "metrics": {"bits_per_byte": 1.5},
        "seconds": {"train": 1.0},
    }
    assert in_todays_form(state, cell="new key") == state, "twice is once"


def test_sizes_that_are_newer_than_a_state_have_their_defaults_in_its_baseline_too() -> None:
    baseline = in_todays_form(OLD, cell="new key")["training"]["config"]
    older = {name: value for name, value in baseline.items() if name != "norm"}
    assert in_todays_form({**OLD, "baseline": older}, cell="new key")["baseline"] == baseline


def test_what_is_no_state_of_a_trial_stays_as_it_is() -> None:
    assert in_todays_form({"tokens": 3}, cell="key") == {"tokens": 3}
