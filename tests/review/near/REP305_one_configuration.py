import triton
import triton.language as tl


@triton.autotune(configs=[triton.Config({"BLOCK": 128}, num_warps=4)], key=["length"])
@triton.jit
def row_sum(source, target, length, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    values = tl.load(source + offsets, mask=offsets < length, other=0.0)
    tl.store(target, tl.sum(values, axis=0))
