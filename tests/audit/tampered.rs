//! What was changed is found, and nothing crashes.

use crate::program::Lpc;
use crate::support::Published;
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use lpc::audit::report::{Audit, Severity, audit};
use lpc::report::changes;
use lpc::report::publish::{SUMS, publish, sums};
use lpc::seed::{below, stream};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

fn differences(audit: &Audit) -> Vec<String> {
    let differences = audit.findings.iter().filter(|f| f.severity == Severity::Difference);
    differences.map(ToString::to_string).collect()
}

fn look(published: &Published) -> Audit {
    audit(&published.folder(), &published.runs())
}

#[test]
fn what_was_published_has_no_difference() {
    let published = Published::new();
    let audit = look(&published);
    assert_eq!(differences(&audit), Vec::<String>::new());
    let checked = audit.checked.join("\n");
    assert!(checked.contains("7 of 7 runs: records to manifest"), "{checked}");
    assert!(checked.contains("7 of 7 runs are in"), "{checked}");
    assert!(checked.contains("5 of 5 tables, figures and pages"), "{checked}");
    assert!(checked.contains("data of 7 runs generated again"), "{checked}");
    // The seed that never ran.
    let flags: Vec<String> = audit.findings.iter().map(ToString::to_string).collect();
    let missing = "flag: table2: toy <Llama>, SimPO, with LPC: seeds 2 of the matrix are missing";
    assert!(flags.contains(&missing.to_string()), "{flags:#?}");
    // DPO's margins follow from log-probabilities and are not kept; SimPO's need lengths and are.
    let runs = unpack(&published.folder().join("table2.evidence.jsonl.gz"));
    let kept: Vec<bool> = runs
        .lines()
        .filter(|l| l.starts_with("{\"run\""))
        .map(|l| !l.contains("[\"margin\",null]"))
        .collect();
    assert_eq!(kept, [false, false, false, false, true, true, true]);
    // A clone has no runs: the same but for them.
    let alone = lpc::audit::report::audit(&published.folder(), Path::new("nowhere"));
    assert_eq!(differences(&alone), Vec::<String>::new());
    assert!(alone.checked.join("\n").contains("0 of 7 runs are in nowhere"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.is_file() && f.file_name().unwrap() != "lock");
    files.sort();
    files
}

/// One byte, anywhere: in records, metrics, recipes and manifests, in evidence, tables, figure, page, sums.
#[test]
fn a_hundred_random_bytes_are_all_found() {
    let published = Published::new();
    let mut all = files(&published.folder());
    for id in &published.ids {
        all.extend(files(&published.runs().join(id)));
    }
    assert_eq!(all.len(), 7 + 4 * 7);
    let mut rng = stream(1, "tampered");
    for change in 0..100 {
        // Every file in turn, then again, at another place.
        let path = &all[change % all.len()];
        let before = fs::read(path).unwrap();
        let mut after = before.clone();
        let at = below(&mut rng, after.len());
        after[at] ^= 1 + below(&mut rng, 255) as u8;
        fs::write(path, &after).unwrap();
        let found = differences(&look(&published));
        let what = format!("{} byte {at}: {} -> {}", path.display(), before[at], after[at]);
        assert!(!found.is_empty(), "not found: {what}");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(found.iter().any(|f| f.contains(name)), "{what} is not named: {found:#?}");
        fs::write(path, before).unwrap();
    }
    assert_eq!(differences(&look(&published)), Vec::<String>::new());
}

fn unpack(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn pack(path: &Path, text: &[u8]) {
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::fast());
    writer.write_all(text).unwrap();
    fs::write(path, writer.finish().unwrap()).unwrap();
}

/// Behind the checksum of gzip: whatever the evidence says then, the audit ends and finds something.
#[test]
fn evidence_that_says_anything_crashes_nothing() {
    let published = Published::new();
    let path = published.folder().join("table2.evidence.jsonl.gz");
    let before = fs::read(&path).unwrap();
    let text = unpack(&path).into_bytes();
    let mut rng = stream(2, "tampered evidence");
    let digits = b"0123456789-.eE\"[]{},:ntf ";
    for _ in 0..150 {
        let mut after = text.clone();
        for _ in 0..=below(&mut rng, 3) {
            let at = below(&mut rng, after.len());
            after[at] = digits[below(&mut rng, digits.len())];
        }
        if after == text {
            continue;
        }
        pack(&path, &after);
        let folder = published.folder();
        // A careful forger: sums and pages are made to agree, where pages can be made at all.
        if publish(&folder).is_err() {
            fs::write(folder.join(SUMS), sums(&folder).unwrap()).unwrap();
        }
        let _ = look(&published);
    }
    fs::write(&path, before).unwrap();
}

/// A forger who turns one verdict and publishes again: the manifest's hash of the records stays.
#[test]
fn a_turned_verdict_is_found_behind_everything_else() {
    let published = Published::new();
    let folder = published.folder();
    let path = folder.join("table2.evidence.jsonl.gz");
    let text = unpack(&path);
    let column = text.lines().find(|l| l.starts_with("{\"column\":{\"f32\":[-")).unwrap();
    let start = column.find('[').unwrap() + 1;
    let end = start + column[start..].find(',').unwrap();
    let forged = format!("{}-0.5{}", &column[..start], &column[end..]);
    pack(&path, text.replacen(column, &forged, 1).as_bytes());
    publish(&folder).unwrap();
    changes::record(&folder, "Nothing to see.").unwrap();
    let found = differences(&audit(&folder, Path::new("nowhere")));
    assert!(!found.is_empty());
    for line in &found {
        assert!(line.contains("toy <Llama>, DPO, without LPC, seed 1, run "), "{line}");
    }
    assert!(
        found.iter().any(|l| l.contains("its records do not have the hash that its manifest states")),
        "{found:#?}"
    );
}

/// Tables are made, and their numbers checked, though a recipe has a key that this version does not know.
#[test]
fn recipes_of_other_versions_stay_readable() {
    let published = Published::new();
    let path = published.folder().join("table2.evidence.jsonl.gz");
    let text = unpack(&path);
    let newer = text.replace("\"epochs\":1,", "\"epochs\":1,\"newer\":2,");
    assert_ne!(text, newer);
    pack(&path, newer.as_bytes());
    publish(&published.folder()).unwrap();
    let found = differences(&audit(&published.folder(), Path::new("nowhere")));
    // The key was not part of what these runs were made from.
    assert_eq!(found.len(), 7, "{found:#?}");
    assert!(found.iter().all(|l| l.contains("hash to run ")), "{found:#?}");
}

/// The finding names the cell: its row, its column, both values.
#[test]
fn a_changed_digit_is_led_to_its_cell() {
    let published = Published::new();
    let change = |name: &str, from: &str, to: &str| {
        let path = published.folder().join(name);
        let before = fs::read_to_string(&path).unwrap();
        let after = before.replacen(from, to, 1);
        assert_ne!(before, after, "{name} has {from}");
        fs::write(&path, after).unwrap();
        let found = differences(&look(&published));
        fs::write(&path, before).unwrap();
        found
    };
    let csv = fs::read_to_string(published.folder().join("table2.csv")).unwrap();
    let row = csv.lines().find(|l| l.contains(",DPO,with,,accuracy,percent,")).unwrap();
    let value = row.split(',').nth(7).unwrap();
    let other = value.replace('.', "1.");
    let found = change("table2.csv", row, &row.replace(value, &other));
    let cell = "toy <Llama>, DPO, with, accuracy, percent, value: ";
    let says = format!("{cell}`{other}`, the evidence gives `{value}`");
    assert!(found.iter().any(|l| l.ends_with(&says)), "{found:#?}");
    // Its numbers are not the recorded ones any more, either.
    assert!(found.iter().any(|l| l.contains("CHANGES.md: toy/table2: its numbers are")), "{found:#?}");

    let page = fs::read_to_string(published.folder().join("table2.md")).unwrap();
    let row = page.lines().find(|l| l.starts_with("| toy <Llama> | SimPO |")).unwrap();
    let paper = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
    let found = change("table2.md", row, &row.replace(paper, "99.9 → 99.9"));
    let says = format!("Paper, 7–8B: without → with: `99.9 → 99.9`, the evidence gives `{paper}`");
    assert!(found.iter().any(|l| l.contains("table2.md: line ") && l.ends_with(&says)), "{found:#?}");

    let found = change("index.html", "not the paper", "not the papyr");
    assert!(found.iter().any(|l| l.contains("index.html: line ")), "{found:#?}");
}

#[test]
fn missing_and_foreign_files_are_found() {
    let published = Published::new();
    let folder = published.folder();
    fs::write(folder.join("extra.md"), "text").unwrap();
    assert!(differences(&look(&published)).iter().any(|l| l.contains("extra.md: not in SHA256SUMS")));
    fs::remove_file(folder.join("extra.md")).unwrap();
    let before = fs::read(folder.join("table2.svg")).unwrap();
    fs::remove_file(folder.join("table2.svg")).unwrap();
    let found = differences(&look(&published));
    assert!(
        found.iter().any(|l| l.contains("table2.svg: stated by SHA256SUMS, but not there")),
        "{found:#?}"
    );
    fs::write(folder.join("table2.svg"), before).unwrap();
    fs::remove_file(published.runs().join(&published.ids[0]).join("records.jsonl")).unwrap();
    assert!(differences(&look(&published)).iter().any(|l| l.contains("records.jsonl")));
    fs::remove_file(folder.join("table2.evidence.jsonl.gz")).unwrap();
    assert!(differences(&look(&published)).iter().any(|l| l.contains("no evidence")));
}

/// What a hurried user types: one line that says what was expected, status 1.
#[test]
fn folders_without_a_report() {
    let lpc = Lpc::new();
    fs::create_dir_all(lpc.path("empty")).unwrap();
    fs::create_dir_all(lpc.path("cut")).unwrap();
    lpc.write("file", "text");
    let published = Published::new();
    for file in files(&published.folder()) {
        fs::copy(&file, lpc.path("cut").join(file.file_name().unwrap())).unwrap();
    }
    let evidence = lpc.path("cut").join("table2.evidence.jsonl.gz");
    let bytes = fs::read(&evidence).unwrap();
    for (name, expected) in [
        ("missing", "expected a folder of reports, or the word `paper`, got nothing there"),
        ("file", "expected a folder of reports, or the word `paper`, got a file"),
        ("empty", "expected every number, file and hash as the evidence gives it, got 2 that differ"),
        ("cut", "expected every number, file and hash as the evidence gives it, got "),
    ] {
        for part in 0..=9 {
            fs::write(&evidence, &bytes[..bytes.len() * part / 10]).unwrap();
            let output = lpc.run(&["audit", name]);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{name}: {errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
            assert!(errors.contains(expected), "{errors}");
            if name != "cut" {
                break;
            }
        }
    }
}
