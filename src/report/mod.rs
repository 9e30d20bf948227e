//! From finished runs to tables and figures that lead back to them.

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
