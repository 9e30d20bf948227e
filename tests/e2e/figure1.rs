//! `lpc reproduce figure1`: the drawing's numbers, counted by hand.

use crate::program::Lpc;
use crate::toy_runs::Settings;

#[test]
fn shapes_and_counts_are_those_of_the_model() {
    let lpc = Lpc::with_base();
    // K = 4; the model has 463 words, two blocks of width 64, 4 heads of 16 on 2 key-value heads, and an
    // inner width of 176.
    lpc.write("matrix.toml", Settings::default().matrix());
    lpc.ok(&["reproduce", "figure1", "--recipe", "matrix.toml"]);
    let svg = lpc.read("reports/toy-own/figure1.svg");
    let block = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 176 + 2 * 64;
    let decoder = 463 * 64 + 2 * block + 64;
    assert_eq!(decoder, 122_112);
    for text in [
        "2 blocks, d = 64, 4 heads (2 key-value), vocabulary 463",
        "122,112 parameters",
        "64 → 64 → 4",
        // 64·64 + 64 + 64·4 + 4
        "4,420 parameters",
        "128 → 64 → 4",
        // 128·64 + 64 + 64·4 + 4
        "8,516 parameters",
        "Codebook 4 × 64: 256 parameters",
        "LM head 64 → 463",
        "29,632 parameters",
        "λ = 0.05",
        "DPO, β = 0.1 | SimPO, β = 0.5, γ = 0.1",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(lpc.read("reports/toy-own/SHA256SUMS").contains("figure1.svg"));
}
