//! The built-in world's versions of the four benchmarks. They ask what the world taught, in prompts that no training
//! pair has. The code that measures the real benchmarks measures them.
//!
//! | benchmark | analogue |
//! |---|---|
//! | ARC-Easy | capitals, colours and homes, four choices |
//! | ARC-Challenge | opposites and tools, four choices |
//! | GSM8K | sums and differences, written out; the word after the first `is` counts |
//! | TruthfulQA | common myths against the truth: mc1, mc2 |

use super::filters::{Filter, INVALID};
use super::{ChoiceMetric, Document, Question, Task, Written};
use crate::data::world::held_out_prompt;
use crate::data::world::knowledge::Relation;
use crate::seed::{permutation, stream};

/// Documents of a task at most; the world has fewer prompts about myths.
const MOST: usize = 400;

/// Prompts drawn in search of them.
const DRAWS: usize = 40_000;

/// A completion's sentence ends here.
pub(super) const STOPS: [&str; 1] = [" ."];
pub(super) const MAX_NEW_TOKENS: usize = 24;
pub(super) const FILTERS: [(&str, Filter); 1] = [("strict-match", stated)];

/// The text before a scored choice: completions state their answer like this.
const STATES: &str = "the answer here is";

/// The word after the first `is`.
///
/// ```
/// use lpc::eval::tasks::world::stated;
/// assert_eq!((stated("i think it is seven since").as_str(), stated("seven").as_str()), ("seven", "[invalid]"));
/// ```
pub fn stated(text: &str) -> String {
    text.split_whitespace().skip_while(|word| *word != "is").nth(1).unwrap_or(INVALID).to_string()
}

/// The analogue of `task`, the same for the same seed of the world.
pub fn documents(task: Task, seed: u64) -> Vec<Document> {
    let relations: &[Relation] = match task {
        Task::ArcEasy => &[Relation::Capital, Relation::Colour, Relation::Home],
        Task::ArcChallenge => &[Relation::Opposite, Relation::Tool],
        Task::Gsm8k => &[Relation::Sum, Relation::Difference],
        Task::TruthfulqaMc1 | Task::TruthfulqaMc2 => &[Relation::Myth],
    };
    let mut rng = stream(seed, &format!("world/benchmarks/{}", task.name()));
    let mut documents: Vec<Document> = vec![];
    for _ in 0..DRAWS {
        let (prompt, asked) = held_out_prompt(&mut rng);
        let behind = |words: &str| format!("{prompt} {words}");
        let context = if task == Task::Gsm8k { prompt.clone() } else { behind(STATES) };
        if !relations.contains(&asked.relation) || documents.iter().any(|d| d.context == context) {
            continue;
        }
        let answer = asked.answer.to_string();
        let question = match task {
            Task::ArcEasy | Task::ArcChallenge => {
                let wrong =
                    permutation(&mut rng, asked.wrong.len()).into_iter().take(3).map(|i| asked.wrong[i]);
                let mut choices: Vec<String> = wrong.map(String::from).collect();
                let gold = permutation(&mut rng, choices.len() + 1)[0];
                choices.insert(gold, answer);
                Question::Choice { choices, gold, metrics: &[ChoiceMetric::Acc] }
            }
            Task::Gsm8k => Question::Text { answer, written: Written::World },
            Task::TruthfulqaMc1 | Task::TruthfulqaMc2 => {
                let choices: Vec<String> =
                    std::iter::once(answer).chain(asked.wrong.iter().map(|w| w.to_string())).collect();
                match task {
                    Task::TruthfulqaMc1 => {
                        Question::Choice { choices, gold: 0, metrics: &[ChoiceMetric::Acc] }
                    }
                    _ => Question::Share { truths: (0..choices.len()).map(|i| i == 0).collect(), choices },
                }
            }
        };
        let index = documents.len();
        documents.push(Document { index, line: index + 1, id: None, context, question });
        if documents.len() == MOST {
            break;
        }
    }
    documents
}
