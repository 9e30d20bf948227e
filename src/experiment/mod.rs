//! The paper's tables and figures: which runs each is made of, and carrying them out.

pub mod base;
pub mod cell;
pub mod cells;
pub mod codes;
pub mod dataset;
pub mod latents;
pub mod pool;
pub mod prepared;
pub mod reference;
pub mod saved;
pub mod second_data;
pub mod study;
pub mod subject;
pub mod table1;
pub mod table2;
pub mod table3;
pub mod template_date;
