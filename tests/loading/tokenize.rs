use crate::message::message;
use crate::tiny;
use lpc::config::EmptyCompletion;
use lpc::config::Truncation;
use lpc::data::pairs::{Pair, read};
use lpc::data::tokenize::{TokenReport, TokenizedPair, tokenize};
use lpc::text::message::Message;
use lpc::text::tokenizer::TextTokenizer;
use proptest::prelude::*;
use std::path::Path;

const EOS: u32 = 1;

fn pair(id: usize, prompt: &str, chosen: &str, rejected: &str) -> Pair {
    Pair { id: id.to_string(), ..Pair::of_texts(prompt, chosen, rejected) }
}

fn truncation(max_length: usize, max_prompt_length: usize) -> Truncation {
    Truncation { max_length, max_prompt_length }
}

fn ids(tokenizer: &TextTokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, false).unwrap()
}

#[test]
fn template_end_of_turn_and_truncation_by_hand() {
    let tokenizer = tiny::tokenizer(Some(tiny::TEMPLATE));
    // One token a byte, except for `ab` and ` ab`.
    let pairs = [pair(7, "hi", "ab ab", "no"), pair(8, "0123456789", "abcdef", "x")];
    let whole = tokenize(&pairs, &tokenizer, &truncation(100, 50)).unwrap();
    assert_eq!(whole[0].prompt, ids(&tokenizer, "<s>user\nhi</s><s>assistant\n"));
    assert_eq!(whole[0].prompt[0], 0);
    let (ab, space_ab) = (ids(&tokenizer, "ab")[0], ids(&tokenizer, " ab")[0]);
    assert_eq!(whole[0].chosen, [ab, space_ab, EOS]);
    assert_eq!(whole[0].rejected, [ids(&tokenizer, "no"), vec![EOS]].concat());
    assert_eq!(TokenReport::of(&whole), TokenReport { pairs: 2, ..Default::default() });

    // The prompt has 18 and 26 tokens; 20 are kept from the end, which leaves room for 4.
    let cut = tokenize(&pairs, &tokenizer, &truncation(24, 20)).unwrap();
    assert_eq!(cut[0], whole[0]);
    let expected = TokenizedPair {
        index: 1,
        prompt: whole[1].prompt[whole[1].prompt.len() - 20..].to_vec(),
        chosen: ids(&tokenizer, "abcde"),
        rejected: [ids(&tokenizer, "x"), vec![EOS]].concat(),
        prompt_truncated: true,
        completion_truncated: true,
        boundary_moved: false,
        dressed: false,
        factor_weights: None,
    };
    assert_eq!(cut[1], expected);
    let report = TokenReport {
        pairs: 2,
        prompts_truncated: 1,
        completions_truncated: 1,
        truncated: 1,
        ..TokenReport::default()
    };
    assert_eq!(TokenReport::of(&cut), report);
}

#[test]
fn without_a_template_the_prompt_is_the_text() {
    let tokenizer = tiny::tokenizer(None);
    let tokenized = tokenize(&[pair(0, "a b", "c", "d")], &tokenizer, &truncation(9, 5)).unwrap();
    assert_eq!(tokenized[0].prompt, ids(&tokenizer, "a b"));
}

#[test]
fn texts_without_tokens_name_their_pair() {
    let tokenizer = tiny::tokenizer(None);
    for (pair, what) in [
        (pair(41, "", "c", "d"), "prompt of pair 41"),
        (pair(42, "p", "", "d"), "chosen of pair 42"),
        (pair(43, "p", "c", ""), "rejected of pair 43"),
    ] {
        let message = message(tokenize(&[pair], &tokenizer, &truncation(9, 5)));
        assert!(message.contains(what) && message.contains("at least one token"), "{message}");
    }
    for (longest, prompt) in [(5, 5), (0, 0), (5, 0)] {
        let message =
            message(tokenize(&[pair(1, "prompt", "c", "d")], &tokenizer, &truncation(longest, prompt)));
        assert!(message.contains("max_prompt_length"), "{message}");
    }
}

/// What was said before goes through the template too; without one it is refused, not left out.
#[test]
fn a_context_needs_a_template() {
    let mut pair = pair(1, "now", "a", "b");
    let before = [Message::new("system", "brief"), Message::user("before"), Message::assistant("yes")];
    pair.prompt.splice(0..0, before);
    let with = tiny::tokenizer(Some(tiny::TEMPLATE));
    let tokenized = tokenize(std::slice::from_ref(&pair), &with, &truncation(1000, 500)).unwrap();
    let text = with.decode(&tokenized[0].prompt, false).unwrap();
    let expected =
        "<s>system\nbrief</s><s>user\nbefore</s><s>assistant\nyes</s><s>user\nnow</s><s>assistant\n";
    assert_eq!(text, expected);
    let message = message(tokenize(&[pair], &tiny::tokenizer(None), &truncation(1000, 500)));
    assert!(
        message.contains(
            "prompt of pair 1 (number 1) = 4 messages, expected one text, or a model with a chat template"
        ),
        "{message}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn truncation_keeps_the_right_ends(
        texts in prop::collection::vec(("[ -~é]{1,40}", "[ -~]{1,40}", "[ -~]{1,40}"), 1..8),
        max_prompt_length in 1usize..60,
        room in 1usize..40,
        template in any::<bool>(),
    ) {
        let tokenizer = tiny::tokenizer(template.then_some(tiny::TEMPLATE));
        let pairs: Vec<Pair> = texts.iter().enumerate().map(|(i, (p, c, r))| pair(i, p, c, r)).collect();
        let whole = tokenize(&pairs, &tokenizer, &truncation(10_000, 5_000)).unwrap();
        let limits = truncation(max_prompt_length + room, max_prompt_length);
        for (cut, whole) in tokenize(&pairs, &tokenizer, &limits).unwrap().iter().zip(&whole) {
            prop_assert_eq!(cut.index, whole.index);
            prop_assert!(whole.prompt.ends_with(&cut.prompt));
            let fits = whole.prompt.len() + whole.chosen.len().max(whole.rejected.len()) <= limits.max_length;
            let kept = if fits { whole.prompt.len() } else { whole.prompt.len().min(max_prompt_length) };
            prop_assert_eq!(cut.prompt.len(), kept);
            prop_assert_eq!(cut.prompt_truncated, cut.prompt.len() < whole.prompt.len());
            let room = limits.max_length - cut.prompt.len();
            let mut lost = false;
            for (cut, whole) in [(&cut.chosen, &whole.chosen), (&cut.rejected, &whole.rejected)] {
                prop_assert!(whole.starts_with(cut));
                prop_assert_eq!(cut.len(), whole.len().min(room));
                prop_assert_eq!(whole.last(), Some(&EOS));
                lost |= cut.len() < whole.len();
            }
            prop_assert_eq!(cut.completion_truncated, lost);
        }
    }
}

/// UltraFeedback as TRL's people binarised it, when `LPC_ULTRAFEEDBACK` names its folder.
#[test]
fn real_pairs() {
    let Some(folder) = std::env::var_os("LPC_ULTRAFEEDBACK") else {
        return println!("skipped: LPC_ULTRAFEEDBACK names no folder with train.jsonl and test.jsonl");
    };
    let tokenizer = tiny::tokenizer(Some(tiny::TEMPLATE));
    for name in ["train.jsonl", "test.jsonl"] {
        let read = read(&Path::new(&folder).join(name), Some(500), EmptyCompletion::LeaveOut).unwrap();
        let tokenized = tokenize(&read.pairs, &tokenizer, &truncation(1024, 512)).unwrap();
        assert_eq!(tokenized.len(), read.pairs.len());
        for (tokenized, pair) in tokenized.iter().zip(&read.pairs) {
            if !tokenized.completion_truncated {
                let text = tokenizer.decode(&tokenized.chosen, true).unwrap();
                assert_eq!(text, pair.chosen_text(), "pair {}", pair.id);
            }
        }
        let report = TokenReport::of(&tokenized);
        println!("{name}: {report:?}, {} identical, left out: {:?}", read.identical, read.left_out);
    }
}
