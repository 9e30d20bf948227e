//! What an exhibit says, before it is set: one type, and beside it a renderer for each format. No renderer
//! knows an exhibit; an exhibit says no more of formats than what stands in one of them alone.

pub mod csv;
pub(super) mod latex;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of every kind; the expected texts are written by hand.
    fn document() -> Document {
        let basis = Basis { title: "B".into(), runs: vec!["id".into()], ..Basis::default() };
        let row = vec![Cell::text("a|b <c>"), Cell::text("1.5 [1, 2]").resting_on(basis)];
        let grid = Grid::new(columns(&["x_1"], &["%"]), vec![row]);
        let alone = |medium| Block::Only(medium, vec![Block::paragraph(format!("{medium:?}."))]);
        let figure = Figure { file: "f.svg".into(), description: "F".into(), svg: "<svg/>".into() };
        let excerpt = vec![Block::paragraph("C & D."), alone(Medium::Page), Block::Grid(grid.clone())];
        let points = vec!["one".into(), "two".into()];
        Document {
            title: "T".into(),
            lead: Section::new("Lead", vec![Block::Excerpt("t", excerpt), Block::Figure(figure)]),
            sections: vec![
                Section::new("S", vec![Block::List(points), Block::Grid(grid.captioned("G"))]),
                Section::new("In text", vec![alone(Medium::Text)]),
                Section::new("Empty", vec![Block::List(vec![])]),
            ],
        }
    }

    #[test]
    fn markdown_shows_what_is_for_text() {
        let table = "| x_1 | % |\n| --- | ---: |\n| a\\|b <c> | 1.5 [1, 2] |\n";
        let expected = format!(
            "# T\n\n<!-- t:begin -->\nC & D.\n\n{table}<!-- t:end -->\n\n![F](f.svg)\n\n## S\n\n- one\n- two\n\n\
             **G**\n\n{table}\n## In text\n\nText.\n"
        );
        assert_eq!(markdown::render(&document()), expected);
    }

    #[test]
    fn latex_sets_the_excerpt_alone() {
        let tex = latex::render(&document(), "tab:t");
        let table = "{lr}\n\\toprule\nx\\_1 & \\% \\\\\n\\midrule\na\\textbar{}b \\textless{}c\\textgreater{} & \
                     1.5 {[}1, 2{]} \\\\\n\\bottomrule\n";
        assert!(tex.contains(table), "{tex}");
        assert!(tex.contains("\\caption{C \\& D.}\n\\label{tab:t}\n") && !tex.contains("Page"), "{tex}");
        let lead = Section::new("", vec![Block::paragraph("P")]);
        assert_eq!(latex::render(&Document { lead, ..document() }, "tab:t"), "");
    }

    #[test]
    fn the_page_opens_what_cells_rest_on() {
        let mut opened = vec![];
        let html = page::render(&document(), &mut |basis| {
            opened.push(basis.runs.join(" "));
            opened.len()
        });
        assert_eq!(opened, ["id", "id"]);
        assert!(html.starts_with("<h3>Lead</h3>\n<p>C &amp; D.</p>\n<p>Page.</p>\n<div"), "{html}");
        assert!(
            html.contains("<td>a|b &lt;c&gt;</td><td class=\"r\"><button")
                && html.contains("data-panel=\"2\"")
        );
        assert!(html.contains("<figure><svg/></figure>\n<h3>S</h3>\n<p>one</p>\n<p>two</p>\n"), "{html}");
        assert!(
            html.contains("<caption>G</caption>") && !html.contains("In text") && !html.contains("Empty")
        );
    }

    #[test]
    fn csv_writes_numbers_in_full() {
        let row = vec![Cell::text("a, b"), Cell::number(1.0 / 3.0), Cell::number(-1e-5), Cell::count(7)];
        let csv = csv::render(&Grid::new(columns(&["name"], &["x", "y", "n"]), vec![row])).unwrap();
        assert_eq!(String::from_utf8(csv).unwrap(), "name,x,y,n\n\"a, b\",0.33333333,-1.00000000e-5,7\n");
        assert!(csv::render(&Grid::new(columns(&["a", "b"], &[]), vec![vec![Cell::text("")]])).is_err());
    }
}
