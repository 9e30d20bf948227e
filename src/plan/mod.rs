//! What is to be run: run matrices, studies, and the names of what they become. Pure data.

pub mod matrix;
pub mod study;

use serde::{Deserialize, Serialize};

/// How far the harness went; a report never passes one scale off as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    Toy,
    Small,
    Paper,
}

impl Scale {
    pub fn name(self) -> &'static str {
        match self {
            Self::Toy => "toy",
            Self::Small => "small",
            Self::Paper => "paper",
        }
    }
}

/// The tables that have evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    Table1,
    Table2,
    Table3,
    Figure2,
    Reviews,
}

impl Table {
    pub const ALL: [Self; 5] = [Self::Table1, Self::Table2, Self::Table3, Self::Figure2, Self::Reviews];

    /// As in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table1 => "table1",
            Self::Table2 => "table2",
            Self::Table3 => "table3",
            Self::Figure2 => "figure2",
            Self::Reviews => "reviews",
        }
    }

    /// The page that shows it: the tables share one, a study fills its own.
    pub fn page(self) -> String {
        match self {
            Self::Table1 | Self::Table2 | Self::Table3 => "index.html".into(),
            Self::Figure2 | Self::Reviews => format!("{}.html", self.name()),
        }
    }

    pub fn evidence_file(self) -> String {
        format!("{}.evidence.jsonl.gz", self.name())
    }
}
