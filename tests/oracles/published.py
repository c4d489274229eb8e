"""What the public networks of SOLAR, DOLG and Token compute, restated from their parameter names.

Each has ``shapes`` (the names and shapes of the published file, for ResNet-50) and ``describe`` (photos, normalised as
the public code does, to descriptors). Written from a description of the public code; no line of it is copied.
"""

import torch
from torch.nn import functional

DEPTHS = (3, 4, 6, 3)


def conv(out, channels, size=1, *, bias=True):
    shapes = {"weight": (out, channels, size, size)}
    return {**shapes, "bias": (out,)} if bias else shapes


def linear(out, channels):
    return {"weight": (out, channels), "bias": (out,)}


def vectors(channels):
    return {"weight": (channels,), "bias": (channels,)}


def batch_norm(channels):
    return {**vectors(channels), "running_mean": (channels,), "running_var": (channels,)}


def under(name, *parts):
    return {f"{name}.{key}": shape for part in parts for key, shape in part.items()}


def bottlenecks(stages, block_name, names, first):
    """Give the blocks of four stages; names are those of three convolutions, three norms and the shortcut's two."""
    shapes, channels = {}, 64
    for stage, depth in enumerate(DEPTHS):
        width = 64 * 2**stage
        for row in range(depth):
            name = f"{stages[stage]}.{block_name}{row + first}"
            kernels = ((width, channels, 1), (width, width, 3), (4 * width, width, 1))
            for kernel, conv_name, norm_name in zip(kernels, names[:3], names[3:6], strict=True):
                shapes.update(under(f"{name}.{conv_name}", conv(*kernel, bias=False)))
                shapes.update(under(f"{name}.{norm_name}", batch_norm(kernel[0])))
            if channels != 4 * width:
                shapes.update(under(f"{name}.{names[6]}", conv(4 * width, channels, bias=False)))
                shapes.update(under(f"{name}.{names[7]}", batch_norm(4 * width)))
            channels = 4 * width
    return shapes


TORCHVISION = ("conv1", "conv2", "conv3", "bn1", "bn2", "bn3", "downsample.0", "downsample.1")
PYCLS = ("f.a", "f.b", "f.c", "f.a_bn", "f.b_bn", "f.c_bn", "proj", "bn")


def run_conv(x, weights, name, **options):
    return functional.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)


def run_norm(x, weights, name):
    parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(x, *parts, training=False, eps=1e-5)


def run_linear(x, weights, name):
    return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def run_layer_norm(x, weights, name):
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def run_stem(x, weights, conv_name, norm_name):
    x = run_norm(run_conv(x, weights, conv_name, stride=2, padding=3), weights, norm_name).relu()
    return functional.max_pool2d(x, 3, stride=2, padding=1)


def run_stage(x, weights, stage, block_name, names, first, number):
    for row in range(DEPTHS[number]):
        name, stride = f"{stage}.{block_name}{row + first}", 2 if number and not row else 1
        y = run_norm(run_conv(x, weights, f"{name}.{names[0]}"), weights, f"{name}.{names[3]}").relu()
        y = run_conv(y, weights, f"{name}.{names[1]}", stride=stride, padding=1)
        y = run_norm(y, weights, f"{name}.{names[4]}").relu()
        y = run_norm(run_conv(y, weights, f"{name}.{names[2]}"), weights, f"{name}.{names[5]}")
        if row == 0:
            x = run_norm(run_conv(x, weights, f"{name}.{names[6]}", stride=stride), weights, f"{name}.{names[7]}")
        x = (x + y).relu()
    return x


def gem(x, p):
    return functional.avg_pool2d(x.clamp(min=1e-6).pow(p), x.shape[-2:]).pow(1 / p)[..., 0, 0]


# SOLAR: features.conv1 to conv5_x, second-order attention 4 and 5, pool, whiten.

SOLAR_STAGES = ("features.conv2_x.2", "features.conv3_x", "features.conv4_x", "features.conv5_x")


def solar_shapes():
    shapes = {
        **under("features.conv1.0", conv(64, 3, 7, bias=False)),
        **under("features.conv1.1", batch_norm(64)),
        **bottlenecks(SOLAR_STAGES, "", TORCHVISION, 0),
    }
    for name, channels, width in (("features.soa4", 1024, 256), ("features.soa5", 2048, 1024)):
        for part in "fg":
            shapes.update(under(f"{name}.{part}.0", conv(width, channels)))
            shapes.update(under(f"{name}.{part}.1", batch_norm(width)))
        shapes.update(under(f"{name}.h", conv(width, channels)))
        shapes.update(under(f"{name}.v", conv(channels, width)))
    return {**shapes, "pool.p": (1,), **under("whiten", linear(2048, 2048))}


def second_order(x, weights, name):
    f, g = (
        run_norm(run_conv(x, weights, f"{name}.{part}.0"), weights, f"{name}.{part}.1").relu().flatten(2)
        for part in "fg"
    )
    h = run_conv(x, weights, f"{name}.h").flatten(2)
    attention = (torch.bmm(f.permute(0, 2, 1), g) * f.shape[1] ** -0.5).softmax(dim=-1)
    z = torch.bmm(attention, h.permute(0, 2, 1)).permute(0, 2, 1)
    return run_conv(z.reshape(len(x), -1, *x.shape[-2:]), weights, f"{name}.v") + x


def divide_by_length(x):
    return x / (x.norm(dim=1, keepdim=True) + 1e-6)


def solar_describe(x, weights):
    x = run_stem(x, weights, "features.conv1.0", "features.conv1.1")
    for number, stage in enumerate(SOLAR_STAGES):
        x = run_stage(x, weights, stage, "", TORCHVISION, 0, number)
        if number >= 2:
            x = second_order(x, weights, f"features.soa{number + 2}")
    return divide_by_length(run_linear(divide_by_length(gem(x, weights["pool.p"])), weights, "whiten"))


# DOLG: globalmodel, localmodel, fc_t, fc; colours blue, green, red.

DOLG_STAGES = tuple(f"globalmodel.s{number}" for number in (1, 2, 3, 4))


def dolg_shapes(*, multi_atrous=False, learned_exponent=True):
    shapes = {
        **under("globalmodel.stem.conv", conv(64, 3, 7, bias=False)),
        **under("globalmodel.stem.bn", batch_norm(64)),
        **bottlenecks(DOLG_STAGES, "b", PYCLS, 1),
        **under("localmodel.conv1", conv(1024, 1024)),
        **under("localmodel.bn", batch_norm(1024)),
        **under("localmodel.conv2", conv(1, 1024)),
        **under("fc_t", linear(1024, 2048)),
        **under("fc", linear(512, 2048)),
        "desc_cls.weight": (5, 512),
        "desc_cls.t": (1,),
    }
    if learned_exponent:
        shapes["pool_g.p"] = (1,)
    if multi_atrous:
        for number, size in enumerate((1, 3, 3, 3)):
            shapes.update(under(f"localmodel.aspp.aspp.{number}", conv(512, 1024, size)))
        shapes.update(under("localmodel.aspp.im_pool.1", conv(512, 1024)))
        shapes.update(under("localmodel.aspp.conv_after.0", conv(1024, 2560)))
    return shapes


def dolg_pyramid(x, weights):
    name = "localmodel.aspp"
    pooled = run_conv(x.mean(dim=(-2, -1), keepdim=True), weights, f"{name}.im_pool.1").relu()
    seen = [functional.interpolate(pooled, scale_factor=tuple(map(float, x.shape[-2:])), mode="bilinear")]
    seen.append(run_conv(x, weights, f"{name}.aspp.0"))
    for number, step in enumerate((6, 12, 18), start=1):
        seen.append(run_conv(x, weights, f"{name}.aspp.{number}", padding=step, dilation=step))
    return run_conv(torch.cat(seen, dim=1), weights, f"{name}.conv_after.0").relu()


def dolg_describe(x, weights):
    x = run_stem(x, weights, "globalmodel.stem.conv", "globalmodel.stem.bn")
    for number, stage in enumerate(DOLG_STAGES):
        before, x = x, run_stage(x, weights, stage, "b", PYCLS, 1, number)
    local = dolg_pyramid(before, weights) if "localmodel.aspp.aspp.0.weight" in weights else before
    local = run_norm(run_conv(local, weights, "localmodel.conv1"), weights, "localmodel.bn")
    attention = functional.softplus(run_conv(local.relu(), weights, "localmodel.conv2"))
    local = attention * functional.normalize(local, dim=1)
    whole = run_linear(gem(x, weights.get("pool_g.p", 3.0)), weights, "fc_t")
    along = torch.bmm(whole.unsqueeze(1), local.flatten(2))
    along = torch.bmm(whole.unsqueeze(2), along).view(local.shape)
    orthogonal = local - along / whole.norm(dim=1).square().view(-1, 1, 1, 1)
    both = torch.cat([whole, functional.adaptive_avg_pool2d(orthogonal, 1)[..., 0, 0]], dim=1)
    return functional.normalize(run_linear(both, weights, "fc"))


# Token: backbone.block1 to block5, tr.

TOKEN_STAGES = tuple(f"backbone.block{number}" for number in (2, 3, 4, 5))


def token_attention(name):
    return {k: v for part in ("q", "k", "v", "proj") for k, v in under(f"{name}.{part}", linear(1024, 1024)).items()}


def token_shapes():
    shapes = {
        **under("backbone.block1.0", conv(64, 3, 7, bias=False)),
        **under("backbone.block1.1", batch_norm(64)),
        **bottlenecks(TOKEN_STAGES, "", TORCHVISION, 0),
        "tr.query": (1, 4, 1024),
        **under("tr.token_norm.0", linear(1024, 1024)),
        **under("tr.token_norm.1", vectors(1024)),
        **token_attention("tr.encoder.0.attn"),
        **under("tr.encoder.0.bn", batch_norm(1024)),
        **under("tr.encoder.0.mlp", linear(1024, 1024)),
        **under("tr.conv.0", conv(1024, 2048)),
        **under("tr.conv.1", batch_norm(1024)),
        **under("tr.proj.0", linear(1024, 4096)),
        **under("tr.proj.1", batch_norm(1024)),
        "classifier.weight": (5, 1024),
    }
    for number in range(2):
        name = f"tr.decoder.{number}"
        shapes.update(token_attention(f"{name}.self_attn"))
        shapes.update(token_attention(f"{name}.cross_attn"))
        shapes.update(under(f"{name}.bn1", vectors(1024)))
        shapes.update(under(f"{name}.bn2", vectors(1024)))
        shapes.update(under(f"{name}.mlp.fc1", linear(2048, 1024)))
        shapes.update(under(f"{name}.mlp.fc2", linear(1024, 2048)))
    return shapes


def attend(queries, rows, weights, name):
    def heads(x, part):
        return run_linear(x, weights, f"{name}.{part}").reshape(len(x), x.shape[1], 8, -1).permute(0, 2, 1, 3)

    q, k, v = heads(queries, "q"), heads(rows, "k"), heads(rows, "v")
    shares = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
    return run_linear((shares @ v).transpose(1, 2).reshape(queries.shape), weights, f"{name}.proj")


def token_describe(x, weights):
    x = run_stem(x, weights, "backbone.block1.0", "backbone.block1.1")
    for number, stage in enumerate(TOKEN_STAGES):
        x = run_stage(x, weights, stage, "", TORCHVISION, 0, number)
    x = run_norm(run_conv(x, weights, "tr.conv.0"), weights, "tr.conv.1").flatten(2).permute(0, 2, 1)
    x = x + attend(x, x, weights, "tr.encoder.0.attn")
    normal = run_norm(x.reshape(-1, 1024), weights, "tr.encoder.0.bn").reshape(x.shape)
    x = x + run_linear(normal, weights, "tr.encoder.0.mlp")
    shares = torch.bmm(weights["tr.query"].repeat(len(x), 1, 1), x.permute(0, 2, 1)).softmax(dim=1)
    q = run_layer_norm(run_linear(torch.bmm(shares, x), weights, "tr.token_norm.0"), weights, "tr.token_norm.1")
    for number in range(2):
        name = f"tr.decoder.{number}"
        q = q + attend(run_layer_norm(q, weights, f"{name}.bn1"), x, weights, f"{name}.cross_attn")
        q = q + run_linear(functional.gelu(run_linear(q, weights, f"{name}.mlp.fc1")), weights, f"{name}.mlp.fc2")
        normal = run_layer_norm(q, weights, f"{name}.bn2")
        q = q + attend(normal, normal, weights, f"{name}.self_attn")
    return functional.normalize(run_norm(run_linear(q.reshape(len(q), -1), weights, "tr.proj.0"), weights, "tr.proj.1"))
