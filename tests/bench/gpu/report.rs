//! What was measured on a card, as a table and as a file of numbers: `reports/gpu/<card>.{md,csv}`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Updates of one shape and latent, or PyTorch's of one shape.
#[derive(Default)]
struct Updates {
    tokens_per_second: Vec<f64>,
    pairs_per_second: Vec<f64>,
    gib: f64,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or(f64::NAN)
}

fn text(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or("-").to_string()
}

/// Errors: no lines, or none of a device.
pub fn write(measured: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let lines = fs::read_to_string(measured)?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let device = lines.iter().find(|line| line["what"] == "device").ok_or("no line of a device")?;
    let card = text(device, "name");
    let (mut updates, mut planned) = (BTreeMap::<(String, String), Updates>::new(), BTreeMap::new());
    for line in &lines {
        let key = match line["what"].as_str() {
            Some("update") => (text(line, "shape"), text(line, "latent")),
            Some("PyTorch's update") => (text(line, "shape"), "PyTorch".into()),
            Some("model") => {
                planned.insert((text(line, "shape"), text(line, "latent")), number(line, "planned_gib"));
                continue;
            }
            _ => continue,
        };
        let of = updates.entry(key).or_default();
        of.tokens_per_second.push(number(line, "tokens_per_second"));
        of.pairs_per_second.push(number(line, "pairs_per_second"));
        of.gib = of.gib.max(number(line, if line["peak_gib"].is_number() { "peak_gib" } else { "used_gib" }));
    }
    let mut page = format!(
        "# {card}\n\nWritten by `just gpu-check`. Updates of 64 pairs, medians without each first one.\n\n"
    );
    page += "| shape | latent | updates | tokens/s | pairs/s | of plain | of PyTorch | GiB used | GiB planned |\n|---|---|---|---|---|---|---|---|---|\n";
    for ((shape, latent), of) in &updates {
        let later = |values: &[f64]| median(values.get(1..).filter(|v| !v.is_empty()).unwrap_or(values));
        let pairs = later(&of.pairs_per_second);
        let share = |other: &str| {
            let other = updates.get(&(shape.clone(), other.into()));
            other.map_or("-".into(), |other| format!("{:.3}", pairs / later(&other.pairs_per_second)))
        };
        let plan = planned.get(&(shape.clone(), latent.clone()));
        let _ = writeln!(
            page,
            "| {shape} | {latent} | {} | {:.0} | {pairs:.2} | {} | {} | {:.1} | {} |",
            of.tokens_per_second.len(),
            later(&of.tokens_per_second),
            share("none"),
            share("PyTorch"),
            of.gib,
            plan.map_or("-".into(), |gib| format!("{gib:.1}")),
        );
    }
    page += "\nIn pairs a second: above 1 is faster. PyTorch pads, and computes a prompt twice.\n\n";
    for line in &lines {
        let _ = match line["what"].as_str() {
            Some("parity with PyTorch") => writeln!(
                page,
                "- {}: loss {:.5}, PyTorch's in f32 {:.5}; of {} gradients the furthest is {:.4} of its length away ({}).",
                text(line, "shape"),
                number(line, "loss"),
                number(line, "their_loss"),
                line["gradients"],
                number(line, "worst_gradient"),
                text(line, "of"),
            ),
            Some("product") => writeln!(
                page,
                "- A product [{}, {}] x [{}, {}]: {:.0} TFLOP/s.",
                line["m"],
                line["k"],
                line["k"],
                line["n"],
                number(line, "tflops")
            ),
            Some("launch") => writeln!(page, "- A launch: {:.1} microseconds.", number(line, "microseconds")),
            Some("copy to the device") => {
                writeln!(page, "- A copy to the device: {:.1} GB/s.", number(line, "gb_per_second"))
            }
            _ => Ok(()),
        };
    }
    let mut csv = String::from("line,what,key,value\n");
    for (i, line) in lines.iter().enumerate() {
        for (key, value) in line.as_object().into_iter().flatten().filter(|(key, _)| *key != "what") {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            let _ = writeln!(csv, "{i},\"{}\",{key},\"{}\"", text(line, "what"), value.replace('"', "'"));
        }
    }
    let name: String =
        card.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    fs::create_dir_all(out)?;
    fs::write(out.join(format!("{name}.md")), &page)?;
    fs::write(out.join(format!("{name}.csv")), csv)?;
    println!("{page}");
    Ok(())
}
