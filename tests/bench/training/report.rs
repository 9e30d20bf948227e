//! `reports/bench.md` from `reports/bench.csv`.

use crate::compare::{ROUNDS, Row, SCALING, median, scaling};
use crate::shapes::{BATCH, EQUAL, SMOLLM2};
use lpc::config::Precision;
use lpc::files::write_atomic;
use lpc::machine::gemm::{Matrix, bf16_engine, f32_engine, multiply};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

pub fn read(path: &Path) -> lpc::Result<Vec<Row>> {
    if !path.is_file() {
        return Ok(vec![]);
    }
    let fault = |e: csv::Error| lpc::Error::io(path)(std::io::Error::other(e));
    csv::Reader::from_path(path).map_err(fault)?.deserialize().collect::<Result<_, _>>().map_err(fault)
}

pub fn write_rows(path: &Path, rows: &[Row]) -> lpc::Result<()> {
    let mut writer = csv::Writer::from_writer(vec![]);
    let fault = |e: std::io::Error| lpc::Error::io(path)(e);
    for row in rows {
        writer.serialize(row).map_err(|e| fault(std::io::Error::other(e)))?;
    }
    let bytes = writer.into_inner().map_err(|e| fault(std::io::Error::other(e.to_string())))?;
    write_atomic(path, &bytes)
}

/// Products whose rate is the roof: those of the blocks and of the head.
const PRODUCTS: [(usize, usize, usize); 3] = [(1024, 576, 1536), (1024, 1536, 576), (1024, 576, 49_152)];

/// GFLOP/s of our products, factors prepared each time.
fn rate(precision: Precision, (m, k, n): (usize, usize, usize)) -> f64 {
    let fill = |len: usize| -> Vec<f32> { (0..len).map(|i| (i % 17) as f32 - 8.0).collect() };
    let (x, w, mut out) = (fill(m * k), fill(n * k), vec![0f32; m * n]);
    let mut seconds = vec![];
    for _ in 0..12 {
        let begun = Instant::now();
        let right = precision.right(Matrix::new(&w, n, k).t());
        multiply(&precision.left(Matrix::new(&x, m, k)), &right, &mut out, false);
        seconds.push(begun.elapsed().as_secs_f64());
    }
    2.0 * (m * k * n) as f64 / median(seconds[2..].to_vec()) / 1e9
}

fn peer_rates(python: &Path, dtype: &str) -> Option<Vec<f64>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/training/peers/torch_gemm.py");
    let threads = std::thread::available_parallelism().ok()?.to_string();
    let output = Command::new(python).arg(script).arg(dtype).env("OMP_NUM_THREADS", threads).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let rates = serde_json::from_str::<serde_json::Value>(line.lines().last()?).ok()?;
    PRODUCTS.iter().map(|(m, k, n)| rates["rates"][format!("{m}x{k}x{n}")].as_f64()).collect()
}

/// Operations of products with weights in a step on `tokens` tokens of which `predicted` are
/// scored: forward, and twice that backward. Attention's own products are left out.
fn operations(tokens: usize, predicted: usize) -> f64 {
    let c = &SMOLLM2;
    let (d, ff, kv) = (c.hidden_size, c.intermediate_size, c.num_key_value_heads * c.head_dim);
    let block = 2 * d * d + 2 * d * kv + 3 * d * ff;
    6.0 * (tokens * block * c.num_hidden_layers + predicted * d * c.vocab_size) as f64
}

struct Side {
    seconds: f64,
    peak_mib: f64,
}

fn side(rows: &[Row], comparison: &str, side: &str) -> Option<Side> {
    let of = |f: fn(&Row) -> f64| -> Vec<f64> {
        rows.iter().filter(|r| r.comparison == comparison && r.side == side).map(f).collect()
    };
    let seconds = of(|r| r.seconds);
    (!seconds.is_empty()).then(|| Side {
        seconds: median(seconds),
        peak_mib: of(|r| r.peak_mib).into_iter().fold(0.0, f64::max),
    })
}

/// Of b's median to a's.
fn ratio(rows: &[Row], comparison: &str, a: &str, b: &str) -> Option<f64> {
    Some(side(rows, comparison, b)?.seconds / side(rows, comparison, a)?.seconds)
}

fn number(x: Option<f64>, digits: usize) -> String {
    x.map_or("not run".into(), |x| format!("{x:.digits$}"))
}

pub fn write(reports: &Path, rows: &[Row], python: &Path) -> lpc::Result<()> {
    let mut text = String::new();
    let machine = lpc::run::manifest::Machine::on(&candle_core::Device::Cpu);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let versions = versions(python).unwrap_or("peers not run".into());
    let _ = write!(
        text,
        "# Training speed and memory beside Python peers\n\n\
         {}, {threads} threads on both sides; SmolLM2-135M's shape, random weights. Peers: {versions}.\n\
         Each run is a process of its own; sides take turns, {ROUNDS} rounds; a run's first step warms up.\n\
         Seconds are medians over rounds, ratios are those of medians, memory is the highest resident\n\
         size of any run. Raw rows: `bench.csv`. Written by `just bench`.\n\n\
         Ours: `train::fit`, reference log-probabilities given, prompt shared by both completions, clipping,\n\
         AdamW with f32 moments; bf16: factors of matrix products, multiplied by {}; f32: products by\n\
         {}. TRL: DPOTrainer, bf16 autocast,\n\
         reference log-probabilities precomputed, no gradient checkpointing, AdamW. {BATCH} pairs a step; equal\n\
         lengths: {EQUAL} tokens each of prompt, chosen, rejected; UltraFeedback: real pairs of at most 512 tokens,\n\
         other pairs each round.\n\n\
         | | ours, s | theirs, s | theirs / ours | ours, MiB | theirs, MiB | ours / theirs |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
        machine.device,
        bf16_engine(),
        f32_engine()
    );
    for (comparison, peer) in [
        ("DPO steps, equal lengths", "TRL"),
        ("DPO steps, UltraFeedback", "TRL"),
        ("passes, bf16", "torch"),
        ("passes, f32", "torch"),
    ] {
        let (ours, theirs) = (side(rows, comparison, "ours"), side(rows, comparison, peer));
        let seconds = |s: &Option<Side>| number(s.as_ref().map(|s| s.seconds), 2);
        let mib = |s: &Option<Side>| number(s.as_ref().map(|s| s.peak_mib), 0);
        let memory = ours.as_ref().zip(theirs.as_ref()).map(|(a, b)| a.peak_mib / b.peak_mib);
        let _ = writeln!(
            text,
            "| {comparison}, against {peer} | {} | {} | {} | {} | {} | {} |",
            seconds(&ours),
            seconds(&theirs),
            number(ratio(rows, comparison, "ours", peer), 2),
            mib(&ours),
            mib(&theirs),
            number(memory, 2)
        );
    }
    text.push_str(
        "\nPasses: forward and backward of 4 rows of 256 tokens, every token's log-probability.\n\n\
         ## What a latent costs\n\n32 codes, equal-length pairs, against the plain objective in the same rounds; eight steps a run count.\n\n\
         | | seconds a step | time | MiB | memory |\n|---|---:|---:|---:|---:|\n",
    );
    for comparison in ["LPC, bf16", "LPC, f32"] {
        let plain = side(rows, comparison, "plain");
        for latent in ["plain", "gumbel", "marginal", "exact-elbo"] {
            let one = side(rows, comparison, latent);
            let memory = one.as_ref().zip(plain.as_ref()).map(|(a, b)| a.peak_mib / b.peak_mib);
            let _ = writeln!(
                text,
                "| {comparison}: {latent} | {} | {} | {} | {} |",
                number(one.as_ref().map(|s| s.seconds), 2),
                number(ratio(rows, comparison, "plain", latent), 3),
                number(one.as_ref().map(|s| s.peak_mib), 0),
                number(memory, 3)
            );
        }
    }
    text.push_str(
        "\n## The roof\n\nGFLOP/s of single products, factors prepared each time (ours) or as they are (torch).\n\n\
         | product | ours f32 | torch f32 | ours bf16 | torch bf16 |\n|---|---:|---:|---:|---:|\n",
    );
    let mut roofs = [0f64; 2];
    let peers = [peer_rates(python, "f32"), peer_rates(python, "bf16")];
    for (i, &product) in PRODUCTS.iter().enumerate() {
        let ours = [rate(Precision::F32, product), rate(Precision::Bf16, product)];
        (0..2).for_each(|p| roofs[p] = roofs[p].max(ours[p]));
        let theirs = |p: usize| number(peers[p].as_ref().map(|r: &Vec<f64>| r[i]), 0);
        let (m, k, n) = product;
        let _ = writeln!(
            text,
            "| {m} x {k} x {n} | {:.0} | {} | {:.0} | {} |",
            ours[0],
            theirs(0),
            ours[1],
            theirs(1)
        );
    }
    let tokens = 4 * 256;
    text.push_str(
        "\nShare of the fastest of these that a whole pass reaches, counting its products with weights:\n\n\
         | | GFLOP | GFLOP/s | of the roof |\n|---|---:|---:|---:|\n",
    );
    let step = (3 * EQUAL * BATCH, 2 * EQUAL * BATCH);
    for (what, comparison, name, roof, (tokens, predicted)) in [
        ("passes, f32", "passes, f32", "ours", roofs[0], (tokens, tokens)),
        ("passes, bf16", "passes, bf16", "ours", roofs[1], (tokens, tokens)),
        ("DPO step, equal lengths, bf16", "DPO steps, equal lengths", "ours", roofs[1], step),
    ] {
        let work = operations(tokens, predicted) / 1e9;
        let rate = side(rows, comparison, name).map(|s| work / s.seconds);
        let _ = writeln!(
            text,
            "| {what} | {work:.0} | {} | {} % |",
            number(rate, 0),
            number(rate.map(|r| 100.0 * r / roof), 0)
        );
    }
    text.push_str(
        "\n## Growth\n\nPasses in bf16, one round.\n\n\
         | rows x tokens | ours, s | torch, s | torch / ours | ours, tokens/s |\n|---|---:|---:|---:|---:|\n",
    );
    for point @ (batch, tokens) in SCALING {
        let name = scaling(point);
        let [ours, theirs] = ["ours", "torch"].map(|who| side(rows, &name, who).map(|s| s.seconds));
        let _ = writeln!(
            text,
            "| {batch} x {tokens} | {} | {} | {} | {} |",
            number(ours, 2),
            number(theirs, 2),
            number(ratio(rows, &name, "ours", "torch"), 2),
            number(ours.map(|s| (batch * tokens) as f64 / s), 0)
        );
    }
    write_atomic(&reports.join("bench.md"), text.as_bytes())
}

fn versions(python: &Path) -> Option<String> {
    let code = "import torch, transformers, trl; print(f'torch {torch.__version__}, transformers {transformers.__version__}, TRL {trl.__version__}')";
    let output = Command::new(python).arg("-c").arg(code).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}
