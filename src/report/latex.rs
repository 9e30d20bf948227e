//! Tables for a paper's source, in the style of booktabs.

/// A `table` environment that needs the package booktabs and nothing else.
///
/// `alignment`: a character a column, as LaTeX has them.
///
/// ```
/// let tex = lpc::report::latex::booktabs("lr", &["A & B", "%"], &[vec!["x_1".into(), "–".into()]], "C.", "tab:c");
/// assert!(tex.contains("A \\& B & \\% \\\\\n\\midrule\nx\\_1 & -- \\\\\n\\bottomrule"));
/// ```
pub fn booktabs(
    alignment: &str,
    header: &[&str],
    rows: &[Vec<String>],
    caption: &str,
    label: &str,
) -> String {
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let header = line(header.iter().map(|cell| escape(cell)).collect());
    let rows: String = rows.iter().map(|row| line(row.iter().map(|cell| escape(cell)).collect())).collect();
    format!(
        "% Needs \\usepackage{{booktabs}}.\n\\begin{{table}}[t]\n\\centering\n\\begin{{tabular}}{{{alignment}}}\n\\toprule\n\
         {header}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n\\caption{{{}}}\n\\label{{{label}}}\n\\end{{table}}\n",
        escape(caption)
    )
}

/// Text in which every character stands for itself. Brackets that would open an optional argument after
/// `\\` are braced.
pub fn escape(text: &str) -> String {
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
