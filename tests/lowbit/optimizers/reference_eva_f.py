"""A direct transcription of published Eva-f: per layer, V formed, synchronising freely; then SGD of torch's kind.

`kfac/semi_eva.py` of github.com/lzhangbv/eva at commit b95b3d2; the running average weights the new value.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class ReferenceEvaF:
    def __init__(
        self, model, lr, momentum=0.9, weight_decay=5e-4, damping=0.03, stat_decay=0.95, stat_samples=16, stat_every=1
    ):
        self.model, self.lr, self.momentum, self.weight_decay = model, lr, momentum, weight_decay
        self.damping, self.stat_decay = damping, stat_decay
        self.samples, self.every, self.steps = stat_samples, stat_every, 0
        self.a, self.buffers = {}, {}
        self.layers = [m for m in model.modules() if type(m) in (nn.Linear, nn.Conv2d)]
        for layer in self.layers:
            layer.register_forward_hook(self.hook)

    def hook(self, layer, inputs, output):
        if not torch.is_grad_enabled() or self.steps % self.every:
            return
        x = inputs[0].detach()[: self.samples]
        if isinstance(layer, nn.Linear):
            a = x.reshape(-1, x.shape[-1]).mean(0)
        else:
            patches = F.unfold(x.mean(0, keepdim=True), layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            a = patches[0].mean(1)
        if layer.bias is not None:
            a = torch.cat([a, a.new_ones(1)])
        old = self.a.get(layer)
        self.a[layer] = a if old is None else (1 - self.stat_decay) * old + self.stat_decay * a

    @torch.no_grad()
    def step(self):
        gradient = {p: p.grad.clone() for p in self.model.parameters() if p.grad is not None}
        preconditioned, total = {}, 0.0
        for layer in self.layers:
            matrix = gradient[layer.weight].reshape(len(layer.weight), -1)
            if layer.bias is not None:
                matrix = torch.cat([matrix, gradient[layer.bias][:, None]], 1)
            a = self.a[layer]
            v = matrix - torch.outer(matrix @ a, a) / (a @ a + self.damping)
            total += (v * matrix).sum().item()
            preconditioned[layer] = v
        for layer, v in preconditioned.items():
            columns = layer.weight[0].numel()
            gradient[layer.weight] = (v[:, :columns] / math.sqrt(total)).reshape(layer.weight.shape)
            if layer.bias is not None:
                gradient[layer.bias] = v[:, columns] / math.sqrt(total)
        for parameter, grad in gradient.items():
            direction = grad + self.weight_decay * parameter
            self.buffers[parameter] = self.momentum * self.buffers.get(parameter, 0) + direction
            parameter.sub_(self.lr * self.buffers[parameter])
        self.steps += 1
