"""Prints a digest of what each operation gives, on inputs that are exact by construction; run in the image.

The inputs come from integer arithmetic, so that a difference in a result is that operation's own.
"""

import hashlib
import json

import numpy
import torch

SHAPES = [(4, 4, 4), (8, 192, 64), (192, 8, 252), (8, 192, 256), (192, 192, 192), (512, 8, 300), (64, 64, 1000)]
UNARY = ("exp", "log", "sin", "cos", "tan", "tanh", "erf", "sigmoid", "rsqrt", "reciprocal", "sqrt", "asin", "atan")


def numbers(*shape, seed):
    """Values in (0, 1) with 23 bits after the point: a multiplicative sequence modulo 2^31 - 1."""
    count, value, found = int(numpy.prod(shape)), seed, []
    for _ in range(count):
        value = value * 48271 % 2147483647
        found.append((2 * (value >> 9) + 1) / (1 << 23))
    return torch.tensor(found, dtype=torch.float32).reshape(shape)


def digest(*tensors):
    data = b"".join(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors)
    return hashlib.sha256(data).hexdigest()[:16]


def products():
    found = []
    for m, n, k in SHAPES:
        a, b = numbers(m, k, seed=3) - 0.5, numbers(k, n, seed=5) - 0.5
        found += [a @ b, a @ b.t().contiguous().t(), a.t().contiguous().t() @ b, a @ b[:, 0].contiguous()]
    a = numbers(8, 64, 48, seed=7) - 0.5
    return digest(*found, torch.bmm(a, a.transpose(1, 2)))


def adamw(fused):
    weight = torch.nn.Parameter(numbers(64, 64, seed=11) - 0.5)
    optimizer = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.01, fused=fused)
    for step in range(3):
        weight.grad = numbers(64, 64, seed=13 + step) - 0.5
        optimizer.step()
    return digest(weight)


def main():
    torch.set_num_threads(1)
    x = numbers(64, 64, seed=17)
    exact = torch.from_numpy(numpy.sqrt(x.double().numpy()).astype(numpy.float32))
    found = {"products": products(), "adamw": adamw(False), "adamw fused": adamw(True)}
    found |= {name: digest(getattr(torch, name)(x)) for name in UNARY}
    found |= {
        "numpy sqrt": digest(torch.from_numpy(numpy.sqrt(x.numpy()))),
        "softmax": digest(torch.softmax(x, -1)),
        "sums": digest(x.sum(0), x.mean(-1), x.var(0), x.norm()),
        "silu": digest(torch.nn.functional.silu(x)),
        "rms_norm": digest(torch.nn.functional.rms_norm(x, (64,))),
        "attention": digest(torch.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None])),
    }
    wrong = int((torch.sqrt(x) != exact).sum())
    print(json.dumps({"digests": found, "square roots not rounded correctly": wrong, "of": x.numel()}))


main()
