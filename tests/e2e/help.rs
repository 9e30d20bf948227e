//! What `--help` says, word for word.

use crate::support::Lpc;

#[test]
fn of_every_command() {
    let lpc = Lpc::bare();
    let commands = [
        "reproduce",
        "train",
        "data",
        "eval",
        "generate",
        "judge",
        "winrate",
        "check",
        "report",
        "audit",
        "completions",
        "verify",
    ];
    for command in commands {
        let output = lpc.command(&[command, "--help"]).env_remove("COLUMNS").output().unwrap();
        insta::assert_snapshot!(command, String::from_utf8(output.stdout).unwrap());
    }
    for command in ["inspect", "binarize", "overlap"] {
        let output = lpc.command(&["data", command, "--help"]).env_remove("COLUMNS").output().unwrap();
        insta::assert_snapshot!(format!("data_{command}"), String::from_utf8(output.stdout).unwrap());
    }
    let output = lpc.command(&["--help"]).env_remove("COLUMNS").output().unwrap();
    insta::assert_snapshot!("lpc", String::from_utf8(output.stdout).unwrap());
}
