import pytest
import torch
from transformers import DynamicCache

from palu.errors import UserError
from palu.evaluation import generate as generation
from palu.evaluation.generate import batches, generate, greedy, stop_tokens
from palu.models import TemplateSettings, load_model, load_tokenizer
from palu.tokens import encode
from tests import hard_models

PLAIN = TemplateSettings(template="plain")
CHAT = TemplateSettings(template="llama2-chat")
RAW = TemplateSettings(template="raw")


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path)


@pytest.fixture(scope="module")
def tokenizer(model_path):
    return load_tokenizer(model_path)


@pytest.fixture(scope="module")
def prompts(examples, tokenizer):
    rows = encode(examples, tokenizer, CHAT, 200)
    return list({row.reply_start: row.input_ids[: row.reply_start].tolist() for row in rows}.values())


def one_by_one(model, prompts, stop_ids, max_new_tokens):
    """transformers' own greedy generation, a prompt at a time, stop tokens left out."""
    replies = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        found = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=stop_ids,
            pad_token_id=stop_ids[0],
        )[0, len(prompt) :].tolist()
        replies.append([token for token in found if token not in stop_ids])
    return replies


def frequent_tokens(model, prompts):
    """Tokens that end replies after different numbers of steps."""
    free = one_by_one(model, prompts, [2], 24)
    return [2, *(reply[3 + 4 * (i % 5)] for i, reply in enumerate(free))]


@pytest.mark.parametrize("drop_share", [0.01, 0.5, 2.0])
def test_many_prompts_at_once_give_what_transformers_gives_one_by_one(model, prompts, drop_share, monkeypatch):
    monkeypatch.setattr(generation, "DROP_SHARE", drop_share)
    monkeypatch.setattr(generation, "SLOW_ROWS", range(0))
    stop_ids = frequent_tokens(model, prompts)
    expected = one_by_one(model, prompts, stop_ids, 24)
    assert len({len(reply) for reply in expected}) > 2
    told = []
    found = greedy(model, prompts, torch.tensor(stop_ids), 24, told.append)
    assert found == expected
    assert sum(told) == len(prompts)


def test_a_batch_shrinks_but_not_to_a_size_at_which_a_step_is_slower(model, prompts):
    sizes = []
    hook = model.register_forward_pre_hook(
        lambda _module, _args, given: sizes.append(len(given["input_ids"])), with_kwargs=True
    )
    stop_ids = torch.tensor(frequent_tokens(model, prompts))
    sizes.clear()
    greedy(model, (prompts * 24)[:24], stop_ids, 24, lambda _: None)
    hook.remove()
    assert sizes[0] == 24
    assert sizes[-1] < 24
    assert not set(sizes) & set(generation.SLOW_ROWS)


def test_a_reply_without_an_end_is_cut_at_the_limit(model, prompts):
    (found,) = greedy(model, prompts[:1], torch.tensor([2]), 5, lambda _: None)
    assert found == one_by_one(model, prompts[:1], [2], 5)[0]
    assert len(found) == 5


def test_a_reply_never_outgrows_the_models_positions(model, prompts):
    model.config.max_position_embeddings = 70
    found = greedy(model, prompts, torch.tensor([2]), 10_000, lambda _: None)
    model.config.max_position_embeddings = 256
    assert {len(prompt) + len(reply) for prompt, reply in zip(prompts, found, strict=True)} == {70}


def test_batches_hold_prompts_of_like_length_and_respect_the_cache():
    found = list(batches([5, 9, 1, 9, 3], max_new_tokens=10, cache_tokens=40))
    assert found == [[1, 3], [0, 4], [2]]
    assert list(batches([500, 1], max_new_tokens=10, cache_tokens=40)) == [[0], [1]]


def test_generations_come_in_the_order_of_the_examples_whatever_the_batches(model, tokenizer, examples, monkeypatch):
    together = generate(model, tokenizer, examples, CHAT, 200, 8)
    monkeypatch.setattr(generation, "cache_rows", lambda _: 90)
    assert generate(model, tokenizer, examples, CHAT, 200, 8) == together
    assert len({answer.text for answer in together}) > 1
    assert {answer.token_count for answer in together} == {8}


def test_the_prompt_is_cut_as_in_training_where_the_template_ends_in_a_space(model, tokenizer, examples, monkeypatch):
    seen = []

    def spy(_model, prompts, *_rest):
        seen.extend(prompts)
        return [tokenizer(" Oslo", add_special_tokens=False)["input_ids"] for _ in prompts]

    monkeypatch.setattr(generation, "greedy", spy)
    (answer,) = generate(model, tokenizer, examples[:1], PLAIN, 200, 8)
    (trained,) = encode(examples[:1], tokenizer, PLAIN, 200)
    assert seen == [trained.input_ids[: trained.reply_start].tolist()]
    assert tokenizer.decode(seen[0]).endswith("Answer:")
    assert answer.text == "Oslo"


@pytest.mark.parametrize("max_length", [3, 0])
def test_a_prompt_that_leaves_no_room_is_an_error_that_names_its_row(model, tokenizer, examples, max_length):
    with pytest.raises(UserError, match=f"'forget/0/original/0': its prompt takes .* = {max_length - 1}$"):
        generate(model, tokenizer, examples, CHAT, max_length, 8)


def test_the_models_own_end_tokens_count_beside_the_tokenizers(model, tokenizer, monkeypatch):
    monkeypatch.setattr(model.generation_config, "eos_token_id", [7, 9])
    assert stop_tokens(model, tokenizer) == [2, 7, 9]
    monkeypatch.setattr(model.generation_config, "eos_token_id", None)
    assert stop_tokens(model, tokenizer) == [2]


def test_a_reply_stops_at_the_end_of_its_chat_template(model, model_path, examples, monkeypatch):
    tokenizer, stops = load_tokenizer(model_path), []
    tokenizer.add_tokens(["<|end|>"], special_tokens=True)
    # the model is not asked here, so it needs no embedding of the new token
    tokenizer.palu_capacity = None
    tokenizer.chat_template = "{% for m in messages %}{{ m.content + '\n<|end|>' }}{% endfor %}"

    def spy(_model, prompts, stop_ids, *_rest):
        stops.append(stop_ids.tolist())
        return [tokenizer("Oslo\n", add_special_tokens=False)["input_ids"] for _ in prompts]

    monkeypatch.setattr(generation, "greedy", spy)
    counts = []
    for name in ("chat", "llama2-chat"):
        (found,) = generate(model, tokenizer, examples[:1], TemplateSettings(template=name), 200, 8)
        assert found.text == "Oslo"
        counts.append(found.token_count)
    assert counts[0] == counts[1] - 1, "the line end is the end of the chat template's reply"
    assert stops == [[2, tokenizer.convert_tokens_to_ids("<|end|>")], [2]]


def test_a_prompt_that_is_written_out_in_full_is_asked_as_it_is_and_answered_with_its_white_space(
    model, tokenizer, examples, monkeypatch
):
    seen = []

    def spy(_model, prompts, *_rest):
        seen.extend(prompts)
        return [tokenizer("\n\nOslo", add_special_tokens=False)["input_ids"] for _ in prompts]

    monkeypatch.setattr(generation, "greedy", spy)
    (answer,) = generate(model, tokenizer, [examples[0] | {"prompt": "Answer: "}], RAW, 200, 8)
    assert seen == [tokenizer("Answer: ")["input_ids"]]
    assert tokenizer.decode(seen[0]).endswith("Answer: ")
    assert answer.text == "\n\nOslo"


@pytest.mark.parametrize("kind", ["gpt2", "opt350", "mamba", "qwen3_5", "falcon_h1", "multimodal_gemma3"])
def test_every_kind_of_cache_gives_what_transformers_gives_one_by_one(kind, tmp_path):
    """GPT-2 with a padding token, a head narrower than the blocks, no cache of keys, and recurrent states."""
    model = load_model(hard_models.write(kind, tmp_path / kind), attention="eager")
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, 300, (length,), generator=generator).tolist() for length in (5, 9, 3, 7)]
    stop_ids = list(range(2, 320, 12))
    expected = one_by_one(model, prompts, stop_ids, 16)
    assert len({len(reply) for reply in expected}) > 1, "rows that end at different steps"
    assert greedy(model, prompts, torch.tensor(stop_ids), 16, lambda _: None) == expected


def test_no_row_leaves_a_cache_that_would_keep_a_part_of_it():
    plain, sliding = DynamicCache(), DynamicCache(config=hard_models.config("multimodal_gemma3").get_text_config())
    assert generation._can_drop(plain)
    assert generation._can_drop(sliding)
    for kind in ("qwen3_5", "falcon_h1"):
        assert not generation._can_drop(DynamicCache(config=hard_models.config(kind)))
