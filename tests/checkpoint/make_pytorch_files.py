"""Files of torch.save for tests without PyTorch: ``python -m tests.checkpoint.make_pytorch_files`` writes them."""

from pathlib import Path

FOLDER = Path(__file__).with_name("pytorch_files")

DTYPES = ["float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool"]
DTYPES += [f"float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")]
DTYPES += [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]

VALUES = [1, 2, 4, 4, 2, 1]
"""Every dtype has them, or True in their place."""

FORMS = {
    "zip": {},
    "zip_protocol_4": {"pickle_protocol": 4},
    "stream": {"_use_new_zipfile_serialization": False},
    "stream_protocol_5": {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
}


def main() -> None:
    """Write each form of the good file, and files of what is refused."""
    import torch

    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    values = torch.tensor(VALUES)
    base = torch.arange(24.0)
    linear = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.5)
    linear(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        linear.weight.copy_(values.reshape(3, 2))
        linear.bias.zero_()
    good = {
        "dtypes": {name: values.to(getattr(torch, name)).reshape(2, 3) for name in DTYPES},
        "views": {
            "transposed": base.reshape(4, 6).t(),
            "stepped": base[3::4],
            "expanded": base[:2].reshape(2, 1).expand(3, 2, 4),
            "scalar": base[5],
            "empty": base[:0].reshape(0, 3),
            "conjugated": torch.complex(base, base)[2:4].conj(),
            "negated": torch.complex(base, base)[2:4].conj().imag,
        },
        "model": linear.state_dict(),
        "optimizer": optimizer.state_dict(),
        "plain": [3, 2.5, "text", None, True, (torch.Size([2]), torch.device("cpu"))],
    }
    for form, settings in FORMS.items():
        torch.save(good, FOLDER / f"{form}.pt", **settings)
        bad = {
            "good": torch.ones(2),
            "sparse": torch.eye(2).to_sparse(),
            "quantized": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            "meta": torch.ones(2, device="meta"),
        }
        if form.startswith("zip"):  # streams hold a module's source too
            bad["module"] = torch.nn.Linear(1, 1)
        torch.save(bad, FOLDER / f"refused_{form}.pt", **settings)


if __name__ == "__main__":
    main()
