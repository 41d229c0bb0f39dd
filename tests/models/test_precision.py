import pytest
import torch
import transformers

from palu.models import computing_in
from tests.models.test_selfcheck import model_of


def test_the_body_computes_in_bfloat16_and_the_output_matrix_in_float32():
    model = model_of(transformers.LlamaConfig)
    seen = {}
    head, inner = model.get_output_embeddings(), model.model.layers[0].mlp.up_proj
    for name, module in (("head", head), ("inner", inner)):
        module.register_forward_hook(lambda _m, given, output, name=name: seen.update({name: (given[0], output)}))
    ids = torch.arange(3, 20)[None]
    with torch.no_grad(), computing_in(model, "bf16"):
        logits = model(input_ids=ids).logits
        model(input_ids=ids)
    assert seen["inner"][1].dtype == torch.bfloat16
    given, output = seen["head"]
    assert torch.equal(output, logits)
    assert torch.equal(logits, given.float() @ head.weight.T)
    with torch.no_grad():
        assert not torch.equal(model(input_ids=ids).logits, logits)
        torch.testing.assert_close(model(input_ids=ids).logits, logits, atol=0.1, rtol=0.1)
    assert seen["inner"][1].dtype == torch.float32


def test_an_error_in_the_output_matrix_leaves_the_precision_as_it_was():
    model = model_of(transformers.LlamaConfig)
    head = model.get_output_embeddings()
    with pytest.raises(RuntimeError), computing_in(model, "bf16"):
        try:
            head(torch.zeros(1, 3))
        finally:
            assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    assert not head._forward_hooks
    assert not head._forward_pre_hooks


def test_without_mixed_precision_nothing_changes():
    with computing_in(model_of(transformers.LlamaConfig), "no"):
        assert not torch.is_autocast_enabled("cpu")
