//! Numbers led back to their evidence: the paper's tables, and our own reports byte by byte.

mod committed;
mod page;
mod paper;
mod support;
mod tampered;
