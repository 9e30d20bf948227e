//! The toy scale's committed runs were trained on the tokens that its pairs have today.

use flate2::read::GzDecoder;
use lpc::config::Shape;
use lpc::experiment::base::{CONTEXT, world_tokenizer};
use lpc::experiment::dataset::TextPairs;
use lpc::plan::Scale;
use lpc::plan::matrix::Matrix;
use std::io::Read;

#[test]
fn tokens_are_those_of_the_committed_runs() {
    let mut evidence = String::new();
    let file = std::fs::File::open("reports/toy/table2.evidence.jsonl.gz").unwrap();
    GzDecoder::new(file).read_to_string(&mut evidence).unwrap();
    let matrix = Matrix::built_in(Scale::Toy).unwrap();
    let text = TextPairs::load(&matrix.data).unwrap();
    for shape in [Shape::Llama, Shape::LlamaInstruct, Shape::Mistral] {
        let tokenizer = world_tokenizer(shape).unwrap();
        let data = text.tokenized_by(&tokenizer, CONTEXT, &matrix.truncation).unwrap();
        let manifests = evidence.matches(&format!("\"data\":\"{}\"", data.fingerprint)).count();
        assert!(manifests > 0, "{shape:?}: no committed run has the data {}", data.fingerprint);
    }
}
