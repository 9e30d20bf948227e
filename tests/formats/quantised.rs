//! Every kind of weight that a GGUF file may hold, as the gguf package dequantises it
//! (fixtures/loading/generate_gguf.py).

use crate::support::json;
use crate::tiny;
use crate::tiny_files;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use lpc::model::config::DecoderConfig;
use lpc::model::load::gguf;

fn dtype(name: &str) -> GgmlDType {
    use GgmlDType::{BF16, F16, F32, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    match name {
        "F32" => F32,
        "F16" => F16,
        "BF16" => BF16,
        "Q4_0" => Q4_0,
        "Q4_1" => Q4_1,
        "Q5_0" => Q5_0,
        "Q5_1" => Q5_1,
        "Q8_0" => Q8_0,
        "Q2_K" => Q2K,
        "Q3_K" => Q3K,
        "Q4_K" => Q4K,
        "Q5_K" => Q5K,
        "Q6_K" => Q6K,
        other => panic!("{other}"),
    }
}

/// One layer whose every row is the fixture's row, 256 wide.
#[test]
fn every_kind_of_weight() {
    let config = DecoderConfig {
        hidden_size: 256,
        intermediate_size: 256,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: 64,
        tie_word_embeddings: true,
        ..tiny::config()
    };
    let folder = tempfile::tempdir().unwrap();
    for case in json("gguf_blocks.json").as_array().unwrap() {
        let (kind, hex) = (case["type"].as_str().unwrap(), case["bytes"].as_str().unwrap());
        let row: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let tensors: Vec<(String, QTensor)> = config
            .parameter_shapes()
            .map(|(name, shape)| {
                let tensor = match shape[..] {
                    [rows, _] => {
                        qtensor_from_ggml(dtype(kind), &row.repeat(rows), shape.clone(), &Device::Cpu)
                            .unwrap()
                    }
                    _ => {
                        let ones = Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
                        QTensor::quantize(&ones, GgmlDType::F32).unwrap()
                    }
                };
                (tiny_files::gguf_name(&name), tensor)
            })
            .collect();
        let path = folder.path().join("model.gguf");
        let metadata = tiny_files::metadata(&config);
        let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        write(&mut std::fs::File::create(&path).unwrap(), &metadata, &tensors).unwrap();

        let loaded = gguf::load(&path).unwrap();
        let expected: Vec<f32> = serde_json::from_value(case["values"].clone()).unwrap();
        for name in ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"] {
            let rows: Vec<Vec<f32>> = loaded.tensors().unwrap()[name].to_vec2().unwrap();
            for (a, b) in
                [&rows[0], rows.last().unwrap()].into_iter().flat_map(|row| row.iter().zip(&expected))
            {
                // The order of two products and a difference may round differently.
                assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{kind}: {a} and {b}");
            }
        }
    }
}
