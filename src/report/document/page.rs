//! A document's sections as HTML.

use super::{Basis, Block, Column, Document, Grid, Holds, Medium, Section};

/// `open` takes what a cell rests on and gives the number of the panel that shows it.
pub(in crate::report) fn render(document: &Document, open: &mut dyn FnMut(&Basis) -> usize) -> String {
    std::iter::once(&document.lead).chain(&document.sections).map(|s| section(s, open)).collect()
}

/// Empty where the page shows none of its blocks.
pub(in crate::report) fn section(section: &Section, open: &mut dyn FnMut(&Basis) -> usize) -> String {
    match blocks(&section.blocks, open) {
        html if html.is_empty() => html,
        html => format!("<h3>{}</h3>\n{html}", escape(&section.title)),
    }
}

fn blocks(all: &[Block], open: &mut dyn FnMut(&Basis) -> usize) -> String {
    let paragraph = |text: &String| format!("<p>{}</p>\n", escape(text));
    let set = |block: &Block| match block {
        Block::Paragraph(text) => paragraph(text),
        Block::List(points) => points.iter().map(paragraph).collect(),
        Block::Figure(figure) => format!("<figure>{}</figure>\n", figure.svg),
        Block::Grid(grid) => table(grid, open),
        Block::Excerpt(_, inside) | Block::Only(_, inside) => blocks(inside, open),
    };
    Block::shown(all, Medium::Page).into_iter().map(set).collect()
}

fn table(grid: &Grid, open: &mut dyn FnMut(&Basis) -> usize) -> String {
    let class = |column: &Column| if column.holds == Holds::Numbers { " class=\"r\"" } else { "" };
    let header = |c: &Column| format!("<th scope=\"col\"{}>{}</th>", class(c), escape(&c.name));
    let header: String = grid.columns.iter().map(header).collect();
    let caption = match grid.caption.as_str() {
        "" => String::new(),
        text => format!("<caption>{}</caption>", escape(text)),
    };
    let mut html =
        format!("<div class=\"scroll\"><table>{caption}<thead><tr>{header}</tr></thead>\n<tbody>\n");
    for row in &grid.rows {
        html += "<tr>";
        for (cell, column) in row.iter().zip(&grid.columns) {
            let text = escape(&cell.content.to_string());
            let content = match &cell.basis {
                None => text,
                Some(basis) => format!(
                    "<button type=\"button\" class=\"cell\" data-panel=\"{}\" aria-haspopup=\"dialog\">{text}</button>",
                    open(basis)
                ),
            };
            html += &format!("<td{}>{content}</td>", class(column));
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

/// Text in which no character is markup.
pub(in crate::report) fn escape(text: &str) -> String {
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
