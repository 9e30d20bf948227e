//! AlpacaEval 2: win rates against its own code and leaderboard, and the judge client against
//! servers that misbehave.

mod answers;
mod endpoints;
mod faults;
#[path = "../common/http.rs"]
mod http;
mod logistic;
#[path = "../common/outcome.rs"]
mod outcome;
#[path = "../common/program.rs"]
mod program;
mod protocol;
mod published;
mod server;
mod table3;
#[path = "../common/tiny.rs"]
mod tiny;
#[path = "../common/toy_runs.rs"]
mod toy_runs;
mod winrate;
