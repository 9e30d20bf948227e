//! A document's excerpt as a table for a paper's source, in the style of booktabs.

use super::{Block, Document, Grid, Holds, Medium};

/// A `table` environment that needs the package booktabs and nothing else; empty without an excerpt.
pub(in crate::report) fn render(document: &Document, label: &str) -> String {
    let excerpt =
        Block::shown(&document.lead.blocks, Medium::Text).into_iter().find_map(|block| match block {
            Block::Excerpt(_, inside) => Some(Block::shown(inside, Medium::Text)),
            _ => None,
        });
    let (mut caption, mut tables) = ("", String::new());
    for block in excerpt.unwrap_or_default() {
        match block {
            Block::Paragraph(text) => caption = text,
            Block::Grid(grid) => tables += &table(grid, caption, label),
            _ => {}
        }
    }
    tables
}

fn table(grid: &Grid, caption: &str, label: &str) -> String {
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let side = |holds| if holds == Holds::Numbers { 'r' } else { 'l' };
    let alignment: String = grid.columns.iter().map(|column| side(column.holds)).collect();
    let header = line(grid.columns.iter().map(|column| escape(&column.name)).collect());
    let row = |row: &Vec<super::Cell>| line(row.iter().map(|c| escape(&c.content.to_string())).collect());
    let rows: String = grid.rows.iter().map(row).collect();
    format!(
        "% Needs \\usepackage{{booktabs}}.\n\\begin{{table}}[t]\n\\centering\n\\begin{{tabular}}{{{alignment}}}\n\\toprule\n\
         {header}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n\\caption{{{}}}\n\\label{{{label}}}\n\\end{{table}}\n",
        escape(caption)
    )
}

/// Text in which every character stands for itself. Brackets that would open an optional argument after
/// `\\` are braced.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '<' => escaped += "\\textless{}",
            '>' => escaped += "\\textgreater{}",
            '|' => escaped += "\\textbar{}",
            '[' => escaped += "{[}",
            ']' => escaped += "{]}",
            '–' => escaped += "--",
            '→' => escaped += "$\\to$",
            '‖' => escaped += "$\\Vert$",
            '−' => escaped += "$-$",
            '×' => escaped += "$\\times$",
            'λ' => escaped += "$\\lambda$",
            '\n' | '\r' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
