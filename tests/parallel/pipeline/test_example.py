"""The example of a GPT-like model trains as a pipeline as it does by the plain gradient."""

import jax
import numpy as np

import funcnet as fn
from examples import pipeline_gpt

SIZES = {"width": 16, "layers": 4, "context": 8, "batch-size": 16, "microbatches": 4, "steps": 4}


def test_schedules_train_alike(capsys):
    sizes = [f"--{name}={size}" for name, size in SIZES.items()]
    found = {
        schedule: pipeline_gpt.main([*sizes, "--stages", stages, "--schedule", schedule])
        for schedule, stages in (("gpipe", "2"), ("1f1b", "4"))
    }
    np.testing.assert_allclose(found["gpipe"], found["1f1b"], rtol=1e-5)
    assert abs(found["1f1b"][0] - np.log(65)) < 0.25  # nothing learned yet: one of 65 characters
    assert found["1f1b"][-1] < found["1f1b"][0]
    assert capsys.readouterr().out.count("nats a character") == 4


def test_a_file_of_weights_is_that_of_the_list_of_blocks():
    def names(kind):
        model = kind(65, 8, 16, 4, 4, 0.0)
        return fn.state_dict(model, *fn.functionalize(model).init(jax.random.key(0))).keys()

    assert names(pipeline_gpt.PipelineGPT) == names(pipeline_gpt.CharGPT)
