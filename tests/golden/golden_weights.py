"""Deterministic weights for the GLU-Net golden data.  numpy only.  Written for this project; not derived from
the reference code.  The recipe in words is in RECIPE.md; this file is the authoritative version.

    from make_weights import value_for
    state[key] = value_for(key, shape, is_bn)      # float32 numpy array
"""

import zlib

import numpy as np

VGG_GAIN = 1.2  # pyramid conv gain
PRED = 0.8  # scale of the flow-predicting 3x3 convs
UPFEAT = 0.1  # scale of upfeat2.weight
D4 = 0.2  # deconv4 = D4 * (bilinear + noise): keeps flows moderate
DECONV_NOISE = 0.02
K, THR, A = 20.0, 6.2, 0.4  # structured read-out inside decoder4
FINAL_NOISE = 0.02
NC_NOISE = 0.3  # Semantic-GLU-Net 4-D convs
NC_BIAS = 1.0  # floor added by the last of them, keeps the consensus output from being too peaky


def gaussian(key, shape):
    return np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape))


def value_for(key, shape, is_bn):
    """key: state-dict key; shape: tuple; is_bn: True when '<prefix>.running_mean' is also a key."""
    shape = tuple(shape)
    g = gaussian(key, shape)
    last = key.rsplit(".", 1)[-1]
    if last == "running_mean":
        v = 0.1 * g
    elif last == "running_var":
        v = 1.0 + 0.1 * np.abs(g)
    elif last == "weight" and len(shape) == 1:  # batch-norm scale
        v = 1.0 + 0.1 * g
    elif last == "bias":
        v = (0.1 if is_bn else 0.01) * g
    elif len(shape) == 6:  # NeighConsensus 4-D conv, stored (k, out, in, k, k, k)
        n_in = shape[2]
        v = NC_NOISE * g * np.sqrt(2.0 / (n_in * 81))
        v[1, :, :, 1, 1, 1] += 1.0 / n_in
    else:  # conv / deconv kernels
        v = g * np.sqrt(2.0 / np.prod(shape[1:]))

    if key.startswith("pyramid.") and len(shape) == 4:
        v = VGG_GAIN * (v - v.mean(axis=(1, 2, 3), keepdims=True))
    elif key in ("deconv4.weight", "deconv2.weight"):
        tap = np.array([0.25, 0.75, 0.75, 0.25])
        v = DECONV_NOISE * g
        v[0, 0] += np.outer(tap, tap)
        v[1, 1] += np.outer(tap, tap)
        if key == "deconv4.weight":
            v = D4 * v
    elif key == "upfeat2.weight":
        v = UPFEAT * v
    elif key.endswith("predict_flow.weight") or key in ("dc_conv7.weight", "l_dc_conv7.weight"):
        v = PRED * v
    elif key == "decoder4.conv0.0.weight":  # 64 detectors, one per 2x2 block of source cells
        v[:64] = 0.0
        for j in range(64):
            by, bx = divmod(j, 8)
            for r in (2 * by, 2 * by + 1):
                for c in (2 * bx, 2 * bx + 1):
                    v[j, 16 * r + c, 1, 1] = K
    elif key == "decoder4.conv0.0.bias":
        v[:64] = -THR
    elif key == "decoder4.conv1.0.weight":  # signed block centres -> channels 0..3 = +x, +y, -x, -y
        v[:4] = 0.0
        for j in range(64):
            by, bx = divmod(j, 8)
            x = (4 * bx + 1 - 15) / 15.0
            y = (4 * by + 1 - 15) / 15.0
            v[0, j, 1, 1], v[1, j, 1, 1], v[2, j, 1, 1], v[3, j, 1, 1] = A * x, A * y, -A * x, -A * y
    elif key in ("decoder4.conv2.0.weight", "decoder4.conv3.0.weight", "decoder4.conv4.0.weight"):
        v[:4] = 0.0
        for j in range(4):
            v[j, j, 1, 1] = 1.0
    elif key == "decoder4.final.weight":
        v = FINAL_NOISE * v
        v[0, 0, 1, 1] += 1.0
        v[0, 2, 1, 1] -= 1.0
        v[1, 1, 1, 1] += 1.0
        v[1, 3, 1, 1] -= 1.0
    elif key == "NeighConsensus.conv.4.bias":
        v = v + NC_BIAS
    # channels 0..3 of decoder4.conv1 .. conv4 pass through their batch norm (and conv bias) unchanged
    if len(shape) == 1 and key.startswith(
        ("decoder4.conv1.", "decoder4.conv2.", "decoder4.conv3.", "decoder4.conv4.")
    ):
        v[:4] = 1.0 if last in ("running_var", "weight") else 0.0
    return np.ascontiguousarray(v, dtype=np.float32)
