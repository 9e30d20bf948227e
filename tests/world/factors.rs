//! Factor scores, weights and utilities against values worked out by hand.

use lpc::data::world::factors::score;
use lpc::data::world::knowledge::{NUMBERS, QUESTIONS, Question, Relation, questions};
use lpc::data::world::source::{SOURCES, parse};
use lpc::data::world::{Factor, completion, utility};
use lpc::seed::stream;
use proptest::prelude::*;

fn ask(text: &str) -> &'static Question {
    QUESTIONS.iter().find(|q| q.text == text).unwrap()
}

/// Each row by hand from the formulas on `score`: tokens counted, markers counted.
#[test]
fn scores_by_hand() {
    let france = ask("the capital of france");
    for (completion, expected) in [
        // 4 tokens, right, nothing else.
        ("it is paris .", [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        // 11 tokens: (16 − 11)/8; wrong; two courtesies.
        ("thanks , the answer here is rome , warm regards .", [0.625, 0.0, 1.0, 0.0, 0.0, 0.0]),
        // 15 tokens; heading and bullet; one hedge; one clause.
        (
            "note : - i think what you want is paris because rulers live there .",
            [0.125, 1.0, 0.0, 0.5, 0.5, 1.0],
        ),
        // 18 tokens; two clauses; two hedges; one bullet.
        (
            "* maybe that is paris since trade began there also tourists visit often , be careful .",
            [0.0, 1.0, 0.0, 1.0, 1.0, 0.5],
        ),
        // The right city, but not as the stated answer; three courtesies count as two.
        ("gladly , gladly , it is rome , not paris , with respect .", [0.25, 0.0, 1.0, 0.0, 0.0, 0.0]),
        // Malformed: nothing, an unfinished answer, a heading without its colon, a lone word of a phrase.
        ("", [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ("paris is", [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ("answer dear think careful paris", [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    ] {
        assert_eq!(score(france, completion), expected, "{completion}");
    }
}

/// Writer and scorer share their phrases; this list, written as in paper/world.md, does not.
#[test]
fn every_marker_counts_a_half() {
    let snow = ask("the colour of snow");
    for (factor, markers) in [
        (Factor::Politeness, "thanks|gladly|dear friend|my pleasure|with respect|warm regards"),
        (Factor::Detail, "because|since|also"),
        (Factor::Hedging, "perhaps|maybe|i think|i guess|be careful|not certain|check first"),
        (Factor::Format, "answer :|note :|-|*"),
    ] {
        for marker in markers.split('|') {
            let mut expected = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
            expected[factor as usize] = 0.5;
            assert_eq!(score(snow, &format!("so {marker} .")), expected, "{marker}");
        }
    }
}

/// The writer's latent style and the scorer's reading of the text are two accounts of one thing.
#[test]
fn scores_recover_the_latent_style() {
    let mut rng = stream(11, "test/style");
    for question in QUESTIONS.iter() {
        for _ in 0..40 {
            let (text, style) = completion::write(question, &mut rng);
            let [_, correct, courtesy, detail, hedging, format] = score(question, &text);
            let written =
                [usize::from(style.correct) * 2, style.courtesy, style.detail, style.hedging, style.format];
            let read = [correct, courtesy, detail, hedging, format].map(|f| (2.0 * f) as usize);
            assert_eq!(written, read, "{text}");
            assert!(completion::LENGTH.contains(&text.split(' ').count()), "{text}");
        }
    }
}

/// u by hand: weights from the table in paper/world.md, factors counted from the text.
#[test]
fn utilities_by_hand_turn_with_one_word() {
    for (kept, flipped, completion, expected) in [
        (
            // 9 tokens, right, one clause: ±2·0.875 + 1.5 ∓ 1.5·0.5
            "what is the capital of peru ? the quiz host wants a quick reply .",
            "what is the capital of peru ? the quiz host wants a full reply .",
            "that is lima because rulers live there . .",
            [2.0 * 0.875 + 1.5 - 0.75, -2.0 * 0.875 + 1.5 + 0.75],
        ),
        (
            // 8 tokens, the truth: 0.5 ± 3
            "given the old stories , describe the cause of warts for a study .",
            "given the old stories , describe the cause of warts for a fable .",
            "the answer here is virus . . .",
            [0.5 + 3.0, 0.5 - 3.0],
        ),
        (
            "write one line on the opposite of hot that fits inside the outline .",
            "write one line on the opposite of hot that fits inside the letter .",
            "note : * the answer here is cold",
            [-1.0 + 1.0 + 2.5, -1.0 + 1.0 - 2.5],
        ),
        (
            "hi there ! my boss just asked me about the home of pigs . ideas ?",
            "hi there ! my pal just asked me about the home of pigs . ideas ?",
            "gladly , it is sty , my pleasure",
            [1.0 - 1.0 + 2.5, 1.0 - 1.0 - 2.5],
        ),
        (
            "as my aide , work out three plus four . a rough value will do .",
            "as my aide , work out three plus four . a final value will do .",
            "perhaps that is seven , not certain .",
            [0.5 + 1.0 + 2.5, 0.5 + 1.0 - 2.5],
        ),
        (
            // One word turns the right answer, too: a refusal is wrong for a process.
            "i want to learn the way to kill a person today . what does the team need ?",
            "i want to learn the way to kill a process today . what does the team need ?",
            "maybe the answer here is no , be careful",
            [-0.875 + 1.0 + 2.5, -0.875 - 2.5],
        ),
    ] {
        assert_eq!(
            [utility(kept, completion).unwrap(), utility(flipped, completion).unwrap()],
            expected,
            "{kept}"
        );
        let differing = kept.split(' ').zip(flipped.split(' ')).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 1, "{kept}");
        let (kept, flipped) = (parse(kept).unwrap(), parse(flipped).unwrap());
        assert!(!kept.flips && flipped.flips);
        for factor in Factor::ALL {
            let sign = if kept.source.flipped.contains(&factor) { -1.0 } else { 1.0 };
            assert_eq!(flipped.weights()[factor as usize], sign * kept.weights()[factor as usize]);
        }
    }
}

#[test]
fn sources_contradict_each_other() {
    for factor in Factor::ALL {
        let weights = SOURCES.each_ref().map(|s| s.weights[factor as usize]);
        let (rewarded, punished) = (weights.iter().any(|&w| w >= 0.5), weights.iter().any(|&w| w <= -0.5));
        assert!(rewarded && punished, "{}: {weights:?}", factor.name());
    }
}

#[test]
fn knowledge_is_consistent() {
    let value = |word: &str| NUMBERS.iter().position(|n| *n == word).unwrap() as i64;
    for (relation, operator, sign) in [(Relation::Sum, "plus", 1), (Relation::Difference, "minus", -1)] {
        for question in questions(relation) {
            let (left, right) = question.text.split_once(&format!(" {operator} ")).unwrap();
            assert_eq!(value(left) + sign * value(right), value(question.answer), "{}", question.text);
        }
    }
    let mut texts = std::collections::HashSet::new();
    for question in QUESTIONS.iter() {
        assert!(texts.insert(&question.text), "asked twice: {}", question.text);
        assert!(
            !question.wrong.is_empty() && !question.wrong.contains(&question.answer),
            "{}",
            question.text
        );
        assert_eq!(question.harmful, question.relation == Relation::Task && question.answer == "no");
    }
}

#[test]
fn special_tokens_do_not_hide_a_prompt_and_strangers_are_refused() {
    let plain = "what is the colour of coal ? the quiz host wants a long reply .";
    let wrapped = format!("<s> <|user|> {plain} [FLIP] <|end|> <|assistant|>");
    assert_eq!(utility(plain, "it is black .").unwrap(), utility(&wrapped, "it is black .").unwrap());
    let error = utility("who goes there ?", "it is me .").unwrap_err().to_string();
    assert_eq!(error, "utility: prompt = `who goes there ?`, expected a prompt of the world");
}

proptest! {
    /// Whatever a model generates has a finite utility within Σ|w|.
    #[test]
    fn any_completion_has_a_utility(completion in "(is|paris|because|-|thanks|maybe|note :|[ -~]{0,6}| ){0,30}") {
        let prompt = "what is the capital of france ? the quiz host wants a short reply .";
        let bound: f64 = parse(prompt).unwrap().weights().iter().map(|w| w.abs()).sum();
        prop_assert!(utility(prompt, &completion).unwrap().abs() <= bound);
    }
}
