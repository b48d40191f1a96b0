"""The operations of small networks, added up scalar by scalar."""

import pytest

from fsp.families.family import load_family

D, A, H, I, N = 1, 2, 8, 3, 5  # noqa: E741


def linear(n, inputs, outputs, bias=True):
    return n * (inputs * outputs + (inputs - 1) * outputs + bias * outputs)


def norm(n, width, bias=True):
    mean, centre, variance, root = width, width, width + width, 2  # eps is added, then the root taken
    return n * (mean + centre + variance + root + width + width + bias * width)


def attention(n, heads, width):
    size = width // heads
    scores = heads * n * n * (size + size - 1) + heads * n * n
    softmax = heads * n * ((n - 1) + n + n + (n - 1) + n)
    return scores + softmax + heads * n * size * (n + n - 1)


def test_gpt2():
    layer = 2 * norm(N, H) + linear(N, H, 3 * H) + attention(N, A, H) + linear(N, H, H)
    layer += linear(N, H, I) + 9 * N * I + linear(N, I, H) + 2 * N * H
    counted = load_family("gpt2").operations({"D": D, "A": A, "H": H, "I": I}, {}, batch=2, length=N)
    assert int(counted) == 2 * (N * H + layer + norm(N, H))


def test_vit():
    tokens = 4 + 1  # 8 x 8 pixels in patches of 4 x 4
    layer = 2 * norm(tokens, H) + 4 * linear(tokens, H, H) + attention(tokens, A, H)
    layer += linear(tokens, H, I) + 5 * tokens * I + linear(tokens, I, H) + 2 * tokens * H
    patches = linear(4, 3 * 16, H) + tokens * H
    constants = {"image": 8, "patch": 4, "channels": 3}
    counted = load_family("vit").operations({"D": D, "A": A, "H": H, "I": I}, constants, batch=2, length=999)
    assert int(counted) == 2 * (patches + layer + norm(tokens, H))


def test_distilbert():
    layer = 2 * norm(N, H) + 4 * linear(N, H, H) + attention(N, A, H)
    layer += linear(N, H, I) + 5 * N * I + linear(N, I, H) + 2 * N * H
    counted = load_family("distilbert").operations({"D": D, "A": A, "H": H, "I": I}, {}, batch=2, length=N)
    assert int(counted) == 2 * (N * H + norm(N, H) + layer)


@pytest.mark.parametrize(("bias", "normed"), [(0, 0), (1, 0), (0, 1)])
def test_llama(bias, normed):
    heads, groups, size = 6, 3, 4
    rms = lambda n, width: n * (width + (width - 1) + 1 + 1 + 1 + width + width)  # noqa: E731 - squares, mean, eps, root
    rotated = (heads + groups) * size * N
    rotation = 2 * rotated + rotated // 2 + rotated  # products, signs of one half, sums
    layer = linear(N, H, heads * size, bias) + 2 * linear(N, H, groups * size, bias) + linear(N, heads * size, H, False)
    layer += normed * rms(N * (heads + groups), size) + rotation + attention(N, heads, heads * size)
    layer += 2 * linear(N, H, I, False) + 4 * N * I + N * I + linear(N, I, H, False)  # SiLU, gate
    layer += 2 * rms(N, H) + 2 * N * H
    angles = N * (size // 2) + 4 * N * size  # products, then sine, cosine and their two scalings
    constants = {"head_size": size, "qkv_bias": bias, "qk_norm": normed}
    shape = {"D": 3, "A": heads, "K": groups, "H": H, "I": I}
    counted = load_family("llama").operations(shape, constants, batch=2, length=N)
    assert int(counted) == 2 * (3 * layer + rms(N, H)) + angles


def test_modernbert():
    rotation = 2 * (2 * N * H + N * H // 2 + N * H)  # of queries and of keys: products, signs of one half, sums
    middle = linear(N, H, 3 * H, False) + rotation + attention(N, A, H) + linear(N, H, H, False)
    middle += norm(N, H, False) + linear(N, H, 2 * I, False) + 6 * N * I + linear(N, I, H, False) + 2 * N * H
    angles = N * (H // A // 2) + 4 * N * (H // A)  # products, then sine, cosine and their two scalings
    for depth, kinds in ((1, 1), (2, 2), (3, 2)):
        norms = (depth - 1 + 2) * norm(N, H, False)  # before attention but in the first layer; embedding; final
        counted = load_family("modernbert").operations({"D": depth, "A": A, "H": H, "I": I}, {}, batch=2, length=N)
        assert int(counted) == 2 * (depth * middle + norms) + kinds * angles


def test_mlp():
    middle = linear(1, H, H) + H + H
    counted = load_family("mlp").operations({"D": 3, "H": H}, {"inputs": 7, "outputs": 2}, batch=4)
    assert int(counted) == 4 * (linear(1, 7, H) + 3 * middle + linear(1, H, 2))
