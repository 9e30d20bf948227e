//! AlpacaEval 2: win rates against its own code and leaderboard, and the judge client against
//! servers that misbehave.

mod answers;
mod endpoints;
mod faults;
mod logistic;
mod protocol;
mod published;
mod server;
mod table3;
// Shared with tests/loading, which uses the rest of it.
#[allow(dead_code)]
#[path = "../loading/tiny.rs"]
mod tiny;
mod winrate;
