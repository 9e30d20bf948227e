//! A run is finished exactly when its manifest says so and its files agree with it.

use crate::{recipe, synthetic};
use lpc::config::*;
use lpc::run::manifest::{Code, Machine, Outcome, peak_memory_mib};
use lpc::run::records::Record;
use lpc::run::store::{Begin, Claim, RunKey, Store};
use std::fs;
use std::path::Path;

fn key() -> RunKey {
    RunKey { recipe: recipe(), data: "data-1".into(), model: "model-1".into(), numerics: 1 }
}

fn outcome(test_pairs: usize) -> Outcome {
    Outcome {
        started: "2025-01-02T03:04:05Z".parse().unwrap(),
        finished: "2025-01-02T03:05:06.5Z".parse().unwrap(),
        wall_seconds: 61.5,
        peak_memory_mib: peak_memory_mib(),
        steps: 2,
        metrics: [("loss".to_string(), 0.1 + 0.2)].into(),
        train_pairs: 64,
        test_pairs,
        truncated: 1,
    }
}

fn train(store: &Store, key: &RunKey) -> Claim {
    match store.begin(key).unwrap() {
        Begin::Train(claim) => *claim,
        Begin::Finished(_) => panic!("not finished yet"),
    }
}

fn finish(claim: Claim, records: &[Record]) -> lpc::Result<lpc::run::manifest::Manifest> {
    fs::write(claim.metrics(), "{\"step\":1}\n{\"step\":2}\n").unwrap();
    claim.finish(records, Machine::on(&candle_core::Device::Cpu), outcome(records.len()))
}

#[test]
fn the_id_is_the_hash_of_canonical_json() {
    // Python: hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).
    assert_eq!(key().id(), "0a885dce210819df");
}

#[test]
fn moved_files_keep_the_id() {
    let of = |place: &str| RunKey {
        recipe: Recipe {
            model: ModelSource::Folder { path: format!("{place}/model").into() },
            data: DataSource::Jsonl {
                folder: format!("{place}/pairs").into(),
                limit: None,
                empty_completion: EmptyCompletion::Refuse,
                flip_rate: 0.0,
                flip_marked: false,
                identical_completions: IdenticalCompletions::Train,
            },
            ..recipe()
        },
        ..key()
    };
    // Python, as above, of the key without `recipe.model.path` and `recipe.data.folder`.
    assert_eq!([of("here").id(), of("there").id()], ["886fb2e806672430"; 2]);
}

#[test]
fn whatever_decides_numbers_changes_the_id() {
    let mut others = vec![key(); 5];
    others[0].recipe.seed += 1;
    others[1].recipe.training.learning_rate *= 2.0;
    others[2].data += "x";
    others[3].model += "x";
    others[4].numerics += 1;
    let mut ids: Vec<String> = others.iter().map(RunKey::id).chain([key().id()]).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    // Neighbouring fields do not run into each other.
    let shifted = RunKey { data: "data-1m".into(), model: "odel-1".into(), ..key() };
    assert!(!ids.contains(&shifted.id()));
}

#[test]
fn a_run_from_beginning_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = (Store::new(folder.path().join("runs")), key());
    let id = key.id();
    assert_eq!(store.finished(&id).unwrap(), None, "no such run");

    let claim = train(&store, &key);
    let run = store.folder(&id);
    assert_eq!(claim.folder(), run);
    assert_eq!(lpc::config::Recipe::read(&run.join("recipe.toml")).unwrap(), key.recipe);
    fs::create_dir(claim.checkpoint()).unwrap();
    fs::write(claim.checkpoint().join("state"), "half-way").unwrap();
    fs::write(run.join("records.jsonl"), "").unwrap();
    assert_eq!(store.finished(&id).unwrap(), None, "records alone do not finish a run");
    let message = store.records(&id).unwrap_err().to_string();
    assert!(message.contains("expected a finished run, got no manifest.json"), "{message}");

    let records = synthetic(3, 20, 0.7);
    let written = finish(claim, &records).unwrap();
    assert_eq!(store.finished(&id).unwrap(), Some(written.clone()));
    assert_eq!(store.records(&id).unwrap(), records);
    assert!(!run.join("checkpoint").exists());
    assert_eq!((written.run.as_str(), &written.code), (id.as_str(), &Code::current()));
    match store.begin(&key).unwrap() {
        Begin::Finished(manifest) => assert_eq!(*manifest, written),
        Begin::Train(_) => panic!("a finished run is not trained twice"),
    }
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let claim = train(&store, &key());
    let message = store.begin(&key()).unwrap_err().to_string();
    let holder = format!("process {} at it", std::process::id());
    assert!(
        message.contains("lock: expected a run that nobody trains") && message.contains(&holder),
        "{message}"
    );
    let other = RunKey { data: "data-2".into(), ..key() };
    drop(train(&store, &other));
    drop(claim);
    drop(train(&store, &key()));
}

#[test]
fn a_faulty_end_leaves_the_run_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let unfinished = |what: &str, message: String| {
        assert!(message.contains(what), "{message}");
        assert_eq!(store.finished(&key().id()).unwrap(), None);
    };

    let claim = train(&store, &key());
    let e =
        claim.finish(&synthetic(1, 4, 0.5), Machine::on(&candle_core::Device::Cpu), outcome(4)).unwrap_err();
    unfinished("metrics.jsonl", e.to_string());

    let mut records = synthetic(1, 4, 0.5);
    records[2].margin = f64::NAN;
    unfinished(
        "records.jsonl:3: field `margin`",
        finish(train(&store, &key()), &records).unwrap_err().to_string(),
    );

    let mut bad = outcome(4);
    bad.metrics.insert("accuracy".into(), f64::NAN);
    let e = train(&store, &key())
        .finish(&synthetic(1, 4, 0.5), Machine::on(&candle_core::Device::Cpu), bad)
        .unwrap_err();
    unfinished("metrics.accuracy = NaN", e.to_string());

    let e = train(&store, &key())
        .finish(&synthetic(1, 4, 0.5), Machine::on(&candle_core::Device::Cpu), outcome(5))
        .unwrap_err();
    unfinished("test_pairs = 5, expected 4 records", e.to_string());
}

/// Finishes a run, changes one of its files, and returns what reading it says.
fn tampered(file: &str, change: impl Fn(&str) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    finish(train(&store, &key()), &synthetic(3, 20, 0.7)).unwrap();
    let path = store.folder(&key().id()).join(file);
    let before = fs::read_to_string(&path).unwrap();
    let after = change(&before);
    assert_ne!(before, after, "the change changes something");
    fs::write(&path, after).unwrap();
    let message = store.records(&key().id()).unwrap_err().to_string();
    // Refused when someone wants to train it, too: never silently trained again.
    assert_eq!(store.begin(&key()).unwrap_err().to_string(), message);
    assert!(message.contains(file) && message.lines().count() == 1, "{message}");
    message
}

#[test]
fn damage_is_refused() {
    // A single digit in a record that stays a valid record.
    let digit = |t: &str| {
        t.replacen("-10.", "-1.", 1).replacen("\"policy_chosen_logps\":-", "\"policy_chosen_logps\":-1", 1)
    };
    assert!(tampered("records.jsonl", digit).contains("expected sha256"));
    assert!(tampered("metrics.jsonl", |t| t.replace('2', "3")).contains("expected sha256"));
    assert!(tampered("recipe.toml", |t| t.replace("seed = 7", "seed = 8")).contains("the manifest's recipe"));
    assert!(tampered("manifest.json", |t| t[..t.len() / 2].into()).contains("a run's manifest"));
    assert!(
        tampered("manifest.json", |t| t.replace("\"seed\": 7", "\"seed\": 8")).contains("field `recipe`")
    );
    assert!(tampered("manifest.json", |t| t.replace("data-1", "data-2")).contains("field `recipe`"));
    let other_run = |t: &str| t.replace(&key().id(), "0123456789abcdef");
    assert!(tampered("manifest.json", other_run).contains("field `run`"));
    let unknown = |t: &str| t.replacen('{', "{\"extra\": 1,", 1);
    assert!(tampered("manifest.json", unknown).contains("unknown field `extra`"));
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    finish(train(&store, &key()), &synthetic(3, 20, 0.7)).unwrap();
    fs::remove_file(store.folder(&key().id()).join("records.jsonl")).unwrap();
    assert!(store.finished(&key().id()).unwrap_err().to_string().contains("records.jsonl"));
}

#[test]
fn this_build_and_machine_describe_themselves() {
    let code = Code::current();
    assert!(code.fingerprint.len() == 64 && code.fingerprint.chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(code.git_commit.is_some(), code.git_dirty.is_some());
    let is_checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    assert!(is_checkout || code.git_commit.is_none());
    let machine = Machine::on(&candle_core::Device::Cpu);
    assert!(!machine.device.is_empty() && machine.threads > 0);
    // A test process is larger than a MiB and smaller than a TiB: the unit is right.
    assert!(peak_memory_mib().is_none_or(|m| (1.0..1e6).contains(&m)));
}
