"""One prompt everywhere: what training saw, what lm_eval asks and what the demo sends are the same tokens."""

from medalpaca_data.core.prompt import user_message
from medalpaca_data.core.row import Row
from medalpaca_data.exams.exam import load_exam
from medalpaca_data.exams.item import exam_prompt


def harness(pair, **options):
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=str(pair.base), peft=str(pair.run), tokenizer=str(pair.run), device="cpu", **options
    )


def test_training_and_lm_eval_make_the_same_tokens(pair):
    from transformers import AutoTokenizer

    from medalpaca_train.tokenize import encode

    tokenizer = AutoTokenizer.from_pretrained(pair.run)
    model = harness(pair)
    item = load_exam(pair.exam).items[0]
    asked = exam_prompt(item, "text")
    row = Row(instruction=item.question, input="", output=item.options["A"])
    [sample] = encode([row], tokenizer, max_tokens=256, loss="answer").samples
    context, continuation = model._encode_pair(asked.prompt, asked.choices[0])
    ids = sample.ids.tolist()
    assert ids == [*context, *continuation, tokenizer.eos_token_id]
    assert ids.count(tokenizer.bos_token_id) == ids.count(tokenizer.eos_token_id) == 1
    learned = tokenizer.decode(ids[sample.prompt_length :])
    assert learned == item.options["A"] + tokenizer.eos_token


def test_the_chat_template_changes_no_token(pair):
    model = harness(pair)
    item = load_exam(pair.exam).items[0]
    for scoring in ("letter", "text"):
        asked = exam_prompt(item, scoring)
        chat = model.apply_chat_template([{"role": "user", "content": asked.prompt}])
        for choice in asked.choices:
            assert model._encode_pair(chat, choice) == model._encode_pair(asked.prompt, choice)
    # And a plain message, as a chat server would get it, becomes the prompt of a row.
    plain = model.apply_chat_template([{"role": "user", "content": user_message(item.question)}])
    assert model.tok_encode(plain) == model.tok_encode(exam_prompt(item, "text").prompt)
