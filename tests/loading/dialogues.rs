//! Texts and messages that are easily dressed twice, cut short or lost.

use crate::message::message;
use crate::scored_tokens::{kind, tokenizer};
use crate::tiny;
use lpc::config::Truncation;
use lpc::data::pairs::Pair;
use lpc::data::tokenize::{TokenizedPair, tokenize};
use lpc::text::message::Message;
use lpc::text::tokenizer::TextTokenizer;
use serde_json::json;
use std::str::FromStr;
use tokenizers::{AddedToken, Tokenizer};

const LIMITS: Truncation = Truncation { max_length: 10_000, max_prompt_length: 5_000 };

fn tokens(pair: &Pair, tokenizer: &TextTokenizer) -> lpc::Result<TokenizedPair> {
    tokenize(std::slice::from_ref(pair), tokenizer, &LIMITS).map(|mut pairs| pairs.remove(0))
}

fn same(a: &Pair, b: &Pair, tokenizer: &TextTokenizer) {
    let [a, b] = [a, b].map(|pair| tokens(pair, tokenizer).unwrap());
    assert_eq!((&a.prompt, &a.chosen, &a.rejected), (&b.prompt, &b.chosen, &b.rejected));
    assert!(!a.boundary_moved);
}

fn conversation(prompt: Vec<Message>) -> Pair {
    let answer = |text: &str| vec![Message::assistant(text)];
    Pair { prompt, chosen: answer("yes"), rejected: answer("no"), ..Pair::default() }
}

#[test]
fn an_end_token_in_an_earlier_turn() {
    let tokenizer = tokenizer(&kind("ChatML"));
    let turns = |first: &str| {
        conversation(vec![Message::user("sky?"), Message::assistant(first), Message::user("and now?")])
    };
    same(&turns("blue<|im_end|>\n"), &turns("blue"), &tokenizer);
    // The tokenizer's own end token stands for the same.
    same(&turns("blue<|endoftext|>"), &turns("blue"), &tokenizer);
}

/// Runs of spaces are tokens of their own in some vocabularies; they end no turn.
#[test]
fn white_space_that_is_a_token() {
    let spec = kind("ChatML");
    let plain = tokenizer(&spec);
    let mut wide = Tokenizer::from_str(&spec["tokenizer"].to_string()).unwrap();
    wide.add_tokens([AddedToken::from(" ".repeat(24), false)]).unwrap();
    let eos = wide.token_to_id("<|endoftext|>").unwrap();
    let end = wide.token_to_id("<|im_end|>").unwrap();
    let template = spec["template"].as_str().map(String::from);
    let wide = TextTokenizer::new(wide, vec![eos], None, template).unwrap();
    assert_eq!(wide.eos_ids(), [eos, end]);
    let pair = Pair::of_texts("code", "def f(x):\n    return x", "no");
    let [a, b] = [&plain, &wide].map(|tokenizer| tokens(&pair, tokenizer).unwrap());
    assert_eq!((a.prompt, a.chosen), (b.prompt, b.chosen));
    let spaces = format!("a{}b", " ".repeat(24));
    let text = tokens(&Pair::of_texts(&spaces, &spaces, "no"), &wide).unwrap();
    assert_eq!(wide.decode(&text.chosen, false).unwrap(), format!("{spaces}<|im_end|>"));
}

/// Prompt and answers each with their own header, as some data sets are published.
#[test]
fn texts_that_hold_the_template_in_parts() {
    let tokenizer = tokenizer(&kind("ChatML"));
    let whole = |pair: &Pair| {
        let tokens = tokens(pair, &tokenizer).unwrap();
        assert!(tokens.dressed);
        tokenizer.decode(&[tokens.prompt, tokens.chosen].concat(), false).unwrap()
    };
    let expected = "<|im_start|>user\nsky?<|im_end|>\n<|im_start|>assistant\nblue<|im_end|>";
    let header = "<|im_start|>assistant\n";
    let (prompt, chosen) = ("<|im_start|>user\nsky?<|im_end|>\n", format!("{header}blue<|im_end|>\n"));
    assert_eq!(whole(&Pair::of_texts(prompt, &chosen, &format!("{header}red<|im_end|>\n"))), expected);
    // A system message of its own in front, no end behind.
    let system = "<|im_start|>system\nshort<|im_end|>\n";
    let pair = Pair::of_texts(&format!("{system}{prompt}{header}"), "blue", "red");
    assert_eq!(whole(&pair), format!("{system}{expected}"));
}

#[test]
fn a_thought_that_a_template_begins() {
    let tokenizer = tokenizer(&kind("a thought that is dropped"));
    let dressed = "<|im_start|>user\nsky?<|im_end|>\n<|im_start|>assistant\n";
    assert!(tokens(&Pair::of_texts(dressed, "blue", "red"), &tokenizer).unwrap().dressed);
}

/// Who asks about a mark has not written a template.
#[test]
fn a_mark_that_is_spoken_of() {
    for name in ["Mistral v1", "Mistral v3", "ChatML", "Zephyr"] {
        let tokenizer = tokenizer(&kind(name));
        let question = "What do [/INST] and <|assistant|> mean?";
        let pair = Pair::of_texts(question, "They are marks.", "No idea.");
        let tokens = tokens(&pair, &tokenizer).unwrap();
        assert!(!tokens.dressed, "{name}");
        assert!(tokenizer.decode(&tokens.prompt, false).unwrap().len() > question.len() + 5, "{name}");
    }
}

#[test]
fn one_end_behind_a_plain_text() {
    let tokenizer = tokenizer(&kind("SentencePiece, legacy"));
    same(&Pair::of_texts("sky?", "blue</s>\n", "red"), &Pair::of_texts("sky?", "blue", "red"), &tokenizer);
}

/// One row of forty; the same where memory runs out instead.
#[test]
fn a_refusal_names_row_and_id() {
    let doubled = "{% set x = 'ab' %}".to_string() + &"{% set x = x ~ x %}".repeat(60);
    for (what, said) in [("{{ raise_exception('no poems') }}", "no poems"), (&doubled, "more than 64 MiB")] {
        let template = format!(
            "{{% for m in messages %}}{{% if 'poem' in m.content %}}{what}{{% endif %}}<{{{{ m.content }}}}>{{% endfor %}}"
        );
        let tokenizer = tiny::tokenizer(Some(&template));
        let pair = |i: usize| {
            let prompt = if i == 29 { "a poem" } else { "a" };
            Pair { id: format!("q{i}"), ..conversation(vec![Message::user(prompt)]) }
        };
        let pairs: Vec<Pair> = (0..40).map(pair).collect();
        let message = message(tokenize(&pairs, &tokenizer, &LIMITS));
        assert!(message.contains("pair q29 (number 30)") && message.contains(said), "{message}");
    }
}

#[test]
fn what_a_template_leaves_out_is_refused() {
    let template = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<s>{{ m.role }}\n\
                    {% if m.content %}{{ m.content }}{% elif m.tool_calls %}call{% endif %}</s>{% endif %}{% endfor %}";
    let tokenizer = tiny::tokenizer(Some(template));
    let keys = |value: serde_json::Value| Message::from_keys(value.as_object().unwrap().clone()).unwrap();
    let call = json!([{"type": "function", "function": {"name": "weather", "arguments": {}}}]);
    let cases = [
        (
            vec![Message::user("a"), Message::new("tool", "21 degrees")],
            "message 1 (tool) of pair  (number 1) = a content that",
        ),
        (
            vec![Message::new("developer", "be brief"), Message::user("a")],
            "message 0 (developer) of pair  (number 1) = a content",
        ),
        (
            vec![Message::new("system", "be brief"), Message::user("a")],
            "message 0 (system) of pair  (number 1) = a content",
        ),
        (
            vec![
                Message::user("a"),
                keys(json!({"role": "assistant", "tool_calls": call})),
                Message::user("b"),
            ],
            "message 1 (assistant) of pair  (number 1) = a tool call that",
        ),
    ];
    for (prompt, expected) in cases {
        let message = message(tokens(&conversation(prompt), &tokenizer));
        assert!(message.contains(expected), "{message}");
    }
    let mut pair = conversation(vec![Message::user("a")]);
    for (name, expected) in
        [("messages", "not the row's to say"), ("style", "\"style\", which the template never")]
    {
        pair.template_kwargs = [(name.to_string(), json!(1))].into_iter().collect();
        assert!(message(tokens(&pair, &tokenizer)).contains(expected));
    }
    pair.template_kwargs.clear();
    pair.tools = Some(json!([]));
    assert!(message(tokens(&pair, &tokenizer)).contains("tools, which the template never mentions"));
}
