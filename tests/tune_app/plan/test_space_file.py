"""A wrong space file is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_app.plan.plan import make_plan
from tune_app.plan.space_file import known_spaces, load_space
from tune_app.plan.wishes import Wishes


def refusal(folder: Path, text: str, **wishes: tuple[tuple[str, object], ...]) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=r".") as raised:
        make_plan(load_space(str(path)), Wishes(**wishes))  # type: ignore[arg-type]
    return str(raised.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AXES = {\n'n_heads': [2,\n", "mine.py, line 2 cannot be read: SyntaxError: "),
        ("\n\nAXES = nothing", "mine.py, line 3 cannot be read: NameError: name 'nothing'"),
        ("AXES = {'n_heads': [2]}\nFIXD = {}", "mine.py, line 2 sets unknown FIXD; expected"),
        ("AXES = {\n 'n_heads': 2}", "mine.py, line 2: n_heads is 2; it must be a list"),
        ("AXES = dict(\n n_heads=2)", "mine.py, line 2: n_heads is 2; it must be a list"),
        (
            "AXES = {'embedding_ratio': [0.3],\n'learning_rate': [0.1, 'fast']}",
            "mine.py, line 2: learning_rate is 'fast'; it must be a number",
        ),
        (
            "AXES = {'n_heads': [2]}\nFIXED: dict = {\n'tokens': 5,\n'embeding': 'tied'}",
            "mine.py, line 4: unknown setting 'embeding'; did you mean embedding? expected one of",
        ),
        (
            "AXES = {'n_heads': [2]}\nBASELINE = {\n'heads': 2}",
            "mine.py, line 3: unknown setting 'heads'; it is now called 'n_heads'",
        ),
        (
            "\nAXES = {'tokens': [1_000, 2_000]}",
            "mine.py, line 2: tokens differs between cells",
        ),
        ("AXES = {'n_heads': [4]}\nSAMPLES = 3", "mine.py, line 2: SAMPLES is 3, but no axis"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text).startswith(message)


def test_what_was_overridden_is_not_the_file_s_fault(tmp_path: Path) -> None:
    text = "AXES = {'n_heads': [2]}\nFIXED = {'learning_rate': 1e-3}"
    told = refusal(tmp_path, text, set=(("learning_rate", "fast"),))
    assert told == "learning_rate is 'fast'; it must be a number"


def test_an_axis_whose_default_is_infeasible_says_to_set_the_baseline(tmp_path: Path) -> None:
    text = "AXES = {'vocab_size': [512, 1024]}\nFIXED = {'target_parameters': 300_000}"
    told = refusal(tmp_path, text)
    assert told.startswith("the baseline itself is infeasible: No width gives 300k")
    assert told.endswith(
        "The baseline has the default on an axis (vocab_size 16000), since the space does not set "
        'it; add for example BASELINE = {"vocab_size": 512}'
    )


def test_the_readme_has_a_line_for_every_space() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
    spaces = known_spaces()
    # A small space of the same question stands in the line of the large one.
    bases = {
        name if (base := name.removeprefix("quick_")) not in spaces else base for name in spaces
    }
    assert [name for name in bases if f"`{name}`" not in readme] == []
