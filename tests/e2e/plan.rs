//! What `lpc plan` says of memory and time.

use crate::program::Lpc;

/// The peak of a row of the table of formats, in GiB, and whether it fits.
fn peak(plan: &str, formats: &str) -> (f64, bool) {
    let row = plan
        .lines()
        .find(|line| line.starts_with(&format!("| {formats} |")))
        .unwrap_or_else(|| panic!("{plan}"));
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    (cells[2].parse().unwrap(), cells[4] == "yes")
}

/// By hand: 8,030,261,248 weights of 6, 8, 8 + 8/256, 10, 14 and 16 bytes, and a few GiB for 4,096 tokens.
#[test]
fn of_llama3_on_two_cards() {
    let lpc = Lpc::new();
    let rows = [
        ("8-bit moments, bf16 gradients", 60.06),
        ("bf16 moments, bf16 gradients", 74.79),
        ("f32 moments, bf16 gradients", 104.70),
        ("f32 moments in host memory, bf16 gradients", 44.87),
        ("f32 moments in host memory, f32 gradients", 59.83),
        ("f32 moments, f32 gradients", 119.66),
    ];
    for (gpu, most) in [("h100", 79.6), ("h200", 140.4)] {
        let plan = lpc.ok(&["plan", "--model", "llama3-8b", "--gpu", gpu]);
        for (formats, weights) in rows {
            let (peak, fits) = peak(&plan, formats);
            assert!(peak > weights + 4.0 && peak < weights + 7.0, "{formats}: {peak}");
            assert_eq!(fits, peak <= most - 2.0, "{formats}: {peak}");
        }
        assert!(plan.contains("968 updates"), "{plan}");
    }
    let small = lpc.ok(&["plan", "--model", "llama3-8b", "--gpu", "24"]);
    assert!(small.contains("Nothing fits.") && !small.contains("hours"), "{small}");
}

/// Twice the answers' tokens are not twice the work, half the share of the peak is twice the time.
#[test]
fn of_a_folder_and_other_lengths() {
    let lpc = Lpc::new();
    lpc.write(
        "model/config.json",
        r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 64,
        "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "hidden_act": "silu", "rope_theta": 10000.0,
        "tie_word_embeddings": true, "torch_dtype": "float32"}"#,
    );
    let plan =
        |more: &[&str]| lpc.ok(&[&["plan", "--model", "model", "--lengths", "10,20,30"], more].concat());
    let hours = |plan: String| -> f64 {
        let line = plan.lines().find(|line| line.contains("updates")).unwrap().to_string();
        line.rsplit(": ").next().unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    let (one, two) = (["--pairs", "100000000000"], ["--pairs", "100000000000", "--share", "0.2"]);
    let (one, two) = (hours(plan(&one)), hours(plan(&two)));
    assert!(two > 1.5 * one && two <= 2.01 * one, "{one} and {two}");
    assert!(plan(&[]).contains("A pair has 60 tokens"));
}

#[test]
fn what_it_refuses() {
    let lpc = Lpc::new();
    assert!(lpc.refused(&["plan", "--model", "gpt-9"]).contains("llama3-8b, mistral-7b, or a folder"));
    let long = lpc.refused(&["plan", "--model", "llama3-8b", "--row", "20000", "--pack", "20000"]);
    assert!(long.contains("the context's 8192"), "{long}");
    for (option, value) in [
        ("--gpu", "fast"),
        ("--share", "1.5"),
        ("--lengths", "1,2"),
        ("--pack", "0"),
        ("--pack", "99999999999999"),
        ("--codes", "99999999999"),
        ("--row", "-1"),
        ("--gpu", "NaN"),
    ] {
        let output = lpc.run(&["plan", "--model", "llama3-8b", option, value]);
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
    }
}

/// All runs of the paper's scale: hours by hand from the plan of one model, and no work without a GPU.
#[test]
fn of_the_papers_scale() {
    let lpc = Lpc::new();
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/paper/recipes/table2-paper.toml");
    let plan = |gpus: &str| {
        lpc.command(&["plan", "--recipe", recipe, "--gpus", gpus])
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            .output()
            .unwrap()
    };
    let [one, eight] = ["1", "8"].map(|gpus| {
        let output = plan(gpus);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    });
    for (model, gpu, formats) in [
        ("Mistral-7B", "h100", "bf16 moments, bf16 gradients"),
        ("Llama-3-8B", "h100", "8-bit moments, bf16 gradients"),
        ("Llama-3-8B-Instruct", "h200", "f32 moments, f32 gradients"),
    ] {
        assert!(one.contains(&format!("| {model} | {gpu} | {formats} |")), "{one}");
    }
    let hours = |text: &str, after: &str| -> f64 {
        text.split_once(after)
            .unwrap_or_else(|| panic!("{text}"))
            .1
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let whole = hours(&one, "All 18 runs on h100: ");
    // 18 runs of some 1.5 to 2.5 hours; three waves on eight GPUs.
    assert!(whole > 20.0 && whole < 60.0, "{one}");
    let waves = hours(&eight, "on 8 of them, a run each, some ");
    assert!((waves - whole / 6.0).abs() <= 1.0, "{eight}");

    for target in ["table1", "table2", "table3", "figure2", "reviews"] {
        let output = lpc.run(&["reproduce", target, "--scale", "paper"]);
        let (shown, said) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1), "{target}: {said}");
        assert!(shown.contains("All 18 runs on h100"), "{target}: {shown}");
        assert!(
            said.contains("reproduce: --device = cpu, expected cuda") && said.lines().count() == 1,
            "{target}: {said}"
        );
        assert!(said.contains("data/ultrafeedback_binarized"), "{target}: {said}");
        assert!(!lpc.path("runs").exists() && !lpc.path("reports").exists(), "{target}");
    }
}
