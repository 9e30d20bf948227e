//! Numbers led back to their evidence: a report's to the records of its runs, the paper's to what its
//! test sets allow.

pub mod paper;
pub mod report;
