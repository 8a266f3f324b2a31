"""Makes a float model ready for torch's eager flows, which want it written with stubs, functionals and modules.

A model is traced by torch.fx, and its graph is changed; its modules stay where they are and what they are, so that a
state of the float model loads unchanged. No second copy of a model has to be written, and kept alike.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.quantization import relu6
from lowbit.quantization.torch_ao import eager, layers, traced

_ADD_FUNCTIONS = frozenset({operator.add, torch.add})  # `+=` is traced as `+`
_ADD_METHODS = frozenset({"add", "add_"})
_RELU_FUNCTIONS = frozenset({functional.relu, functional.relu_, torch.relu, torch.relu_})
_RELU_METHODS = frozenset({"relu", "relu_"})
_RELU_MODULES = (nn.ReLU, nn.ReLU6)
_NORM_AFTER = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d}
_IN_PLACE = frozenset({functional.relu_, torch.relu_, "add_", "relu_"})


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A model that is ready, and the groups of its modules to fuse: names of a layer and of what follows it.

    `bounded` are the layers whose ReLU6 became a ReLU: once prepared, the model needs `relu6.bound`.
    """

    module: fx.GraphModule
    fusions: tuple[tuple[str, ...], ...]
    bounded: tuple[str, ...]


def ready(module: nn.Module, *, saturates: bool) -> Ready:
    """Returns a float model made ready; it shares its modules with the one that was given.

    A quantizer stands at each input and a dequantizer at each output; additions of two tensors are functionals that
    can be observed, with the ReLU that follows; every other ReLU is a module of its own, and so is every ReLU6. One
    that alone follows a layer has a ReLU before it, or with `saturates` in its place: see `relu6.fold`. New modules are
    in the mode, training or not, that the model is in, or fusion refuses them.

    Raises QuantizationError for a model that torch.fx cannot trace.
    """
    graph_module = traced(module)
    _keep_all_state(module, graph_module)
    graph = _Rewriting(graph_module)
    graph.follow_values_in_place()
    bounded = relu6.fold(graph_module, saturates=saturates)
    graph.add_functionals()
    graph.own_relus()
    graph.add_stubs()
    fusions = graph.fusions()
    graph_module.graph.lint()
    graph_module.recompile()
    return Ready(module=graph_module, fusions=fusions, bounded=bounded)


def fuse(model: Ready, *, trains: bool) -> fx.GraphModule:
    """Fuses the groups, in place, and returns the model without calls of the modules that are no more.

    With `trains` batch normalization is kept inside of the fused layers; the model must be in training mode then.
    """
    module, ao = model.module, eager()
    if not model.fusions:
        return module
    fused = ao.fuse_modules_qat if trains else ao.fuse_modules
    fused(module, [list(names) for names in model.fusions], inplace=True)
    gone = {name for names in model.fusions for name in names[1:]}
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target in gone:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    for name in gone:
        module.delete_submodule(name)
    module.recompile()
    return module


class _Rewriting:
    """The changes of one graph."""

    def __init__(self, module: fx.GraphModule) -> None:
        self.module, self.graph = module, module.graph

    def follow_values_in_place(self) -> None:
        """Lets what comes after an operation in place use its result: what replaces it leaves its input as it was."""
        place = {node: number for number, node in enumerate(self.graph.nodes)}
        for node in self.graph.nodes:
            changed = node.args[0] if node.args else None
            if isinstance(changed, fx.Node) and self._in_place(node):
                later = [user for user in changed.users if place[user] > place[node]]
                for user in later:
                    user.replace_input_with(changed, node)

    def add_functionals(self) -> None:
        """Replaces additions of two tensors, and the ReLU that alone follows one."""
        for node in list(self.graph.nodes):
            adds = node.target in (_ADD_FUNCTIONS if node.op == "call_function" else _ADD_METHODS)
            if node.op not in {"call_function", "call_method"} or not adds or node.kwargs:
                continue
            if not all(isinstance(value, fx.Node) for value in node.args):
                continue
            after = self._only_user(node)
            method, last = ("add_relu", after) if after is not None and self._is_relu(after) else ("add", node)
            name = self._new("added", layers().FloatFunctional())
            with self.graph.inserting_before(last):
                new = self.graph.call_method(method, (self.graph.get_attr(name), *node.args))
            self._replace(last, new)
            if last is not node:
                self.graph.erase_node(node)

    def own_relus(self) -> None:
        """Gives each ReLU a module of its own."""
        for node in list(self.graph.nodes):
            stops = relu6.is_relu6(self.module, node)
            if stops or self._is_relu(node):
                own = self._new("relu", nn.ReLU6() if stops else nn.ReLU())
                with self.graph.inserting_before(node):
                    new = self.graph.call_module(own, tuple(node.all_input_nodes))
                self._replace(node, new)
        called = {node.target for node in self.graph.nodes}
        for name, child in list(self.module.named_modules(remove_duplicate=False)):
            if isinstance(child, _RELU_MODULES) and name not in called:
                self.module.delete_submodule(name)

    def add_stubs(self) -> None:
        """Puts a quantizer behind each input, and a dequantizer before each output."""
        ao = eager()
        for node in list(self.graph.nodes):
            if node.op == "placeholder":
                with self.graph.inserting_after(node):
                    stub = self.graph.call_module(self._new("quantized_input", ao.QuantStub()), (node,))
                for user in [user for user in node.users if user is not stub]:
                    user.replace_input_with(node, stub)
            elif node.op == "output":
                node.args = fx.node.map_arg(node.args, functools.partial(self._dequantized, node))

    def fusions(self) -> tuple[tuple[str, ...], ...]:
        """Returns the layers that are followed by batch normalization, ReLU, or both, and by nothing else."""
        called = [node.target for node in self.graph.nodes if node.op == "call_module"]
        found = []
        for node in self.graph.nodes:
            kind = type(self._module_of(node))
            if kind not in {*_NORM_AFTER, nn.Linear} or called.count(node.target) > 1:
                continue
            group, last = [node.target], node
            for wanted in (_NORM_AFTER.get(kind), nn.ReLU):
                after = self._only_user(last)
                if after is not None and wanted is not None and type(self._module_of(after)) is wanted:
                    group.append(after.target)
                    last = after
            if len(group) > 1 and all(called.count(name) == 1 for name in group):
                found.append(tuple(group))
        return tuple(found)

    def _dequantized(self, output: fx.Node, value: fx.Node) -> fx.Node:
        with self.graph.inserting_before(output):
            return self.graph.call_module(self._new("float_output", eager().DeQuantStub()), (value,))

    def _new(self, stem: str, module: nn.Module) -> str:
        number = 0
        while hasattr(self.module, f"{stem}{number}"):
            number += 1
        self.module.add_submodule(f"{stem}{number}", module.train(self.module.training))
        return f"{stem}{number}"

    def _replace(self, old: fx.Node, new: fx.Node) -> None:
        old.replace_all_uses_with(new)
        self.graph.erase_node(old)

    def _module_of(self, node: fx.Node) -> Any:
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _is_relu(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(self._module_of(node)) is nn.ReLU
        return node.target in (_RELU_FUNCTIONS if node.op == "call_function" else _RELU_METHODS)

    def _in_place(self, node: fx.Node) -> bool:
        said = node.kwargs.get("inplace", getattr(self._module_of(node), "inplace", False))
        return node.target in _IN_PLACE or bool(said)

    @staticmethod
    def _only_user(node: fx.Node) -> fx.Node | None:
        return next(iter(node.users)) if len(node.users) == 1 else None


def _keep_all_state(module: nn.Module, graph_module: fx.GraphModule) -> None:
    """Puts back the modules that the traced forward does not call: a state has their tensors too."""
    present = {name for name, _ in graph_module.named_modules(remove_duplicate=False)}
    for name, child in module.named_modules(remove_duplicate=False):
        if name not in present:
            graph_module.add_submodule(name, child)
            present |= {f"{name}.{inner}" for inner, _ in child.named_modules(remove_duplicate=False)}
