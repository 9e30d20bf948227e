//! A run matrix that takes seconds, and the program to run it with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct Settings {
    pub train: usize,
    pub checkpoint_every: usize,
    pub learning_rate: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { train: 96, checkpoint_every: 1000, learning_rate: "1e-3" }
    }
}

impl Settings {
    const SHARED: &str = r#"
[truncation]
max_length = 60
max_prompt_length = 30
[evaluation]
latent = "mean"
"#;

    fn data_and_training(&self) -> String {
        let Self { train, checkpoint_every, learning_rate } = self;
        format!(
            r#"{}
[data]
kind = "world"
seed = 3
train = {train}
test = 40
sharpness = 1.5
flip_rate = 0.0
flip_marked = false
[latent]
mode = "gumbel"
codes = 4
gumbel_tau = 1.0
kl_weight = 0.05
codebook_std = 0.02
prior_weight = {{ kind = "linear" }}
[training]
dtype = "f32"
epochs = 1
batch_size = 8
micro_batch_size = 4
learning_rate = {learning_rate}
warmup_ratio = 0.1
weight_decay = 0.01
adam_beta1 = 0.9
adam_beta2 = 0.95
adam_epsilon = 1e-8
max_grad_norm = 1.0
recompute = false
checkpoint_every = {checkpoint_every}
"#,
            Self::SHARED
        )
    }

    /// One base model, DPO and SimPO, without and with LPC, two seeds: eight runs.
    pub fn matrix(&self) -> String {
        format!(
            r#"seeds = [1, 2]
[[models]]
name = "toy Llama"
paper = "Llama3-8B"
source = {{ kind = "world", shape = "llama" }}
[[objectives]]
name = "DPO"
objective = {{ kind = "dpo", beta = 0.1 }}
[[objectives]]
name = "SimPO"
objective = {{ kind = "simpo", beta = 0.5, gamma = 0.1 }}
{}"#,
            self.data_and_training()
        )
    }

    /// One recipe: DPO with LPC.
    pub fn recipe(&self) -> String {
        format!(
            r#"seed = 1
model = {{ kind = "world", shape = "llama" }}
objective = {{ kind = "dpo", beta = 0.1 }}
{}"#,
            self.data_and_training()
        )
    }
}

/// The program, in a folder of its own.
pub struct Lpc {
    pub folder: tempfile::TempDir,
}

impl Lpc {
    /// The pre-trained base model is kept between tests: it is the same for all of them.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("base");
        std::fs::create_dir_all(&shared).unwrap();
        std::fs::create_dir_all(folder.path().join("runs")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&shared, folder.path().join("runs/base")).unwrap();
        Self { folder }
    }

    /// Without the shared base model: everything from nothing.
    pub fn bare() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpc"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs and expects success; returns what was printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "lpc {}: {errors}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs and expects a refusal: exit status 1 and one line, which is returned.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "lpc {}: {errors}", arguments.join(" "));
        let mut lines = errors.lines().filter(|line| line.starts_with("lpc: "));
        let line = lines.next().unwrap_or_else(|| panic!("no `lpc:` line in {errors:?}")).to_string();
        assert_eq!(lines.next(), None, "more than one line: {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        line
    }

    /// The folders of runs, finished or not.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path("runs")) else { return vec![] };
        let runs = entries.map(|e| e.unwrap().path()).filter(|p| p.join("recipe.toml").is_file());
        let mut runs: Vec<PathBuf> = runs.collect();
        runs.sort();
        runs
    }
}
