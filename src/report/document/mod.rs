//! What an exhibit says, before it is set: one type, and beside it a renderer for each format. No renderer
//! knows an exhibit; an exhibit says no more of formats than what stands in one of them alone.

pub mod csv;
pub mod latex;
pub mod markdown;
pub(super) mod page;

use super::text::full;
use std::fmt;

pub struct Document {
    pub title: String,
    /// What the document opens with: in Markdown directly below the title.
    pub lead: Section,
    pub sections: Vec<Section>,
}

/// A heading with what stands below it; not shown where nothing of it is.
pub struct Section {
    pub title: String,
    pub blocks: Vec<Block>,
}

pub enum Block {
    Paragraph(String),
    /// Points in Markdown, paragraphs on the page.
    List(Vec<String>),
    Figure(Figure),
    Grid(Grid),
    /// What other files show too and find by this name: a caption and a grid.
    Excerpt(&'static str, Vec<Block>),
    /// What stands in one medium alone.
    Only(Medium, Vec<Block>),
}

/// Where a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Markdown and LaTeX.
    Text,
    /// In a browser.
    Page,
}

#[derive(Clone)]
pub struct Figure {
    /// Beside the document.
    pub file: String,
    pub description: String,
    /// Of our own making.
    pub svg: String,
}

#[derive(Clone)]
pub struct Grid {
    pub caption: String,
    pub columns: Vec<Column>,
    /// As many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Clone)]
pub struct Column {
    pub name: String,
    pub holds: Holds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Words,
    /// Also with an interval, or words where there is no number.
    Numbers,
}

#[derive(Clone)]
pub struct Cell {
    pub content: Content,
    pub basis: Option<Basis>,
}

#[derive(Clone)]
pub enum Content {
    /// Words, or numbers as a reader wants them.
    Text(String),
    /// In full, to compute from.
    Number(f64),
    Count(usize),
}

/// What a cell rests on.
#[derive(Clone, Default)]
pub struct Basis {
    pub title: String,
    /// How the number comes about, in a sentence or two.
    pub how: String,
    pub facts: Vec<(String, String)>,
    /// Ids of runs in the evidence.
    pub runs: Vec<String>,
    /// The source of the records that count; all of them where empty.
    pub source: String,
}

impl Section {
    pub fn new(title: impl Into<String>, blocks: Vec<Block>) -> Self {
        Self { title: title.into(), blocks }
    }
}

impl Block {
    pub fn paragraph(text: impl Into<String>) -> Self {
        Self::Paragraph(text.into())
    }

    /// The blocks that `medium` shows.
    fn shown(blocks: &[Self], medium: Medium) -> Vec<&Self> {
        let of = |block| match block {
            &Self::Only(only, ref inside) if only == medium => Self::shown(inside, medium),
            Self::Only(..) => vec![],
            block => vec![block],
        };
        blocks.iter().flat_map(of).collect()
    }
}

impl Grid {
    pub fn new(columns: Vec<Column>, rows: Vec<Vec<Cell>>) -> Self {
        Self { caption: String::new(), columns, rows }
    }

    /// Of text alone.
    pub fn of_text(columns: Vec<Column>, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let cells = |row: Vec<String>| row.into_iter().map(Cell::text).collect();
        Self::new(columns, rows.into_iter().map(cells).collect())
    }

    pub fn captioned(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }
}

impl Column {
    pub fn words(name: impl Into<String>) -> Self {
        Self { name: name.into(), holds: Holds::Words }
    }

    pub fn numbers(name: impl Into<String>) -> Self {
        Self { name: name.into(), holds: Holds::Numbers }
    }
}

/// Columns of words, and of numbers after them.
pub fn columns(words: &[&str], numbers: &[&str]) -> Vec<Column> {
    let words = words.iter().map(|name| Column::words(*name));
    words.chain(numbers.iter().map(|name| Column::numbers(*name))).collect()
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: Content::Text(text.into()), basis: None }
    }

    pub fn number(value: f64) -> Self {
        Self { content: Content::Number(value), basis: None }
    }

    pub fn count(n: usize) -> Self {
        Self { content: Content::Count(n), basis: None }
    }

    pub fn resting_on(self, basis: impl Into<Option<Basis>>) -> Self {
        Self { basis: basis.into(), ..self }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(value) => f.write_str(&full(*value)),
            Self::Count(n) => n.fmt(f),
        }
    }
}
