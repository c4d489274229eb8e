"""The equations of every network block, restated as loops over numbers in float64.

A feature map is a list of C maps of H rows of W numbers; a layer's weights are nested lists, as ``tolist`` gives them.
"""

import math


def grid(height, width):
    return [(y, x) for y in range(height) for x in range(width)]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


def relu(x):
    return max(x, 0.0)


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def softmax(values):
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def linear(vector, weight, bias=None):
    return [dot(row, vector) + (bias[i] if bias else 0) for i, row in enumerate(weight)]


def unit(vector):
    length = math.sqrt(dot(vector, vector))
    return [value / length for value in vector]


def norm(value, channel, state):
    """Batch normalisation in evaluation."""
    mean, variance = state["running_mean"][channel], state["running_var"][channel]
    return (value - mean) / math.sqrt(variance + 1e-5) * state["weight"][channel] + state["bias"][channel]


def layer_norm(vector, state):
    mean = math.fsum(vector) / len(vector)
    variance = math.fsum((value - mean) ** 2 for value in vector) / len(vector)
    return [
        (value - mean) / math.sqrt(variance + 1e-5) * weight + bias
        for value, weight, bias in zip(vector, state["weight"], state["bias"], strict=True)
    ]


def mean_map(channel):
    return math.fsum(value for row in channel for value in row) / (len(channel) * len(channel[0]))


def at(features, y, x):
    return [channel[y][x] for channel in features]


def build(height, width, channels, value):
    """Make a map whose (c, y, x) is value(c, y, x)."""
    return [[[value(c, y, x) for x in range(width)] for y in range(height)] for c in range(channels)]


def size(features):
    return len(features[0]), len(features[0][0])


def each(features, change):
    height, width = size(features)
    return build(height, width, len(features), lambda c, y, x: change(features[c][y][x], c))


def conv1x1(features, weight, bias=None):
    height, width = size(features)
    answers = {
        (y, x): linear(at(features, y, x), [[w[0][0] for w in row] for row in weight], bias)
        for y, x in grid(height, width)
    }
    return build(height, width, len(weight), lambda c, y, x: answers[y, x][c])


def conv3x3(features, weight, bias=None, *, dilation=1, groups=1):
    height, width = size(features)
    share, out_share = len(features) // groups, len(weight) // groups

    def value(c, y, x):
        total = bias[c] if bias else 0.0
        for k in range(share):
            channel = features[c // out_share * share + k]
            for i in range(3):
                for j in range(3):
                    v, u = y + (i - 1) * dilation, x + (j - 1) * dilation
                    if 0 <= v < height and 0 <= u < width:
                        total += weight[c][k][i][j] * channel[v][u]
        return total

    return build(height, width, len(weight), value)


def scale_channels(features, gates):
    return each(features, lambda value, c: value * gates[c])


# Backbone enhancement.


def squeeze_excite(features, state):
    hidden = [relu(v) for v in linear([mean_map(c) for c in features], state["down.weight"], state["down.bias"])]
    return scale_channels(features, [sigmoid(v) for v in linear(hidden, state["up.weight"], state["up.bias"])])


def channel_gates(features, kernel):
    means = [0.0, *(mean_map(channel) for channel in features), 0.0]
    return [sigmoid(dot(kernel, means[c : c + 3])) for c in range(len(features))]


def efficient_channel(features, state):
    return scale_channels(features, channel_gates(features, state["gates.conv.weight"][0][0]))


def gather_excite(features, state):
    norms = {key.removeprefix("norm."): value for key, value in state.items() if key.startswith("norm.")}
    gathered = conv3x3(features, state["gather.weight"], groups=len(features))
    means = [mean_map(channel) for channel in each(gathered, lambda value, c: norm(value, c, norms))]
    hidden = [relu(v) for v in linear(means, state["down.weight"], state["down.bias"])]
    return scale_channels(features, [sigmoid(v) for v in linear(hidden, state["up.weight"], state["up.bias"])])


def relate(query, key, value, scale):
    height, width = size(query)
    mixed = {}
    for y, x in grid(height, width):
        weights = softmax([scale * dot(at(query, y, x), at(key, v, u)) for v, u in grid(height, width)])
        rows = [at(value, v, u) for v, u in grid(height, width)]
        mixed[y, x] = [dot(weights, [row[c] for row in rows]) for c in range(len(value))]
    return build(height, width, len(value), lambda c, y, x: mixed[y, x][c])


def add(a, b):
    return build(*size(a), len(a), lambda c, y, x: a[c][y][x] + b[c][y][x])


def times(a, b):
    return build(*size(a), len(a), lambda c, y, x: a[c][y][x] * b[c][y][x])


def layer(state, name):
    return state[f"{name}.weight"], state.get(f"{name}.bias")


def non_local(features, state):
    parts = [conv1x1(features, *layer(state, name)) for name in ("query", "key", "value")]
    return add(features, conv1x1(relate(*parts, 1.0), *layer(state, "out")))


def inside(state, name):
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def second_order(features, state, scale):
    def project(name):
        reduced = conv1x1(features, *layer(state, f"{name}.0"))
        return each(reduced, lambda value, c: relu(norm(value, c, inside(state, f"{name}.1"))))

    value = conv1x1(features, *layer(state, "value"))
    return add(features, conv1x1(relate(project("query"), project("key"), value, scale), *layer(state, "out")))


# Context.


def selective_kernel(features, state, groups):
    branches = []
    for number, dilation in enumerate((1, 2)):
        seen = conv3x3(features, state[f"branches.{number}.0.weight"], dilation=dilation, groups=groups)
        norms = inside(state, f"branches.{number}.1")
        branches.append(each(seen, lambda value, c, norms=norms: relu(norm(value, c, norms))))
    means = [mean_map(channel) for channel in add(*branches)]
    hidden = linear(means, state["squeeze.0.weight"])
    hidden = [relu(norm(value, c, inside(state, "squeeze.1"))) for c, value in enumerate(hidden)]
    choices = [linear(hidden, *layer(state, f"select.{number}")) for number in range(2)]
    weights = [softmax([choices[0][c], choices[1][c]]) for c in range(len(features))]
    return add(*(each(branch, lambda v, c, n=number: v * weights[c][n]) for number, branch in enumerate(branches)))


def atrous_pyramid(features, state, dilations):
    height, width = size(features)
    means = build(1, 1, len(features), lambda c, y, x: mean_map(features[c]))
    pooled = each(conv1x1(means, *layer(state, "mean")), lambda value, c: relu(value))
    joint = build(height, width, len(pooled), lambda c, y, x: pooled[c][0][0])
    joint = joint + conv1x1(features, *layer(state, "branches.0"))
    for number, dilation in enumerate(dilations, start=1):
        joint = joint + conv3x3(features, *layer(state, f"branches.{number}"), dilation=dilation)
    return each(conv1x1(joint, *layer(state, "join")), lambda value, c: relu(value))


# CiDeR's localisation.


def attention_map(features, state):
    """Equations 1 and 2."""
    heat = [[softplus(value) for value in row] for row in conv1x1(features, *layer(state, "score"))[0]]
    low, high = min(map(min, heat)), max(map(max, heat))
    return [[(value - low) / (high - low) for value in row] for row in heat]


def masks(attention, thresholds, background):
    """Equation 3; background(i, y, x) gives beta."""
    return [
        [
            [background(i, y, x) if value < threshold else 1.0 for x, value in enumerate(row)]
            for y, row in enumerate(attention)
        ]
        for i, threshold in enumerate(thresholds)
    ]


def fuse(features, found, alphas):
    """Equations 4 and 5, feature maps masked first and mixed after."""
    weights = [softplus(alpha) for alpha in alphas]
    masked = [
        build(*size(features), len(features), lambda c, y, x, m=mask: m[y][x] * features[c][y][x]) for mask in found
    ]
    return build(
        *size(features),
        len(features),
        lambda c, y, x: sum(w * part[c][y][x] for w, part in zip(weights, masked, strict=True)) / sum(weights),
    )


# GLAM.


def glam_local(features, state):
    by_channel = add(features, scale_channels(features, channel_gates(features, state["gates.conv.weight"][0][0])))
    reduced = conv1x1(features, *layer(state, "reduce"))
    seen = list(reduced)
    for number, dilation in enumerate((1, 2, 3)):
        seen = seen + conv3x3(reduced, *layer(state, f"surroundings.{number}"), dilation=dilation)
    score = conv1x1(seen, *layer(state, "score"))[0]
    return add(times(by_channel, [score] * len(features)), by_channel)


def glam_global(features, state):
    query = channel_gates(features, state["channel_query.conv.weight"][0][0])
    key = channel_gates(features, state["channel_key.conv.weight"][0][0])
    weights = [softmax([q * k for k in key]) for q in query]
    related = build(*size(features), len(features), lambda c, y, x: dot(weights[c], at(features, y, x)))
    by_channel = times(features, related)
    parts = [conv1x1(features, *layer(state, name)) for name in ("query", "key", "value")]
    return add(times(by_channel, conv1x1(relate(*parts, 1.0), *layer(state, "out"))), by_channel)


# DOLG.


def dolg_local(features, state):
    found = each(conv1x1(features, *layer(state, "conv")), lambda v, c: norm(v, c, inside(state, "norm")))
    score = conv1x1(each(found, lambda v, c: relu(v)), *layer(state, "score"))[0]
    units = {(y, x): unit(at(found, y, x)) for y, x in grid(*size(found))}
    return build(*size(found), len(found), lambda c, y, x: softplus(score[y][x]) * units[y, x][c])


def orthogonal_mean(local, whole):
    """Take from the feature at every position its part along the global vector, then average."""
    total = [0.0] * len(whole)
    for y, x in grid(*size(local)):
        feature = at(local, y, x)
        along = dot(feature, whole) / dot(whole, whole)
        total = [t + f - along * g for t, f, g in zip(total, feature, whole, strict=True)]
    height, width = size(local)
    return [t / (height * width) for t in total]


# Token; rows are lists of vectors.


def multi_head(queries, rows, state, heads):
    width = len(queries[0])
    part = width // heads
    q, k, v = (
        [linear(vector, *layer(state, name)) for vector in vectors]
        for name, vectors in (("query", queries), ("key", rows), ("value", rows))
    )
    answers = []
    for query in q:
        joint = []
        for head in range(heads):
            cut = slice(head * part, (head + 1) * part)
            weights = softmax([dot(query[cut], key[cut]) / math.sqrt(part) for key in k])
            joint += [dot(weights, [value[cut][i] for value in v]) for i in range(part)]
        answers.append(linear(joint, *layer(state, "out")))
    return answers


def add_rows(a, b):
    return [[p + q for p, q in zip(x, y, strict=True)] for x, y in zip(a, b, strict=True)]


def encoder(rows, state, heads):
    rows = add_rows(rows, multi_head(rows, rows, inside(state, "attention"), heads))
    normal = [[norm(value, c, inside(state, "norm")) for c, value in enumerate(row)] for row in rows]
    return add_rows(rows, [linear(row, *layer(state, "mix")) for row in normal])


def decoder(tokens, rows, state, heads):
    normal = [layer_norm(token, inside(state, "cross_norm")) for token in tokens]
    tokens = add_rows(tokens, multi_head(normal, rows, inside(state, "cross"), heads))
    wide = [[gelu(v) for v in linear(token, *layer(state, "widen"))] for token in tokens]
    tokens = add_rows(tokens, [linear(vector, *layer(state, "narrow")) for vector in wide])
    normal = [layer_norm(token, inside(state, "self_norm")) for token in tokens]
    return add_rows(tokens, multi_head(normal, normal, inside(state, "own"), heads))


def share_out(seeds, rows):
    tokens = [[0.0] * len(rows[0]) for _ in seeds]
    for row in rows:
        shares = softmax([dot(seed, row) for seed in seeds])
        tokens = [
            [t + share * r for t, r in zip(token, row, strict=True)]
            for token, share in zip(tokens, shares, strict=True)
        ]
    return tokens
