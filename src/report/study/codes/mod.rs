//! A run's codes as its study shows them: how much each is used, what they know, and how far the bound
//! was off while it was trained.

mod figure;

pub(super) use figure::svg;

use crate::error::{Error, Result};
use crate::report::document::{Block, Cell, Column, Figure, Grid, Medium, Section, columns};
use crate::report::text::{p_value, percent};
use crate::run::codes::{Codes, Information};
use crate::run::evidence::{CodesOfRun, Evidence, Run};

/// Codes whose tokens a page shows.
const SHOWN: usize = 8;
/// Of mean weights that add up to 1.
const ROUNDING: f64 = 1e-4;

/// Codes, the run they are of, and the bound's gap over the training of every run of its arm.
pub(super) struct Reading<'a> {
    pub(super) codes: &'a Codes,
    run: &'a Run,
    /// Share of training, gap in nats.
    gaps: Vec<Vec<(f64, f64)>>,
}

/// Errors: codes of a run that the evidence lacks, or numbers that are no codes.
pub(super) fn reading(evidence: &Evidence) -> Result<Option<Reading<'_>>> {
    let Some(CodesOfRun { run: id, codes }) = &evidence.header.codes else { return Ok(None) };
    let fault = |argument: &str, got: String, expected: &str| {
        Err(Error::argument("study", format!("codes: {argument}"), got, expected))
    };
    let Some(run) = evidence.runs.iter().find(|r| r.manifest.run == *id) else {
        return fault("run", id.clone(), "a run of the evidence");
    };
    let planned = run.manifest.recipe["latent"]["codes"].as_u64();
    if codes.usage.is_empty() || planned != Some(codes.usage.len() as u64) {
        return fault("number", codes.usage.len().to_string(), "as many as the run's recipe has");
    }
    let records = evidence.records(run)?.len();
    if codes.pairs != records {
        return fault("pairs", codes.pairs.to_string(), "as many as the run was tested on");
    }
    let shares =
        [codes.usage.iter().map(|u| u.prior).sum(), codes.usage.iter().map(|u| u.posterior).sum::<f64>()];
    let negative = codes.usage.iter().any(|u| u.prior < 0.0 || u.posterior < 0.0);
    if negative || shares.iter().any(|sum| (sum - 1.0).abs() > ROUNDING) {
        return fault("shares", format!("{shares:?}"), "shares of 1");
    }
    let mut gaps = vec![];
    for run in evidence.runs.iter().filter(|r| r.objective == run.objective) {
        if let Some((_, values)) = run.curves.iter().find(|(name, _)| name == "bound_gap") {
            let n = values.len() as f64;
            let at = |(i, gap): (usize, &f32)| (100.0 * (i + 1) as f64 / n, f64::from(*gap));
            gaps.push(values.iter().enumerate().map(at).collect());
        }
    }
    Ok(Some(Reading { codes, run, gaps }))
}

/// How the codes are used, in words.
pub fn in_words(codes: &Codes) -> String {
    let k = codes.usage.len();
    let [prior, posterior] = codes.perplexities();
    format!(
        "{k} codes on {} test pairs. Perplexity of their use: {prior:.1} by the prior, {posterior:.1} by the posterior; dead: \
         {}. Mean entropy of p(z|x): {:.3} of ln {k} = {:.3} nats. KL(q ‖ p): {:.4} nats; prior and posterior have the same \
         likeliest code for {} % of the pairs.",
        codes.pairs,
        codes.dead(),
        codes.prior_entropy,
        (k as f64).ln(),
        codes.kl,
        percent(codes.same_code),
    )
}

/// What p(z|x) tells of each label, a row each.
pub fn information(codes: &Codes) -> Grid {
    let row = |i: &Information| {
        let f = i.found;
        let null = format!("{:.1e} to {:.1e}", f.null_low, f.null_high);
        vec![i.of.clone(), format!("{:.2e}", f.value), null, p_value(f.p_value), format!("{:.3}", i.entropy)]
    };
    let columns = columns(&["Label"], &["Information", "By chance", "p", "Its entropy"]);
    Grid::of_text(columns, codes.information.iter().map(row))
}

/// The codes, most used first, at most `shown`.
pub fn used(codes: &Codes, shown: usize) -> Grid {
    let mut columns = columns(&[], &["Code", "Prior, %", "Posterior, %", "Likeliest, %"]);
    columns.push(Column::words("Tokens that W e_k promotes"));
    let row = |k: usize| {
        let u = &codes.usage[k];
        let tokens: Vec<String> = u.tokens.iter().map(|t| format!("`{}`", t.escape_debug())).collect();
        let shares = [u.prior, u.posterior, u.likeliest].map(percent);
        [k.to_string()].into_iter().chain(shares).chain([tokens.join(" ")]).collect()
    };
    Grid::of_text(columns, codes.by_use().into_iter().take(shown).map(row))
}

/// Every code, most used first.
pub(super) fn numbers(codes: &Codes) -> Grid {
    let mut columns = columns(&[], &["code", "prior", "posterior", "likeliest"]);
    columns.push(Column::words("tokens"));
    let row = |k: usize| {
        let u = &codes.usage[k];
        let shares = [u.prior, u.posterior, u.likeliest].map(Cell::number);
        [Cell::count(k)].into_iter().chain(shares).chain([Cell::text(u.tokens.join(" "))]).collect()
    };
    Grid::new(columns, codes.by_use().into_iter().map(row).collect())
}

fn told(codes: &Codes) -> String {
    let of = |i: &Information| {
        let f = i.found;
        format!(
            "{:.2e} nats of {:.3} about {} (by chance {:.1e} to {:.1e}, p = {})",
            f.value,
            i.entropy,
            i.of,
            f.null_low,
            f.null_high,
            p_value(f.p_value)
        )
    };
    match codes.information.as_slice() {
        [] => "All prompts have one source: there is none to know.".into(),
        some => format!("p(z|x) tells {}.", some.iter().map(of).collect::<Vec<_>>().join("; ")),
    }
}

fn gap_text(reading: &Reading<'_>) -> String {
    let ends: Vec<(f64, f64)> =
        reading.gaps.iter().filter_map(|curve| Some((curve.first()?.1, curve.last()?.1))).collect();
    if ends.is_empty() {
        return "The gap of the bound (7) was not recorded.".into();
    }
    let mean = |of: fn(&(f64, f64)) -> f64| ends.iter().map(of).sum::<f64>() / ends.len() as f64;
    format!(
        "Exact gap of the bound (7) at λ = 1, mean over seeds (n = {}): {:.1e} nats where it was first taken, {:.1e} at the end.",
        ends.len(),
        mean(|e| e.0),
        mean(|e| e.1)
    )
}

fn of_run(reading: &Reading<'_>) -> String {
    let Run { base, objective, .. } = reading.run;
    format!("{base}, {objective}, seed {}, run {}", reading.run.seed(), reading.run.manifest.run)
}

pub(super) fn section(reading: &Reading<'_>, figure: Figure) -> Section {
    let codes = reading.codes;
    let (said, gap) = (format!("{}: {}", of_run(reading), in_words(codes)), gap_text(reading));
    let used = used(codes, SHOWN);
    let in_text = vec![
        Block::Figure(figure.clone()),
        Block::Paragraph(format!("{said} {} {gap}", told(codes))),
        Block::Grid(used.clone()),
    ];
    let on_page = vec![
        Block::Paragraph(said),
        Block::Paragraph(gap),
        Block::Grid(information(codes).captioned("Nats that p(z|x) tells of each label")),
        Block::Grid(used.captioned("The codes most used")),
        Block::Figure(figure),
    ];
    let blocks = vec![Block::Only(Medium::Text, in_text), Block::Only(Medium::Page, on_page)];
    Section::new("What are codes for?", blocks)
}
