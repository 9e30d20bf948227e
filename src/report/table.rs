//! Small pieces that every table is set from: Markdown tables and numbers of fixed width.

/// A Markdown table with a header; columns are aligned by `alignment`, a character each: `l` or `r`.
pub fn markdown(alignment: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let escape = |cell: &str| cell.replace('|', "\\|").replace(['\n', '\r'], " ");
    let rule = |c| if c == 'r' { "---:" } else { "---" }.to_string();
    let header = line(header.iter().map(|h| escape(h)).collect());
    let rule = line(alignment.chars().map(rule).collect());
    let rows = rows.iter().map(|row| line(row.iter().map(|c| escape(c)).collect()));
    [header, rule].into_iter().chain(rows).collect()
}

/// `text` between comments that name it, so that a program can find it again.
pub fn mark(name: &str, text: &str) -> String {
    format!("<!-- {name}:begin -->\n{text}<!-- {name}:end -->\n")
}

/// What [`mark`] put between the comments `name`.
///
/// ```
/// use lpc::report::table::{mark, marked};
/// assert_eq!(marked("t", &mark("t", "| a |\n")), Some("| a |\n"));
/// ```
pub fn marked<'a>(name: &str, text: &'a str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<!-- {name}:begin -->\n"))?;
    Some(after.split_once(&format!("<!-- {name}:end -->"))?.0)
}

/// A share as a percentage with one decimal: `70.8`.
pub fn percent(share: f64) -> String {
    unsigned_zero(format!("{:.1}", 100.0 * share))
}

/// A difference of shares in percentage points with two decimals and a sign: `+1.53`.
pub fn points(difference: f64) -> String {
    unsigned_zero(format!("{:+.2}", 100.0 * difference))
}

/// A p-value with three decimals, `<0.001` below that.
pub fn p_value(p: f64) -> String {
    if p < 0.0005 { "<0.001".into() } else { format!("{p:.3}") }
}

/// A number for CSV: enough digits to recompute from, few enough to be the same everywhere.
pub fn csv_number(x: f64) -> String {
    if x != 0.0 && x.abs() < 1e-3 { format!("{x:.8e}") } else { unsigned_zero(format!("{x:.8}")) }
}

/// What rounds to zero has no sign.
fn unsigned_zero(text: String) -> String {
    let zero = text.chars().all(|c| "+-0.".contains(c));
    if zero { text.trim_start_matches(['+', '-']).into() } else { text }
}
