//! From finished runs to tables and figures that lead back to them.

pub mod figure;
pub mod files;
pub mod manifest;
pub mod paper;
pub mod records;
pub mod store;
pub mod table;
pub mod table2;
pub mod table3;
