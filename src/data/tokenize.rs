//! stub until merged
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizedPair {
    pub index: usize,
    pub prompt: Vec<u32>,
    pub chosen: Vec<u32>,
    pub rejected: Vec<u32>,
    pub prompt_truncated: bool,
    pub completion_truncated: bool,
}
