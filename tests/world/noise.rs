//! Flips of any pairs: exact in number, honest in marking, nested in rate.

use lpc::data::noise::flip;
use lpc::data::pairs::Pair;
use proptest::prelude::*;

fn numbered(count: usize) -> Vec<Pair> {
    let pair = |i| Pair {
        id: format!("{i}"),
        source: "any".into(),
        ..Pair::of_texts(&format!("prompt {i}"), &format!("chosen {i}"), &format!("rejected {i}"))
    };
    (0..count).map(pair).collect()
}

proptest! {
    #[test]
    fn flips_are_exact(count in 0usize..200, rate in 0.0..=1.0f64, marked: bool, seed: u64) {
        let before = numbered(count);
        let mut after = before.clone();
        let flipped = flip(&mut after, rate, marked, seed).unwrap();
        prop_assert!((flipped.len() as f64 - rate * count as f64).abs() <= 0.5);
        prop_assert!(flipped.is_sorted_by(|a, b| a < b));
        for (i, (b, a)) in before.iter().zip(&after).enumerate() {
            let turned = flipped.contains(&i);
            let prompt = b.prompt_text().into_owned() + if turned && marked { " [FLIP]" } else { "" };
            let (chosen, rejected) = (b.chosen_text(), b.rejected_text());
            let (chosen, rejected) = if turned { (rejected, chosen) } else { (chosen, rejected) };
            let expected = Pair::of_texts(&prompt, &chosen, &rejected);
            prop_assert_eq!(a, &Pair { id: b.id.clone(), source: b.source.clone(), ..expected });
        }
        let fewer = flip(&mut before.clone(), rate * 0.5, marked, seed).unwrap();
        prop_assert!(fewer.iter().all(|i| flipped.contains(i)));
    }
}

#[test]
fn the_seed_chooses() {
    let choose = |seed| flip(&mut numbered(100), 0.5, false, seed).unwrap();
    assert_eq!(choose(1), choose(1));
    assert_ne!(choose(1), choose(2));
    assert_eq!(flip(&mut [], 0.5, true, 0).unwrap(), Vec::<usize>::new());
    assert_eq!(
        flip(&mut [], -0.1, true, 0).unwrap_err().to_string(),
        "flip: rate = -0.1, expected in [0, 1]"
    );
}
