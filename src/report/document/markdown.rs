//! A document as Markdown.

use super::{Block, Document, Figure, Grid, Holds, Medium, Section};

/// Blocks with a blank line between them.
pub fn render(document: &Document) -> String {
    let mut parts = vec![format!("# {}", document.title)];
    parts.extend(blocks(&document.lead.blocks));
    parts.extend(document.sections.iter().map(section).filter(|text| !text.is_empty()));
    parts.join("\n\n") + "\n"
}

/// Empty where the section has nothing in text.
pub fn section(section: &Section) -> String {
    match blocks(&section.blocks) {
        blocks if blocks.is_empty() => String::new(),
        blocks => format!("## {}\n\n{}", section.title, blocks.join("\n\n")),
    }
}

fn blocks(all: &[Block]) -> Vec<String> {
    let set = |block: &Block| match block {
        Block::Paragraph(text) => text.clone(),
        Block::List(points) => points.iter().map(|point| format!("- {point}")).collect::<Vec<_>>().join("\n"),
        Block::Figure(Figure { file, description, .. }) => format!("![{description}]({file})"),
        Block::Grid(grid) if grid.caption.is_empty() => table(grid).trim_end().into(),
        Block::Grid(grid) => format!("**{}**\n\n{}", grid.caption, table(grid).trim_end()),
        Block::Excerpt(name, inside) => mark(name, &(blocks(inside).join("\n\n") + "\n")).trim_end().into(),
        Block::Only(_, inside) => blocks(inside).join("\n\n"),
    };
    Block::shown(all, Medium::Text).into_iter().map(set).filter(|text| !text.is_empty()).collect()
}

/// The grid without its caption.
pub fn table(grid: &Grid) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let escape = |cell: &str| cell.replace('|', "\\|").replace(['\n', '\r'], " ");
    let header = line(grid.columns.iter().map(|column| escape(&column.name)).collect());
    let rule = |holds| if holds == Holds::Numbers { "---:" } else { "---" }.to_string();
    let rule = line(grid.columns.iter().map(|column| rule(column.holds)).collect());
    let row = |row: &Vec<super::Cell>| line(row.iter().map(|c| escape(&c.content.to_string())).collect());
    [header, rule].into_iter().chain(grid.rows.iter().map(row)).collect()
}

/// `text` between comments that name it, so that a program can find it again.
fn mark(name: &str, text: &str) -> String {
    format!("<!-- {name}:begin -->\n{text}<!-- {name}:end -->\n")
}

/// What stands between the comments that mark the excerpt `name`.
///
/// ```
/// use lpc::report::document::markdown::marked;
/// let text = "# T\n\n<!-- t:begin -->\n| a |\n<!-- t:end -->\n";
/// assert_eq!(marked("t", text), Some("| a |\n"));
/// ```
pub fn marked<'a>(name: &str, text: &'a str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<!-- {name}:begin -->\n"))?;
    Some(after.split_once(&format!("<!-- {name}:end -->"))?.0)
}
