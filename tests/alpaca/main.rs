//! AlpacaEval 2: win rates against its own code and leaderboard, and the judge client against
//! servers that misbehave.

mod logistic;
mod published;
mod winrate;
