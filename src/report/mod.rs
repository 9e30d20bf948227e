//! From the evidence of finished runs to tables and figures. Every number leads back to the records of its runs.
//!
//! | module | what it does |
//! |---|---|
//! | [`publish`] | reads a folder's evidence and writes every file that it makes |
//! | `exhibit` | chooses by the evidence which table it is, and makes the table's Markdown, CSV and LaTeX |
//! | [`table1`], [`table2`], [`table3`] | one table each: estimates from the records, then the document that shows them |
//! | [`study`] | the same for figure 2 and for the reviewers' questions |
//! | [`figure1`] | the architecture, drawn from the shapes of a model; it needs no evidence |
//! | [`document`] | an exhibit's text before it has a format, and a renderer for each format |
//! | [`verdict`] | the rule by which every exhibit decides, and its verdicts in words |
//! | [`text`] | how a number is written: percent, points, intervals, p-values |
//! | `site` | the page over all tables of a folder |
//! | `drawing` | what the pictures have in common: colours, letters, axes |
//! | [`paper`] | the paper's published numbers |
//! | [`claims`] | the paper's claims in words, with a verdict on each at every scale |
//! | [`changes`] | `CHANGES.md`: when a published number moved, and why |
//!
//! `CONTRIBUTING.md` follows one cell of table 2 back to its records, step by step.

pub mod changes;
pub mod claims;
pub mod document;
mod drawing;
mod exhibit;
pub mod figure1;
pub mod paper;
pub mod publish;
mod site;
pub mod study;
pub mod table1;
pub mod table2;
pub mod table3;
pub mod text;
pub mod verdict;
