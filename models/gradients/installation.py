"""Putting rules in the place of a model's forwards, and taking them out again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from models.gradients.census import RawParameter
from models.gradients.recorder import Recorder
from models.gradients.rules import Site, find_rule


def find_sites(model: nn.Module, recorder: Recorder) -> tuple[list[Site], dict[RawParameter, str]]:
    """The modules that a rule covers, and why each other trainable parameter is not covered."""
    sites: list[Site] = []
    uncovered: dict[RawParameter, str] = {}
    for module in model.modules():
        parameters = {n: p for n, p in module.named_parameters(recurse=False) if p.requires_grad}
        if not parameters:
            continue
        rule = find_rule(module)
        if rule is None:
            reason = f"no rule covers {type(module).__name__}"
            uncovered |= {RawParameter(module, name, p): reason for name, p in parameters.items()}
        else:
            sites.append(Site(module, rule, recorder, module.forward, tuple(parameters.values())))
    return sites, uncovered


def install(
    sites: Iterable[Site], parameters: Iterable[nn.Parameter], recorder: Recorder, stack: ExitStack
) -> None:
    """Replace the sites' forwards and watch what arrives at the parameters, until the stack unwinds."""
    for site in sites:
        stack.enter_context(_replaced_forward(site))
    for parameter in parameters:
        stack.callback(parameter.register_hook(_watch(recorder, parameter)).remove)


@contextmanager
def _replaced_forward(site: Site) -> Iterator[None]:
    """The module's ``forward`` attribute, replaced for a while; whatever was there comes back."""
    attributes = vars(site.module)
    had_own, before = "forward" in attributes, attributes.get("forward")
    attributes["forward"] = site.forward
    try:
        yield
    finally:
        if had_own:
            attributes["forward"] = before
        else:
            del attributes["forward"]


def _watch(recorder: Recorder, parameter: nn.Parameter) -> Callable[[Tensor], None]:
    def watch(gradient: Tensor) -> None:
        if recorder.observing:
            recorder.arrive(parameter, gradient)

    return watch


_BATCH_ARGUMENTS = ("input_ids", "inputs_embeds", "pixel_values")


def batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Of a model's input: the length of its ids or embeddings, else of its first tensor."""
    named = [kwargs[name] for name in _BATCH_ARGUMENTS if isinstance(kwargs.get(name), Tensor)]
    tensors = named or [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.dim() > 0]
    return len(tensors[0]) if tensors else None
