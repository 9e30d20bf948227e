//! Table 1: four benchmarks for each base model and each of its runs.

use crate::config::{DataSource, Recipe};
use crate::data::overlap::{self, Item};
use crate::data::pairs::Pair;
use crate::error::{Error, Result};
use crate::eval::harness::data::{self, Span};
use crate::eval::harness::{self, Record, Subject};
use crate::eval::journal::Journal;
use crate::eval::predictor::Predictor;
use crate::eval::tasks::{Document, HARNESS, Task, world};
use crate::experiment::cells;
use crate::experiment::dataset::TextPairs;
use crate::experiment::pool::parallel;
use crate::experiment::prepared::reference_policy;
use crate::experiment::saved::{self, with_model};
use crate::experiment::settings::{Reproduced, Settings, header, label};
use crate::model::load::Loaded;
use crate::passes::policy::Policy;
use crate::plan::Table;
use crate::plan::matrix::{Matrix, MatrixCell};
use crate::progress::Progress;
use crate::report::table1::{COLUMNS, WORLD, base_column};
use crate::run::evidence::Evidence;
use crate::run::store::Store;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// Where the documents come from.
pub enum Benchmarks {
    /// The built-in world's analogues.
    World,
    /// A folder of tasks; at most so many documents of each.
    Folder { folder: PathBuf, limit: Option<usize> },
}

/// A task's documents, with the hashes of the files that they were read from.
struct Asked {
    task: Task,
    documents: Vec<Document>,
    sha256: Vec<String>,
}

impl Benchmarks {
    fn read(&self, matrix: &Matrix) -> Result<Vec<Asked>> {
        let asked = |task: Task| match (self, &matrix.data) {
            (Self::World, DataSource::World(of)) => {
                Ok(Asked { task, documents: world::documents(task, of.seed), sha256: vec![] })
            }
            (Self::World, _) => {
                let expected = "--tasks, a folder of them, or data of the built-in world";
                Err(Error::argument("table1", "benchmarks", "none", expected))
            }
            (Self::Folder { folder, limit }, _) => {
                let data::Documents { documents, sha256 } = data::read(task, folder)?;
                let documents = Span { start: 0, end: None }.of(documents, *limit)?;
                Ok(Asked { task, documents, sha256 })
            }
        };
        COLUMNS.iter().map(|column| asked(column.task)).collect()
    }

    fn note(&self, asked: &[Asked]) -> String {
        let counts: Vec<String> =
            asked.iter().map(|a| format!("{} of {}", a.documents.len(), a.task.name())).collect();
        match self {
            Self::World => {
                format!(
                    "Documents of the built-in world, in the place of the benchmarks': {}.",
                    counts.join(", ")
                )
            }
            Self::Folder { limit, .. } => {
                let some = limit.map_or(String::new(), |n| format!(", the first {n} at most"));
                format!("Benchmarks as in {HARNESS}: {} documents{some}.", counts.join(", "))
            }
        }
    }
}

/// Trains what is missing, measures every base model and every run, and writes `table1.{md,csv,tex}`.
/// Answers are kept as they come: the same command goes on after any stop.
///
/// Errors: documents that cannot be read; a model whose window is too short for them.
pub fn reproduce(
    matrix: &Matrix,
    settings: &Settings,
    benchmarks: &Benchmarks,
    progress: &Progress,
) -> Result<Reproduced> {
    let (workers, threads_each) = settings.workers();
    // Documents first: what is wrong with them is known before anything is trained.
    let asked = benchmarks.read(matrix)?;
    let text = TextPairs::load(&matrix.data)?;
    let kept = Journal::open(&settings.runs.join("table1").join("answers.jsonl"))?;
    let measuring = Measuring { asked: &asked, kept: &kept, progress };
    let bases = parallel(&matrix.models, workers, threads_each, |model| {
        let prepared = settings.prepare(matrix, model, &text, progress)?;
        let policy = reference_policy(&prepared.base, matrix.training.dtype, &settings.device)?;
        let identity = format!("{} {:?}", prepared.base.fingerprint, matrix.training.dtype);
        let measured = measuring.all(None, &prepared.base, &policy, &identity, &model.name)?;
        Ok((prepared, measured))
    })?;

    let cells = matrix.cells();
    let store = Store::new(&settings.runs);
    let outcomes = cells::each("table1", &cells, settings, progress, label, |cell| {
        let model = matrix.models.iter().position(|m| m.name == cell.base);
        let (prepared, base) = &bases[model.expect("a cell's model is in its matrix")];
        let run = with_model(cell, prepared, &store, progress)?;
        let (recipe, loaded, policy) = saved::load(&store.folder(&run), &settings.device)?;
        let measured = measuring.all(Some(&recipe), &loaded, &policy, &run, &label(cell))?;
        Ok((run, measured, base))
    })?;
    let runs: Vec<(&MatrixCell, &(String, Measured, &Measured))> = outcomes.measured().collect();

    // Measured on documents that a user brings, the toy scale's table is nobody else's.
    let built_in = Matrix::built_in(settings.scale).is_ok_and(|built_in| built_in.same_experiment(matrix));
    let partial = matches!(benchmarks, Benchmarks::Folder { limit: Some(_), .. });
    let foreign = matches!((benchmarks, &matrix.data), (Benchmarks::Folder { .. }, DataSource::World(_)));
    let mut notes = text.notes.clone();
    notes.push(benchmarks.note(&asked));
    let truncated: usize = runs.iter().map(|(_, (_, m, _))| m.truncated).sum::<usize>()
        + bases.iter().map(|(_, m)| m.truncated).sum::<usize>();
    notes.push(format!(
        "Contexts that lost their beginning to a model's window, over all models: {truncated}."
    ));
    notes.extend(without_found(benchmarks, matrix, &asked, &text.train, &runs));
    let mut header = header(Table::Table1, matrix, settings.scale, !built_in || partial || foreign, notes);
    let counts = asked.iter().map(|a| (format!("documents/{}", a.task.name()), a.documents.len() as f64));
    let world = f64::from(u8::from(matches!(benchmarks, Benchmarks::World)));
    header.settings.extend(counts.chain([(WORLD.to_string(), world)]));
    let mut evidence = Evidence::new(header);
    evidence.header.not_run = outcomes.not_run();
    for (cell, (run, measured, base)) in runs {
        let of_base = base.columns.iter().map(|(name, values)| (base_column(name), values.clone()));
        let measured = measured.columns.iter().cloned().chain(of_base).collect();
        evidence.add(&store, run, (&cell.base, &cell.objective, cell.latent), measured)?;
    }
    outcomes.finish(settings.publish(&evidence)?)
}

/// Where documents stand in training pairs: what the table's numbers are with them and without.
fn without_found(
    benchmarks: &Benchmarks,
    matrix: &Matrix,
    asked: &[Asked],
    train: &[Pair],
    runs: &[(&MatrixCell, &(String, Measured, &Measured))],
) -> Vec<String> {
    // The built-in world's documents are made of what its pairs are made of.
    if !matches!((benchmarks, &matrix.data), (Benchmarks::Folder { .. }, DataSource::Jsonl { .. })) {
        return vec![];
    }
    let note = |(column, Asked { task, documents, .. }): (usize, &Asked)| {
        let item = |d: &Document| Item { task: task.name().into(), line: d.line, text: d.asked().into() };
        let items: Vec<Item> = documents.iter().map(item).collect();
        // A row's seeds lie one behind the other.
        let mut rows: BTreeMap<String, Vec<&[f64]>> = BTreeMap::new();
        for (cell, (_, measured, base)) in runs {
            let latent = if cell.latent { " with a latent" } else { "" };
            let own = format!("{} {}{latent}", cell.base, cell.objective);
            rows.entry(own).or_default().push(&measured.columns[column].1);
            rows.entry(cell.base.clone()).or_insert_with(|| vec![&base.columns[column].1]);
        }
        note_on_found(task.name(), &items, train, &rows)
    };
    asked.iter().enumerate().filter_map(note).collect()
}

/// `rows`: verdicts on the items, by what the row is called, for each of its seeds.
fn note_on_found(
    task: &str,
    items: &[Item],
    train: &[Pair],
    rows: &BTreeMap<String, Vec<&[f64]>>,
) -> Option<String> {
    let found: HashSet<usize> = overlap::find(items, train).into_iter().map(|hit| hit.item).collect();
    if found.is_empty() {
        return None;
    }
    let (count, total) = (found.len(), items.len());
    let stand = format!(
        "{task}: {count} of {total} questions stand in training pairs ({} words in a row, or all of fewer).",
        overlap::WORDS
    );
    if count == total {
        return Some(stand);
    }
    let row = |(name, seeds): (&String, &Vec<&[f64]>)| {
        let percent = |sum: f64, of: usize| 100.0 * sum / (of * seeds.len()) as f64;
        let left = |values: &&[f64]| -> f64 {
            values.iter().enumerate().filter(|(i, _)| !found.contains(i)).map(|(_, value)| value).sum()
        };
        let with = percent(seeds.iter().map(|values| values.iter().sum::<f64>()).sum(), total);
        let without = percent(seeds.iter().map(left).sum(), total - count);
        format!("{name} {with:.2} and {without:.2}")
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    Some(format!("{stand} Percent with them and without: {}.", rows.join(", ")))
}

/// What every model is asked, and what was answered already.
struct Measuring<'a> {
    asked: &'a [Asked],
    kept: &'a Journal<Record>,
    progress: &'a Progress,
}

/// A verdict a document, by task.
struct Measured {
    columns: Vec<(String, Vec<f64>)>,
    truncated: usize,
}

impl Measuring<'_> {
    /// `identity` names the weights and the latent.
    fn all(
        &self,
        recipe: Option<&Recipe>,
        loaded: &Loaded,
        policy: &Policy,
        identity: &str,
        name: &str,
    ) -> Result<Measured> {
        let predictor = Predictor::new(policy, recipe, None)?;
        let latent = recipe.filter(|_| policy.heads.is_some()).map(|r| format!("{:?}", r.evaluation.latent));
        let mut measured = Measured { columns: vec![], truncated: 0 };
        for (column, asked) in COLUMNS.iter().zip(self.asked) {
            let subject = Subject {
                predictor: &predictor,
                tokenizer: &loaded.tokenizer,
                seed: recipe.map_or(1, |r| r.seed),
                latent: latent.clone(),
                identity: format!("{identity}\n{HARNESS}\n{:?}", asked.sha256),
            };
            let bar = self.progress.task(format!("{name}: {}", asked.task.name()), asked.documents.len());
            let records = harness::run(asked.task, &asked.documents, &subject, self.kept, &bar)?;
            measured.truncated += records.iter().filter(|r| r.truncated).count();
            let verdict = |record: &Record| {
                record.verdicts.get(column.metric).copied().ok_or_else(|| {
                    Error::argument("table1", column.metric, "none", "a verdict on every document")
                })
            };
            let verdicts = records.iter().map(verdict).collect::<Result<_>>()?;
            measured.columns.push((asked.task.name().into(), verdicts));
        }
        Ok(measured)
    }
}

#[cfg(test)]
mod tests {
    use super::note_on_found;
    use crate::data::overlap::Item;
    use crate::data::pairs::Pair;

    /// Of four questions the first and the third stand in pairs: 0 1 1 1 and 1 1 1 0 are right.
    /// By hand: all, (3 + 3) / 8; without those two, (2 + 1) / 4; the base model, 2 / 4 and 2 / 2.
    #[test]
    fn found_questions_are_named_with_what_is_left() {
        let texts = [
            "Which animal has the longest neck of all?",
            "What is the capital of the north?",
            "How many legs has an ordinary spider?",
            "Who wrote the oldest of these books?",
        ];
        let item = |(i, text): (usize, &&str)| Item { task: "t".into(), line: i + 1, text: text.to_string() };
        let items: Vec<Item> = texts.iter().enumerate().map(item).collect();
        let asks = |text: &str| Pair::of_texts(&format!("Say: {text}"), "a", "b");
        let pairs = [asks(texts[0]), asks("Nothing that anybody asks in a benchmark."), asks(texts[2])];
        let rows = [
            ("m dpo".to_string(), vec![&[0.0, 1.0, 1.0, 1.0][..], &[1.0, 1.0, 1.0, 0.0]]),
            ("m".to_string(), vec![&[0.0, 1.0, 0.0, 1.0][..]]),
        ];
        let note = |pairs: &[Pair]| note_on_found("t", &items, pairs, &rows.clone().into());
        assert_eq!(
            note(&pairs).unwrap(),
            "t: 2 of 4 questions stand in training pairs (13 words in a row, or all of fewer). Percent with \
             them and without: m 50.00 and 100.00, m dpo 75.00 and 75.00."
        );
        assert_eq!(note(&pairs[1..2]), None);
        let all = texts.map(asks);
        assert!(
            note(&all)
                .unwrap()
                .ends_with("4 of 4 questions stand in training pairs (13 words in a row, or all of fewer).")
        );
    }
}
