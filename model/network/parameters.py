"""Parameters and their roles: declared where they are made, checked when the model is built.

Roles are kept by the module that owns the parameter, under the parameter's name, so that they
survive what replaces the parameter itself: deepcopy, `to_empty` from the meta device, pickling.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from model.roles import Constant, Kind, Normal, Role

_ATTRIBUTE = "_roles_of_parameters"

STANDARD_STD = 0.02
"""Of all matrices of GPT-2 at their start, whatever their sizes."""


class UndeclaredParameterError(ValueError):
    """A parameter without a role: its initialisation, learning rate and decay are undefined."""


@dataclass(frozen=True, kw_only=True)
class DeclaredParameter:
    """A parameter with its path in the model and its role."""

    name: str
    parameter: nn.Parameter
    role: Role


def declare(module: nn.Module, **roles: Role) -> None:
    """Declares the roles of parameters that `module` itself owns, by name.

    Raises ValueError for a name that is not one of its own parameters.
    """
    own = dict(module.named_parameters(recurse=False))
    for name in roles:
        if name not in own:
            raise ValueError(
                f"{type(module).__name__} has no parameter {name!r} of its own; it has "
                f"{', '.join(own) or 'none'}"
            )
    module.__dict__[_ATTRIBUTE] = {**module.__dict__.get(_ATTRIBUTE, {}), **roles}


def declared_parameters(model: nn.Module) -> Iterator[DeclaredParameter]:
    """Every parameter of the model once, in the order of its modules.

    Raises UndeclaredParameterError for one without a role, and ValueError for one that two modules
    share under different roles; both name it.
    """
    seen: dict[int, Role] = {}
    for path, module in model.named_modules():
        roles = module.__dict__.get(_ATTRIBUTE, {})
        for name, parameter in module.named_parameters(recurse=False):
            full_name = f"{path}.{name}" if path else name
            if name not in roles:
                raise UndeclaredParameterError(
                    f"the parameter {full_name} of {type(module).__name__} has no role; declare "
                    f"it where it is made, for example declare(self, {name}=vector(…)): see "
                    "model/roles.py"
                )
            role = roles[name]
            first = seen.get(id(parameter))
            if first is None:
                seen[id(parameter)] = role
                yield DeclaredParameter(name=full_name, parameter=parameter, role=role)
            elif first != role:
                raise ValueError(
                    f"the shared parameter {full_name} is declared as {role}, but elsewhere as "
                    f"{first}; declare one role"
                )


@torch.no_grad()
def initialise(model: nn.Module, *, branches: int | None = None, zero_start: bool = False) -> None:
    """Draws all parameters anew, from torch's global generator.

    Args:
        branches: None starts parameters as their roles say. A number starts all that are drawn as
            GPT-2 does (Radford et al., 2019; STANDARD_STD): the model adds so many branches to its
            residual stream, and matrices that write into it start smaller by the square root.
        zero_start: starts matrices that write into the residual stream at zero; the others start
            as they would without it.

    Embedding and head are drawn last, with the matrices beside them, so that two models whose
    blocks are equal start with equal blocks whatever their vocabularies and embeddings.

    Raises UndeclaredParameterError for a parameter without a role.
    """
    for declared in sorted(declared_parameters(model), key=lambda d: _outside(d.role)):
        role = declared.role
        match role.start:
            case Normal(std=std):
                if branches is not None:
                    std = STANDARD_STD / math.sqrt(branches if role.writes_stream else 1)
                if zero_start and role.writes_stream:
                    std = 0.0  # drawn all the same, so that the draws after it stay as they are
                declared.parameter.normal_(std=std)
            case Constant(value=value):
                declared.parameter.fill_(value)


def _outside(role: Role) -> bool:
    """Whether a parameter is a matrix outside the blocks."""
    return role.kind in (Kind.EMBEDDING, Kind.HEAD) or (
        role.kind is Kind.HIDDEN and not role.in_block
    )
