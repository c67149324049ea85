"""The papers' updates in NumPy, written from their algorithms: one function a leaf and step.

Each takes a parameter, its gradient, a dict that it may keep things in, and the step from 1; it
returns the new parameter.
"""

import numpy as np


def norm(x):
    return np.sqrt((x * x).sum())


def lion(p, g, s, t, lr=0.1, b1=0.9, b2=0.99, wd=0.1):
    m = s.get("m", 0 * g)
    s["m"] = b2 * m + (1 - b2) * g
    return p - lr * (np.sign(b1 * m + (1 - b1) * g) + wd * p)


def lamb(p, g, s, t, lr=0.1, b1=0.9, b2=0.999, eps=1e-6, wd=0.1):
    s["m"] = b1 * s.get("m", 0 * g) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0 * g) + (1 - b2) * g * g
    r = s["m"] / (1 - b1**t) / (np.sqrt(s["v"] / (1 - b2**t)) + eps) + wd * p
    return p - lr * norm(p) / norm(r) * r


def lars(p, g, s, t, lr=1.0, mu=0.9, wd=0.1, eta=0.01):
    local = eta * norm(p) / (norm(g) + wd * norm(p))
    s["v"] = mu * s.get("v", 0 * g) + lr * local * (g + wd * p)
    return p - s["v"]


def novograd(p, g, s, t, lr=0.1, b1=0.95, b2=0.98, eps=1e-8, wd=0.1):
    s["v"] = norm(g) ** 2 if t == 1 else b2 * s["v"] + (1 - b2) * norm(g) ** 2
    s["m"] = b1 * s.get("m", 0 * g) + g / (np.sqrt(s["v"]) + eps) + wd * p
    return p - lr * s["m"]


def yogi(p, g, s, t, lr=0.1, b1=0.9, b2=0.999, eps=1e-3):
    v = s.get("v", np.full_like(g, 1e-6))
    s["m"] = b1 * s.get("m", 0 * g) + (1 - b1) * g
    s["v"] = v - (1 - b2) * np.sign(v - g * g) * g * g
    return p - lr * s["m"] / (1 - b1**t) / (np.sqrt(s["v"] / (1 - b2**t)) + eps)


def adan(p, g, s, t, lr=0.1, b1=0.98, b2=0.92, b3=0.99, eps=1e-8, wd=0.1):
    diff = g - s.get("g", g)
    s["m"] = b1 * s.get("m", 0 * g) + (1 - b1) * g
    s["d"] = b2 * s.get("d", 0 * g) + (1 - b2) * diff
    s["n"] = b3 * s.get("n", 0 * g) + (1 - b3) * (g + b2 * diff) ** 2
    s["g"] = g
    step = s["m"] / (1 - b1**t) + b2 * s["d"] / (1 - b2**t)
    return (p - lr * step / (np.sqrt(s["n"] / (1 - b3**t)) + eps)) / (1 + lr * wd)


def sophia(p, g, s, t, lr=0.1, b1=0.96, b2=0.99, gamma=0.05, eps=1e-12, wd=0.1):
    hessian = 1.0 + p * p
    s["m"] = b1 * s.get("m", 0 * g) + (1 - b1) * g
    s["h"] = b2 * s.get("h", 0 * g) + (1 - b2) * hessian
    p = p - lr * wd * p
    return p - lr * np.clip(s["m"] / np.maximum(gamma * s["h"], eps), -1, 1)


def sm3(p, g, s, t, lr=0.1, beta=0.9):
    axes = range(max(g.ndim, 1))
    covers = [s.get(i, np.zeros(g.shape[i] if g.ndim else ())) for i in axes]
    bound = np.full_like(g, np.inf)
    for index in np.ndindex(*g.shape):
        bound[index] = min(covers[i][index[i]] if g.ndim else covers[i] for i in axes)
    nu = bound + g * g
    for i in axes:
        s[i] = nu.max(axis=tuple(j for j in range(g.ndim) if j != i)) if g.ndim else nu
    s["b"] = beta * s.get("b", 0 * g) + (1 - beta) * g / np.sqrt(nu)
    return p - lr * s["b"]


def shampoo(p, g, s, t, lr=0.1, mu=0.9, eps=1e-4):
    def root(matrix, power):
        values, vectors = np.linalg.eigh(matrix)
        return vectors @ np.diag(values**-power) @ vectors.T

    step = g
    for i in range(g.ndim):
        flat = np.moveaxis(g, i, 0).reshape(g.shape[i], -1)
        s[i] = s.get(i, eps * np.eye(g.shape[i])) + flat @ flat.T
        step = np.moveaxis(np.tensordot(root(s[i], 1 / (2 * g.ndim)), step, (1, i)), 0, i)
    s["b"] = mu * s.get("b", 0 * g) + step
    return p - lr * s["b"]


def soap(p, g, s, t, lr=0.1, b1=0.95, b2=0.95, eps=1e-2, wd=0.1, every=3):
    shape = g.shape
    s["m"] = b1 * s.get("m", 0 * g) + (1 - b1) * g
    if g.ndim < 2:
        q_left, q_right = np.eye(max(g.size, 1)), np.eye(1)
    else:
        flat = g.reshape(shape[0], -1)
        s["L"] = b2 * s.get("L", 0) + (1 - b2) * flat @ flat.T
        s["R"] = b2 * s.get("R", 0) + (1 - b2) * flat.T @ flat
        if t == 1:
            s["QL"], s["QR"] = np.linalg.eigh(s["L"])[1], np.linalg.eigh(s["R"])[1]
        q_left, q_right = s["QL"], s["QR"]
    turned = q_left.T @ g.reshape(len(q_left), -1) @ q_right
    momentum = q_left.T @ (s["m"] / (1 - b1**t)).reshape(len(q_left), -1) @ q_right
    s["v"] = b2 * s.get("v", 0 * turned) + (1 - b2) * turned**2
    step = q_left @ (momentum / (np.sqrt(s["v"] / (1 - b2**t)) + eps)) @ q_right.T
    if g.ndim >= 2 and t % every == 0:
        s["QL"] = np.linalg.qr(s["L"] @ s["QL"])[0]
        s["QR"] = np.linalg.qr(s["R"] @ s["QR"])[0]
    return p - lr * step.reshape(shape) - lr * wd * p


def schedule_free_sgd(p, g, s, t, lr=0.5, beta=0.9, wd=0.1, warmup=4):
    z, x = s.get("z", p), s.get("x", p)
    gamma = lr * min(1, t / warmup)
    s["sum"] = s.get("sum", 0.0) + gamma**2
    c = gamma**2 / s["sum"]
    s["z"] = z - gamma * (g + wd * p)
    s["x"] = (1 - c) * x + c * s["z"]
    return (1 - beta) * s["z"] + beta * s["x"]


def lookahead(p, g, s, t, lr=0.1, alpha=0.5, k=3):
    slow = s.setdefault("slow", p)
    p = p - lr * g
    if t % k == 0:
        p = s["slow"] = slow + alpha * (p - slow)
    return p


def run(step, params, noise):
    """Take all steps; return each step's parameters."""
    params = {name: np.array(p) for name, p in params.items()}
    memory = {name: {} for name in params}
    path = {name: [] for name in params}
    for k in range(len(next(iter(noise.values())))):
        for name in params:
            grad = 0.3 * params[name] + noise[name][k]
            params[name] = step(params[name], grad, memory[name], k + 1)
            path[name].append(params[name])
    return {name: np.stack(values) for name, values in path.items()}
