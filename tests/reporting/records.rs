//! Records survive the disk bit for bit, and faults are named by file and line.

use crate::synthetic;
use lpc::run::records::{Record, read, write};
use proptest::prelude::*;
use std::fs;

/// Any finite double, by its bits.
fn finite() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |v| v.is_finite())
}

proptest! {
    #[test]
    fn every_number_reads_back_bit_for_bit(
        values in prop::array::uniform7(finite()), bayes in 0.0..=1.0f64, id in ".*", index in any::<usize>(),
    ) {
        let [margin, a, b, c, d, e, f] = values;
        let record = Record {
            index, id, source: "s".into(), margin, correct: margin > 0.0, bayes: Some(bayes),
            policy_chosen_logps: a, policy_rejected_logps: b,
            reference_chosen_logps: Some(c), reference_rejected_logps: Some(d),
            marginal_loss: Some(e), bound_gap: Some(f),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        write(&path, std::slice::from_ref(&record)).unwrap();
        let back = read(&path).unwrap().pop().unwrap();
        let bits = |r: &Record| {
            let reference = [r.reference_chosen_logps.unwrap(), r.reference_rejected_logps.unwrap()];
            let exact = [r.marginal_loss.unwrap(), r.bound_gap.unwrap()];
            let own = [r.margin, r.bayes.unwrap(), r.policy_chosen_logps, r.policy_rejected_logps];
            own.into_iter().chain(reference).chain(exact).map(f64::to_bits).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(&back), bits(&record));
        prop_assert_eq!(back, record);
    }
}

/// Changes line 3 of a good file and reads it.
fn broken(change: impl Fn(&str) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    write(&path, &synthetic(1, 5, 0.6)).unwrap();
    let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(String::from).collect();
    let text: Vec<String> =
        lines.iter().enumerate().map(|(i, l)| if i == 2 { change(l) } else { l.clone() }).collect();
    assert_ne!(lines, text, "the change changes something");
    fs::write(&path, text.join("\n")).unwrap();
    let message = read(&path).unwrap_err().to_string();
    assert!(message.contains("records.jsonl:3"), "{message}");
    assert_eq!(message.lines().count(), 1);
    message
}

#[test]
fn faults_name_file_line_and_field() {
    assert!(broken(|l| l[..l.len() / 2].into()).contains("EOF"));
    assert!(broken(|_| String::new()).contains("expected a record"));
    assert!(broken(|l| l.replace("\"margin\"", "\"margins\"")).contains("unknown field `margins`"));
    assert!(
        broken(|l| l.replace("\"index\":2", "\"index\":1"))
            .contains("field `index`: expected above 1, got 1")
    );
    let flipped = |l: &str| {
        if l.contains("true") { l.replace("true", "false") } else { l.replace("false", "true") }
    };
    assert!(broken(flipped).contains("field `correct`"));
    assert!(broken(|l| l.replace("\"bayes\":0.", "\"bayes\":1.")).contains("field `bayes`"));
}

#[test]
fn what_cannot_be_read_back_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let mut records = synthetic(1, 3, 0.6);
    records[1].policy_chosen_logps = f64::NEG_INFINITY;
    let message = write(&path, &records).unwrap_err().to_string();
    assert!(message.contains("records.jsonl:2: field `policy_chosen_logps`"), "{message}");
    assert!(!path.exists());
}
