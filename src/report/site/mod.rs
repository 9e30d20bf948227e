//! A folder's page: one file that needs nothing else, neither network nor server. Tables stand in it as
//! HTML; the evidence is embedded as the very bytes of its files and unpacked when a cell is opened.

use super::exhibit::{Cell, Exhibit, Grid, Panel, Section};
use super::table::percent;
use crate::error::{Error, Result};
use crate::run::evidence::{Evidence, Run};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page of this name, over all that stands on it, with links to the folder's other pages. A study's
/// evidence is embedded abridged: the file beside the page has all of it.
///
/// Errors: a recipe that cannot be written as TOML.
pub fn page(tables: &[(Evidence, Vec<u8>)], exhibits: &[Exhibit], page: &str) -> Result<String> {
    let mut panels = vec![];
    let mut main = String::new();
    let mut recipes = serde_json::Map::new();
    let mut scripts = String::new();
    for ((evidence, bytes), exhibit) in tables.iter().zip(exhibits).filter(|(_, e)| e.table.page() == page) {
        main += &section(evidence, exhibit, &mut panels);
        let name = evidence.header.table.name();
        let texts = evidence.runs.iter().map(|run| run.recipe_text());
        recipes.insert(name.into(), texts.collect::<Result<Vec<_>>>()?.into());
        let encoded = match evidence.header.plan {
            None => BASE64_STANDARD.encode(bytes),
            Some(_) => BASE64_STANDARD.encode(evidence.abridged()?.to_bytes()?),
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
        exhibits.iter().map(|exhibit| contents(exhibit, page)).collect::<String>(),
    ))
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

fn contents(exhibit: &Exhibit, page: &str) -> String {
    let other = Some(exhibit.table.page()).filter(|other| other != page).unwrap_or_default();
    format!(
        "<li><a href=\"{other}#{}\">{}</a> <span class=\"faint\">{}</span></li>",
        exhibit.table.name(),
        escape(&exhibit.title),
        escape(&exhibit.status)
    )
}

fn section(evidence: &Evidence, exhibit: &Exhibit, panels: &mut Vec<Value>) -> String {
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
    for Section { title, paragraphs, grids, figure } in exhibit.sections.iter().chain([&runs(evidence)]) {
        html += &format!("<h3>{}</h3>\n", escape(title));
        html += &paragraphs.iter().map(|p| format!("<p>{}</p>\n", escape(p))).collect::<String>();
        html += &grids.iter().map(|grid| table(grid, name, panels)).collect::<String>();
        if let Some(svg) = figure {
            html += &format!("<figure>{svg}</figure>\n");
        }
    }
    html
}

/// Every run, whether or not a cell shows it.
fn runs(evidence: &Evidence) -> Section {
    let row = |(i, run): (usize, &Run)| {
        let m = &run.manifest;
        let side = if run.latent { "with" } else { "without" };
        let latent = if evidence.header.plan.is_some() { "a latent" } else { "LPC" };
        let panel = Panel {
            title: format!("Run {}", m.run),
            how: format!("{}, {}, {side} {latent}, seed {}.", run.base, run.objective, run.seed()),
            facts: vec![],
            runs: vec![i],
            filter: String::new(),
        };
        let accuracy = m.outcome.metrics.get("test_accuracy").map_or("–".into(), |a| percent(*a));
        let tree = match m.code.git_dirty {
            Some(false) => "clean",
            Some(true) => "changed",
            None => "no git",
        };
        let commit = m.code.git_commit.as_deref().map_or("–", |c| c.get(..10).unwrap_or(c));
        vec![
            Cell::plain(&run.base),
            Cell::plain(&run.objective),
            Cell::plain(side),
            Cell::plain(run.seed().to_string()),
            Cell::leading_to(&m.run, panel),
            Cell::plain(accuracy),
            Cell::plain(format!("{:.0}", m.outcome.wall_seconds)),
            Cell::plain(&m.machine.device),
            Cell::plain(format!("{commit}, {tree}")),
        ]
    };
    let [named, latent] = match evidence.header.plan {
        None => ["Objective", "LPC"],
        Some(_) => ["Arm", "Latent"],
    };
    let header =
        ["Base model", named, latent, "Seed", "Run", "Accuracy, %", "Seconds", "Device", "Commit, tree"];
    let rows: Vec<_> = evidence.runs.iter().enumerate().map(row).collect();
    let caption = String::new();
    let grid = Grid { caption, alignment: "lllrlrrll".into(), header: header.map(String::from).into(), rows };
    let title = format!("Runs ({})", evidence.runs.len());
    Section { title, paragraphs: vec![], grids: vec![grid], figure: None }
}

fn table(grid: &Grid, table: &str, panels: &mut Vec<Value>) -> String {
    let class = |i: usize| if grid.alignment.as_bytes().get(i) == Some(&b'r') { " class=\"r\"" } else { "" };
    let header = grid.header.iter().enumerate();
    let header: String =
        header.map(|(i, h)| format!("<th scope=\"col\"{}>{}</th>", class(i), escape(h))).collect();
    let caption = match grid.caption.as_str() {
        "" => String::new(),
        text => format!("<caption>{}</caption>", escape(text)),
    };
    let mut html =
        format!("<div class=\"scroll\"><table>{caption}<thead><tr>{header}</tr></thead>\n<tbody>\n");
    for row in &grid.rows {
        html += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            let text = escape(&cell.text);
            let content = match &cell.panel {
                None => text,
                Some(panel) => {
                    panels.push(json!({
                        "table": table, "title": panel.title, "how": panel.how, "facts": panel.facts,
                        "runs": panel.runs, "filter": panel.filter,
                    }));
                    let number = panels.len() - 1;
                    format!(
                        "<button type=\"button\" class=\"cell\" data-panel=\"{number}\" aria-haspopup=\"dialog\">{text}</button>"
                    )
                }
            };
            html += &format!("<td{}>{content}</td>", class(i));
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

/// Text in which no character is markup.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}
