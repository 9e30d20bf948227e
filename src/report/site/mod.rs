//! A folder's page: one file that needs nothing else, neither network nor server. Tables stand in it as
//! HTML; the evidence is embedded as the very bytes of its files and unpacked when a cell is opened.

use super::document::page::{self, escape};
use super::document::{Basis, Block, Cell, Grid, Section, columns};
use super::exhibit::Exhibit;
use super::text::{NONE, percent, side};
use crate::error::{Error, Result};
use crate::run::evidence::{Evidence, Run};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Most bytes of evidence that a page has whole.
const LARGEST: usize = 1_200_000;

/// Test pairs of each run that a page shows where its evidence is abridged, the first ones.
const PAIRS: usize = 1000;

/// The page of this name, over all that stands on it, with links to the folder's other pages. A study's evidence
/// is embedded abridged, and so is a large table's: the file beside the page has all of it.
///
/// Errors: a recipe that cannot be written as TOML.
pub(super) fn page(tables: &[(Evidence, Vec<u8>)], exhibits: &[Exhibit], file: &str) -> Result<String> {
    let mut panels = vec![];
    let mut main = String::new();
    let mut recipes = serde_json::Map::new();
    let mut scripts = String::new();
    for ((evidence, bytes), exhibit) in tables.iter().zip(exhibits).filter(|(_, e)| e.table.page() == file) {
        main += &section(evidence, exhibit, !whole(evidence, bytes), &mut panels);
        let name = evidence.header.table.name();
        let texts = evidence.runs.iter().map(|run| run.recipe_text());
        recipes.insert(name.into(), texts.collect::<Result<Vec<_>>>()?.into());
        let encoded = match whole(evidence, bytes) {
            true => BASE64_STANDARD.encode(bytes),
            false => BASE64_STANDARD.encode(evidence.abridged(PAIRS)?.to_bytes()?),
        };
        scripts += &format!("<script type=\"text/plain\" id=\"evidence-{name}\">{encoded}</script>\n");
    }
    let data = json!({ "panels": panels, "recipes": recipes });
    let data = serde_json::to_string(&data).map_err(|e| Error::argument("page", "data", e, "plain data"))?;
    // Inside a script element only `<` could end it.
    let data = data.replace('<', "\\u003c");
    let scale = tables.first().map_or("", |(evidence, _)| evidence.header.scale.name());
    let own = tables.iter().any(|(evidence, _)| evidence.header.own);
    let title = format!("Latent Preference Coding, {scale} scale");
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <button id=\"theme\" type=\"button\" hidden>Dark</button>\n<h1>{title}</h1>\n{}\n\
         <noscript><p>Without JavaScript the tables are all here; runs and records behind their cells are not.</p></noscript>\n\
         <nav><ul>{}</ul></nav>\n</header>\n<main>\n{main}</main>\n<footer><p>Written by <code>lpc report</code>, checked by \
         <code>lpc audit</code>. Every number with a dotted line opens its runs, recipes, hashes, curves and records.</p></footer>\n\
         <dialog id=\"panel\" aria-labelledby=\"panel-title\"><div class=\"panel\"><button class=\"close\" id=\"close\" type=\"button\">\
         Close</button><div id=\"panel-body\"></div></div></dialog>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n{scripts}<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        warning(scale, own),
        exhibits.iter().map(|exhibit| contents(exhibit, file)).collect::<String>(),
    ))
}

/// Whether the page has all of a table's evidence.
fn whole(evidence: &Evidence, bytes: &[u8]) -> bool {
    evidence.header.plan.is_none() && bytes.len() <= LARGEST
}

fn warning(scale: &str, own: bool) -> String {
    let text = match scale {
        "paper" => "Our own runs at the paper's scale; the paper's numbers stand in columns of their own.",
        _ => {
            "Our own runs, not at the paper's scale: compare the direction of an effect with the paper, never the height \
             of a number. The paper's numbers stand in columns of their own, as published."
        }
    };
    let own = if own { " Not the run matrix that ships with this scale." } else { "" };
    format!("<p class=\"scale\"><strong>Scale: {}.</strong> {text}{own}</p>", escape(scale))
}

fn contents(exhibit: &Exhibit, file: &str) -> String {
    let other = Some(exhibit.table.page()).filter(|other| other != file).unwrap_or_default();
    format!(
        "<li><a href=\"{other}#{}\">{}</a> <span class=\"faint\">{}</span></li>",
        exhibit.table.name(),
        escape(&exhibit.title),
        escape(&exhibit.status)
    )
}

fn section(evidence: &Evidence, exhibit: &Exhibit, abridged: bool, panels: &mut Vec<Value>) -> String {
    let name = exhibit.table.name();
    let mut html = format!("<h2 id=\"{name}\">{}</h2>\n", escape(&exhibit.title));
    let notes = evidence.header.remarks();
    let notes = notes.iter().map(|note| format!("<li>{}</li>", escape(note)));
    html += &format!(
        "<details><summary>What it was measured on</summary><ul class=\"notes\">{}</ul></details>\n",
        notes.collect::<String>()
    );
    let files = exhibit.files.iter().map(|(file, _)| file.clone()).chain([exhibit.table.evidence_file()]);
    let links = files.map(|file| format!("<a href=\"{file}\">{file}</a>")).collect::<Vec<_>>();
    html += &format!("<p class=\"downloads\">As files: {}</p>\n", links.join(", "));
    if abridged {
        html += &format!(
            "<p class=\"downloads\">Behind a cell stand the first {PAIRS} test pairs of each run, with margins to three \
             digits; {} has every record.</p>\n",
            exhibit.table.evidence_file()
        );
    }
    let ids = evidence.runs.iter().enumerate().map(|(i, run)| (run.manifest.run.as_str(), i));
    let positions: BTreeMap<&str, usize> = ids.collect();
    let mut open = |basis: &Basis| {
        let runs: Vec<usize> =
            basis.runs.iter().filter_map(|id| positions.get(id.as_str()).copied()).collect();
        panels.push(json!({
            "table": name, "title": basis.title, "how": basis.how, "facts": basis.facts, "runs": runs,
            "filter": basis.source,
        }));
        panels.len() - 1
    };
    html += &page::render(&exhibit.document, &mut open);
    html + &page::section(&runs(evidence), &mut open)
}

/// Every run, whether or not a cell shows it.
fn runs(evidence: &Evidence) -> Section {
    // An arm of a study is its own objective, and may have a latent that is not LPC's.
    let [named, latent, with] = match evidence.header.plan {
        None => ["Objective", "LPC", "LPC"],
        Some(_) => ["Arm", "Latent", "a latent"],
    };
    let mut all = columns(&["Base model", named, latent], &["Seed"]);
    all.extend(columns(&["Run"], &["Accuracy, %", "Seconds"]));
    all.extend(columns(&["Device", "Commit, tree"], &[]));
    let row = |run: &Run| {
        let m = &run.manifest;
        let (side, seed) = (side(run.latent), run.seed());
        let basis = Basis {
            title: format!("Run {}", m.run),
            how: format!("{}, {}, {side} {with}, seed {seed}.", run.base, run.objective),
            runs: vec![m.run.clone()],
            ..Basis::default()
        };
        let tree = match m.code.git_dirty {
            Some(false) => "clean",
            Some(true) => "changed",
            None => "no git",
        };
        let commit = m.code.git_commit.as_deref().map_or(NONE, |c| c.get(..10).unwrap_or(c));
        vec![
            Cell::text(&run.base),
            Cell::text(&run.objective),
            Cell::text(side),
            Cell::text(seed.to_string()),
            Cell::text(&m.run).resting_on(basis),
            Cell::text(m.outcome.metrics.get("test_accuracy").map_or(NONE.into(), |a| percent(*a))),
            Cell::text(format!("{:.0}", m.outcome.wall_seconds)),
            Cell::text(&m.machine.device),
            Cell::text(format!("{commit}, {tree}")),
        ]
    };
    let grid = Grid::new(all, evidence.runs.iter().map(row).collect());
    Section::new(format!("Runs ({})", evidence.runs.len()), vec![Block::Grid(grid)])
}
