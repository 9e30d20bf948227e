//! `paper/world.md` shows the world as it is.

use lpc::config::World;
use lpc::data::world::source::{Cue, SOURCES};
use lpc::data::world::{Factor, generate, vocabulary};

const PAGE: &str = include_str!("../../paper/world.md");

#[test]
fn the_page_shows_the_weights_and_cues() {
    for source in &SOURCES {
        let weight = |f: Factor| {
            let star = if source.flipped.contains(&f) { "*" } else { "" };
            format!("{}{star}", source.weights[f as usize])
        };
        let [keeps, flips] = match source.cue {
            Cue::Word { keep, flip } => [keep.join(", "), flip.join(", ")],
            Cue::Harm => ["harmful task".into(), "harmless task".into()],
        };
        let row = format!("| {} | {keeps} | {flips} |", Factor::ALL.map(weight).join(" | "));
        let shown = PAGE.lines().any(|l| l.starts_with(&format!("| {} |", source.name)) && l.ends_with(&row));
        assert!(shown, "{}: {row}", source.name);
    }
    assert!(PAGE.contains(&format!("{} tokens in all", vocabulary().len())));
    assert!(PAGE.contains(&format!("sharpness ({})", World::default().sharpness)));
}

#[test]
fn the_page_shows_real_pairs() {
    let data = generate(&World::default()).unwrap();
    for source in &SOURCES {
        let first = data.train.iter().find(|p| p.pair.source == source.name).unwrap();
        let (pair, truth) = (&first.pair, &first.truth);
        let shown = format!(
            "  x    {}\n  y_w  {}\n  y_l  {}\n  u    {} against {}, bayes {:.3}\n",
            pair.prompt_text(),
            pair.chosen_text(),
            pair.rejected_text(),
            truth.utility_chosen,
            truth.utility_rejected,
            truth.bayes
        );
        assert!(PAGE.contains(&shown), "{}\n{shown}", source.name);
    }
}
