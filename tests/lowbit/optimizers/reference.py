"""A direct transcription of published Eva: per layer, as plain as possible, synchronising freely.

Algorithm 1 of arXiv 2308.02123 with the hyperparameters and the KL clip of the authors' code: statistics by hooks,
running averages with the weight on the new value, V by Sherman and Morrison, then SGD with momentum and decay.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class ReferenceEva:
    def __init__(
        self, model, lr, momentum=0.9, weight_decay=5e-4, damping=0.03, kl_clip=1e-3, stat_decay=0.95, stat_samples=16,
        stat_every=1,
    ):  # fmt: skip
        self.model, self.lr, self.momentum, self.weight_decay = model, lr, momentum, weight_decay
        self.damping, self.kl_clip, self.stat_decay = damping, kl_clip, stat_decay
        self.samples, self.every, self.steps = stat_samples, stat_every, 0
        self.a, self.g, self.buffers = {}, {}, {}
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
        self.average(self.a, layer, a)

        def receive(grad):
            y = grad[: self.samples]
            g = y.reshape(-1, y.shape[-1]).mean(0) if isinstance(layer, nn.Linear) else y.mean((0, 2, 3))
            self.average(self.g, layer, g)

        output.register_hook(receive)

    def average(self, kept, layer, new):
        old = kept.get(layer)
        kept[layer] = new if old is None else (1 - self.stat_decay) * old + self.stat_decay * new

    @torch.no_grad()
    def step(self):
        gradient = {p: p.grad.clone() for p in self.model.parameters() if p.grad is not None}
        matrices, preconditioned = {}, {}
        for layer in self.layers:
            if layer not in self.g:
                continue
            matrix = gradient[layer.weight].reshape(len(layer.weight), -1)
            if layer.bias is not None:
                matrix = torch.cat([matrix, gradient[layer.bias][:, None]], 1)
            a, g = self.a[layer], self.g[layer]
            beta = (g @ matrix @ a) / (a @ a * (g @ g) + self.damping)
            matrices[layer] = matrix
            preconditioned[layer] = (matrix - beta * torch.outer(g, a)) / self.damping
        nu = self.clip(matrices, preconditioned)
        for layer, v in preconditioned.items():
            columns = layer.weight[0].numel()
            gradient[layer.weight] = nu * v[:, :columns].reshape(layer.weight.shape)
            if layer.bias is not None:
                gradient[layer.bias] = nu * v[:, columns]
        for parameter, grad in gradient.items():
            direction = grad + self.weight_decay * parameter
            self.buffers[parameter] = self.momentum * self.buffers.get(parameter, 0) + direction
            parameter.sub_(self.lr * self.buffers[parameter])
        self.steps += 1

    def clip(self, matrices, preconditioned):
        if self.kl_clip is None or self.kl_clip < 0:
            return 1.0
        if self.kl_clip == 0:
            g = sum((m * m).sum().item() for m in matrices.values())
            return math.sqrt(g / sum((v * v).sum().item() for v in preconditioned.values()))
        s = self.lr**2 * sum((v * matrices[layer]).sum().item() for layer, v in preconditioned.items())
        return min(1.0, math.sqrt(self.kl_clip / s)) if s > 0 else 1.0
