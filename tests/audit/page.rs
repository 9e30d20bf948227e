//! The page: text from data stays text, nothing is fetched, and a browser opens a cell.

use crate::support::{PAIRS, Published};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn data_are_never_markup_and_nothing_is_fetched() {
    let published = Published::new();
    let page = fs::read_to_string(published.folder().join("index.html")).unwrap();
    assert!(page.contains("toy &lt;Llama&gt;") && !page.contains("toy <Llama>"));
    assert!(page.contains("Synthetic &lt;/script&gt;&lt;b&gt;records&lt;/b&gt; &amp; &quot;quotes&quot;."));
    // One script element of each kind, each with its end: none ended early.
    assert_eq!(page.matches("<script").count(), page.matches("</script>").count());
    for fetched in ["src=\"http", "href=\"http", "url(", "@import", "fetch("] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let data: serde_json::Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let panels = data["panels"].as_array().unwrap();
    let buttons = page.matches("class=\"cell\"").count();
    assert_eq!(panels.len(), buttons);
    // Every cell of ours leads to runs; the paper's lead to what was published.
    for panel in panels {
        let runs = panel["runs"].as_array().unwrap();
        let paper = panel["title"].as_str().unwrap().ends_with("the paper");
        assert_eq!(runs.is_empty(), paper, "{panel}");
        assert!(runs.iter().all(|r| r.as_u64().unwrap() < 7));
    }
}

/// The first browser of the Chromium family on the path.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|p| p.is_file())
}

/// The document after its scripts ran, a cell opened by the link.
fn dump(browser: &PathBuf, page: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=5000", "--dump-dom", page])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_browser_opens_a_cell() {
    let Some(browser) = browser() else { return println!("skipped: no Chromium on the path") };
    let published = Published::new();
    let page = published.folder().join("index.html");
    // The difference of DPO: four runs.
    let dom = dump(&browser, &format!("file://{}#cell-2", page.display()));
    if dom.is_empty() {
        return println!("skipped: {} does not run here", browser.display());
    }
    let (_, panel) = dom.split_once("<dialog").unwrap();
    let (panel, _) = panel.split_once("</dialog>").unwrap();
    assert!(panel.contains("toy &lt;Llama&gt;, DPO: with LPC minus without"), "{panel}");
    assert_eq!(panel.matches("<details").count(), 4, "runs");
    assert_eq!(panel.matches("<polyline").count(), 4 * 2, "two curves a run");
    assert!(panel.contains(&format!("{PAIRS} of {PAIRS}; ")), "{panel}");
    let (_, records) = panel.rsplit_once("<tbody>").unwrap();
    assert_eq!(records.matches("<tr>").count(), PAIRS);
    // The margins that the page derives are those of the records.
    let text = fs::read_to_string(published.runs().join(&published.ids[0]).join("records.jsonl")).unwrap();
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let margin = format!(
            "{:.4} {}",
            record["margin"].as_f64().unwrap(),
            if record["correct"] == true { '✓' } else { '✗' }
        );
        assert!(records.contains(&margin), "{margin}");
    }
}
