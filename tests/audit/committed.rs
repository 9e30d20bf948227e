//! The reports of this repository: made of their evidence to the byte, and every move of a number told.

use crate::git::committed;
use lpc::audit::report::{Severity, audit};
use lpc::plan::Table;
use lpc::report::changes;
use lpc::report::publish;
use std::fs;
use std::path::{Path, PathBuf};

fn has_evidence(folder: &Path) -> bool {
    Table::ALL.iter().any(|table| folder.join(table.evidence_file()).is_file())
}

/// Folders of reports with evidence.
fn folders() -> Vec<PathBuf> {
    let reports = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports");
    let mut folders: Vec<PathBuf> = fs::read_dir(reports).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|f| !f.to_string_lossy().ends_with("-own") && has_evidence(f));
    folders
}

#[test]
fn tables_and_pages_are_what_their_evidence_makes() {
    let folders = folders();
    if folders.is_empty() {
        println!("skipped: no reports with evidence");
    }
    for folder in folders {
        let tables = publish::read(&folder).unwrap();
        for (name, bytes) in publish::render(&tables).unwrap().1 {
            let found = fs::read(folder.join(&name)).unwrap();
            assert!(found == bytes, "{}: {name} is not what its evidence makes", folder.display());
        }
        let audit = audit(&folder, Path::new("nowhere"));
        let what = |f: &&lpc::audit::report::Finding| {
            // Whoever reproduces a table on a machine of their own has numbers that no line tells of.
            f.severity == Severity::Difference && !f.place.contains("CHANGES.md")
        };
        let found: Vec<String> = audit.findings.iter().filter(what).map(ToString::to_string).collect();
        assert_eq!(found, Vec::<String>::new());
    }
}

/// The committed page, at the toy scale's 180 runs.
#[test]
fn the_page_stays_below_two_megabytes() {
    match fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/toy/index.html")) {
        Ok(page) => assert!(page.len() < 2_000_000, "{} bytes", page.len()),
        Err(_) => println!("skipped: no reports/toy/index.html"),
    }
}

/// Committed against committed, for the same reason.
#[test]
fn every_move_of_a_number_is_told() {
    let Some(text) = committed("reports/CHANGES.md") else {
        return println!("skipped: no committed reports/CHANGES.md");
    };
    for folder in folders() {
        let scale = folder.file_name().unwrap().to_str().unwrap().to_string();
        for table in Table::ALL.map(|table| table.name()) {
            let Some(csv) = committed(&format!("reports/{scale}/{table}.csv")) else { continue };
            let (name, hash) = (format!("{scale}/{table}"), changes::fingerprint(csv.as_bytes()).unwrap());
            assert_eq!(
                changes::recorded(&text, &name),
                Some(hash.as_str()),
                "numbers of {name} moved: lpc report reports/{scale} --because REASON"
            );
        }
    }
}

#[test]
fn only_numbers_count_as_moved() {
    let of = |csv: &str| changes::fingerprint(csv.as_bytes()).unwrap();
    let table = "cell,value,run_ids\na,1.5,id1 id2\n";
    assert_eq!(of(table), of("cell,value,run_ids\na,1.5,id3 id4\n"));
    assert_ne!(of(table), of("cell,value,run_ids\na,1.6,id1 id2\n"));
    assert_ne!(of(table), of("cell,value,run_ids\na1,.5,id1 id2\n"));
}

#[test]
fn a_line_for_every_move_and_none_without() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("toy");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("table2.csv"), "cell,value\na,1\n").unwrap();
    assert_eq!(changes::unrecorded(&folder).unwrap().len(), 1);
    assert_eq!(changes::record(&folder, "first\nrun").unwrap().len(), 1);
    assert_eq!(changes::record(&folder, "again").unwrap(), Vec::<String>::new());
    assert!(changes::unrecorded(&folder).unwrap().is_empty());
    fs::write(folder.join("table2.csv"), "cell,value\na,2\n").unwrap();
    assert!(changes::unrecorded(&folder).unwrap()[0].1.contains("the last line says"));
    changes::record(&folder, "a better seed").unwrap();
    let text = fs::read_to_string(root.path().join("CHANGES.md")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("- ")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].ends_with(": first run") && lines[1].ends_with(": a better seed"), "{text}");
    assert!(changes::record(&folder, " ").unwrap_err().to_string().contains("a reason"));
}
