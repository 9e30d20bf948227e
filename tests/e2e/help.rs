//! What `--help` says, word for word.

use crate::support::Lpc;

#[test]
fn of_every_command() {
    let lpc = Lpc::bare();
    for command in ["reproduce", "train", "eval", "generate", "judge", "winrate", "check", "verify"] {
        let output = lpc.command(&[command, "--help"]).env_remove("COLUMNS").output().unwrap();
        insta::assert_snapshot!(command, String::from_utf8(output.stdout).unwrap());
    }
    let output = lpc.command(&["--help"]).env_remove("COLUMNS").output().unwrap();
    insta::assert_snapshot!("lpc", String::from_utf8(output.stdout).unwrap());
}
