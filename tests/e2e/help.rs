//! What `--help` says, word for word.

use crate::program::Lpc;

#[test]
fn of_every_command() {
    let lpc = Lpc::new();
    let commands = [
        "reproduce",
        "train",
        "data",
        "eval",
        "generate",
        "judge",
        "plan",
        "winrate",
        "push",
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
    for command in ["inspect", "binarize", "show", "overlap"] {
        let output = lpc.command(&["data", command, "--help"]).env_remove("COLUMNS").output().unwrap();
        insta::assert_snapshot!(format!("data_{command}"), String::from_utf8(output.stdout).unwrap());
    }
    for target in ["figure1", "figure2", "reviews", "claims", "table1", "table2", "table3"] {
        let output = lpc.command(&["reproduce", target, "--help"]).env_remove("COLUMNS").output().unwrap();
        insta::assert_snapshot!(format!("reproduce_{target}"), String::from_utf8(output.stdout).unwrap());
    }
    let output = lpc.command(&["eval", "preference", "--help"]).env_remove("COLUMNS").output().unwrap();
    insta::assert_snapshot!("eval_preference", String::from_utf8(output.stdout).unwrap());
    let output = lpc.command(&["--help"]).env_remove("COLUMNS").output().unwrap();
    insta::assert_snapshot!("lpc", String::from_utf8(output.stdout).unwrap());
}
