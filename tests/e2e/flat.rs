//! Training in flat memory, by the program: as a GPU does it, with the CPU as its device.

use crate::program::Lpc;
use crate::toy_runs::Settings;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn settings() -> Settings {
    // 80 updates: a kill at the 30th has time until the next checkpoint.
    Settings { train: 640, checkpoint_every: 14, ..Settings::default() }
}

/// DPO with LPC, in flat memory: its `[training.memory]` comes last.
fn recipe(settings: &Settings, memory: &str) -> String {
    let recipe = settings.recipe();
    let recipe = recipe
        .replace("dtype = \"f32\"", "dtype = \"bf16\"")
        .replace("recompute = false", "recompute = true");
    format!("{recipe}[training.memory]\n{memory}\n")
}

fn run_of(output: &str) -> String {
    output.lines().find_map(|l| l.strip_prefix("run: ")).unwrap().into()
}

fn tensors(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn margins(lpc: &Lpc, path: &str) -> Vec<f64> {
    let number = |line: &str| serde_json::from_str::<Value>(line).unwrap()["margin"].as_f64().unwrap();
    lpc.read(path).lines().map(number).collect()
}

/// Kills the run when its metrics have so many lines.
fn killed_at(lpc: &Lpc, lines: usize) -> PathBuf {
    let run = || lpc.runs().into_iter().next();
    killed_when(lpc, || {
        let text = run().and_then(|run| std::fs::read_to_string(run.join("metrics.jsonl")).ok());
        text.is_some_and(|text| text.lines().count() >= lines)
    });
    run().unwrap()
}

fn killed_when(lpc: &Lpc, is_time: impl Fn() -> bool) {
    let mut child =
        lpc.command(&["train", "recipe.toml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !is_time() {
        assert!(child.try_wait().unwrap().is_none(), "finished before it could be killed");
        assert!(begun.elapsed() < Duration::from_secs(300), "no progress");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn decoders(checkpoint: &Path) -> Vec<String> {
    let names = std::fs::read_dir(checkpoint).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("decoder-")).collect();
    names.sort();
    names
}

#[test]
#[cfg(unix)]
fn killed_runs_go_on_to_the_same_bytes() {
    let recipe = recipe(&settings(), "kind = \"flat\"\nmoments = \"8-bit\"\ngradients = \"bf16\"\npack = 90");
    let whole = Lpc::with_base();
    whole.write("recipe.toml", &recipe);
    let run = run_of(&whole.ok(&["train", "recipe.toml"]));
    let model = tensors(whole.path(&format!("{run}/model/model.safetensors")));
    let heads = tensors(whole.path(&format!("{run}/model/lpc.safetensors")));

    let lpc = Lpc::with_base();
    lpc.write("recipe.toml", &recipe);
    let folder = killed_at(&lpc, 30);
    let checkpoint = folder.join("checkpoint");
    assert_eq!(decoders(&checkpoint), ["decoder-14.safetensors", "decoder-28.safetensors"]);
    // What a kill leaves half written is removed, what two states name is not.
    std::fs::write(checkpoint.join("decoder-30.part"), b"half").unwrap();
    std::fs::write(checkpoint.join("decoder-7.safetensors"), b"old").unwrap();
    // A flipped bit in the newest decoder: the checkpoint before it is used, and it is said.
    let newest = checkpoint.join("decoder-28.safetensors");
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, &bytes).unwrap();
    // Killed again before the next checkpoint: the good one is still there.
    killed_when(&lpc, || !checkpoint.join("state.safetensors").exists());
    let there = |name: &str| checkpoint.join(name).exists();
    assert!(there("decoder-14.safetensors") && there("previous.safetensors") && !there("state.safetensors"));
    assert!(!there("decoder-30.part") && !there("decoder-7.safetensors"));
    std::fs::write(checkpoint.join("state.safetensors"), b"half").unwrap();
    let output = lpc.run(&["train", "recipe.toml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("an older checkpoint is used: ") && said.contains("state.safetensors"), "{said}");
    assert_eq!(run_of(&String::from_utf8(output.stdout).unwrap()), run);
    assert!(tensors(folder.join("model/model.safetensors")) == model);
    assert!(tensors(folder.join("model/lpc.safetensors")) == heads);
    assert_eq!(lpc.read(&format!("{run}/records.jsonl")), whole.read(&format!("{run}/records.jsonl")));

    // Both damaged: one line, and nothing is trained on.
    let lpc = Lpc::with_base();
    lpc.write("recipe.toml", &recipe);
    let checkpoint = killed_at(&lpc, 30).join("checkpoint");
    for name in decoders(&checkpoint) {
        std::fs::write(checkpoint.join(name), b"not safetensors").unwrap();
    }
    let line = lpc.refused(&["train", "recipe.toml"]);
    assert!(line.contains("decoder-28.safetensors"), "{line}");
}

/// The exact formats are those that `auto` means where memory is not known; moments of the host are the same
/// numbers; and the packs change no more than roundings.
#[test]
fn formats_and_packs() {
    let lpc = Lpc::with_base();
    let small = Settings::default();
    let train = |memory: &str| {
        lpc.write("recipe.toml", recipe(&small, memory));
        run_of(&lpc.ok(&["train", "recipe.toml"]))
    };
    let auto = train("kind = \"auto\"\npack = 4096");
    let exact = train("kind = \"flat\"\nmoments = \"f32\"\ngradients = \"f32\"\npack = 4096");
    assert_eq!(auto, exact);
    assert!(lpc.read(&format!("{auto}/recipe.toml")).contains("kind = \"flat\""));
    let model = |run: &str| tensors(lpc.path(&format!("{run}/model/model.safetensors")));
    let on_host = train("kind = \"flat\"\nmoments = \"f32-on-host\"\ngradients = \"f32\"\npack = 4096");
    assert!(on_host != exact && model(&on_host) == model(&exact));
    let packs = train("kind = \"flat\"\nmoments = \"f32\"\ngradients = \"f32\"\npack = 60");
    let [of_exact, of_packs] = [&exact, &packs].map(|run| margins(&lpc, &format!("{run}/records.jsonl")));
    let far = |others: &[f64]| {
        let far = of_exact.iter().zip(others).map(|(a, b)| (a - b).abs());
        far.fold(0.0, f64::max)
    };
    let largest = of_exact.iter().fold(0f64, |most, margin| most.max(margin.abs()));
    assert!(far(&of_packs) < 0.02 * largest + 1e-3, "{} of {largest}", far(&of_packs));

    // The same in candle's tensors, with its own bf16 products and in f32.
    for dtype in ["bf16", "f32"] {
        lpc.write("recipe.toml", small.recipe().replace("dtype = \"f32\"", &format!("dtype = \"{dtype}\"")));
        let run = run_of(&lpc.ok(&["train", "recipe.toml"]));
        let others = margins(&lpc, &format!("{run}/records.jsonl"));
        assert!(far(&others) < 0.1 * largest, "{dtype}: {} of {largest}", far(&others));
    }

    // What was saved is what was scored, in f32 where activations were rounded.
    let evaluated = lpc.ok(&["eval", "preference", &exact, "--records", "again.jsonl"]);
    assert!(evaluated.starts_with("preference accuracy: "), "{evaluated}");
    let again = margins(&lpc, "again.jsonl");
    assert!(far(&again) < 0.03 * largest + 1e-3, "{} of {largest}", far(&again));
}

#[test]
fn recipes_that_are_refused() {
    let lpc = Lpc::with_base();
    let flat = "kind = \"flat\"\nmoments = \"f32\"\ngradients = \"f32\"\npack = ";
    let good = recipe(&Settings::default(), &format!("{flat}4096"));
    for (recipe, said) in [
        (good.replace("dtype = \"bf16\"", "dtype = \"f32\""), "field `training.dtype`"),
        (good.replace("recompute = true", "recompute = false"), "field `training.recompute`"),
        (good.replace("pack = 4096", "pack = 0"), "field `training.memory.pack`"),
        (good.replace("pack = 4096", "pack = 100000"), "at most 65536"),
        (good.replace("moments = \"f32\"\n", "moments = \"f64\"\n"), "8-bit"),
        (good.replace("pack = 4096", "packs = 4096"), "packs"),
    ] {
        lpc.write("recipe.toml", recipe);
        let line = lpc.refused(&["train", "recipe.toml"]);
        assert!(line.contains(said), "{line}");
    }
    // Also what the command line changes.
    lpc.write("recipe.toml", &good);
    let line = lpc.refused(&["train", "recipe.toml", "--dtype", "f32"]);
    assert!(line.contains("training.dtype") && line.contains("bf16"), "{line}");
    assert!(lpc.runs().is_empty(), "refused before any work");
    lpc.write("recipe.toml", good.replace("pack = 4096", "pack = 20"));
    let line = lpc.refused(&["train", "recipe.toml"]);
    assert!(line.contains("training.memory.pack = 20") && line.contains("the longest pair"), "{line}");
}

/// A folder without weights: they are drawn, the same for a seed, in flat memory and in tensors.
#[test]
fn drawn_weights() {
    let lpc = Lpc::with_base();
    lpc.write("recipe.toml", Settings::default().recipe());
    lpc.ok(&["train", "recipe.toml"]);
    let base = std::fs::read_dir(lpc.path("runs/base")).unwrap().map(|e| e.unwrap().path());
    let base = base.into_iter().find(|p| p.join("config.json").is_file()).unwrap();
    for file in std::fs::read_dir(base).unwrap().map(|e| e.unwrap().path()) {
        if file.extension().is_some_and(|e| e == "json") {
            lpc.write(
                &format!("drawn/{}", file.file_name().unwrap().display()),
                std::fs::read(&file).unwrap(),
            );
        }
    }
    let memory = "kind = \"flat\"\nmoments = \"8-bit\"\ngradients = \"bf16\"\npack = 4096";
    let mut runs = vec![];
    for (seed, flat) in [(1, true), (2, true), (1, false)] {
        let recipe = match flat {
            true => recipe(&Settings::default(), memory),
            false => Settings::default().recipe(),
        };
        let source = format!("model = {{ kind = \"random\", path = \"drawn\", seed = {seed} }}");
        lpc.write("recipe.toml", recipe.replace("model = { kind = \"world\", shape = \"llama\" }", &source));
        let output = lpc.ok(&["train", "recipe.toml"]);
        assert!(output.contains("preference accuracy: "), "{output}");
        runs.push(run_of(&output));
    }
    assert!(runs[0] != runs[1] && runs[0] != runs[2] && runs[1] != runs[2], "{runs:?}");
    let card = lpc.read(&format!("{}/model/README.md", runs[0]));
    assert!(card.contains("weights drawn at random"), "{card}");
}
